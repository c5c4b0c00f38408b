"""How many seats are wanted now, and whether they are coming: the organizers' word, the timetable, the spend limit.

Rules: the last word counts, whether an organizer said it or the timetable's moment has passed. Nobody who has a seat
loses it by any of them, the hard stop aside. Deadlines of a boot, stalls and lateness do not count while the reconciler
is paused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from mux.core.boots import COMING_UP
from mux.core.commands import Notify
from mux.core.events import FleetWarmed, SpendAllowed
from mux.core.model import ShipState
from mux.core.plural import are, counted
from mux.core.ships import Ship
from mux.core.spend import HOUR_S, Meter, affordable, estimate, money
from mux.core.timetable import STOP_WARNINGS_S, Phase, begins_at
from mux.core.world import Watch, World

LOOK_S = 15.0
"""How often warming is looked at for stalls and lateness; it is looked at ship by ship."""
BOOT_WEIGHT = 0.3
"""How much a shorter boot than the last ones counts; a longer one counts in full, since it is the slow ones that are
waited for."""
PACE_SEATS_MIN = 5
"""Seats that became ready while it was watched, from which on there is a pace to go by."""
REASONS_MAX = 4
"""Groups of reasons in one notice."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is wanted of the fleet's size now.

    Args:
        seats: that should be there.
        by: when they should be ready, in seconds since the epoch; 0 for as soon as possible.
        begins_at: when warming begins, where that is still to come; nothing is launched or ended before.
        phase: of the timetable, or ``word`` for the organizers'.
    """

    seats: int
    by: float = 0.0
    begins_at: float | None = None
    phase: Phase | str = "open"


def boot_s(world: World) -> float:
    """How long a ship takes to become available: as measured, or the deadline for it before the first has."""
    return world.controls.boot_s or world.spec.fleet.boot_deadline_s


def aim(world: World) -> Aim:
    """The last word on how many seats are wanted."""
    controls, table, fleet = world.controls, world.spec.timetable, world.spec.fleet
    begun_at = table.begins_at(boot_s(world))
    if table.warm_at is None and table.full_at is not None and controls.begun_for == table.full_at:
        begun_at = controls.begun_at
    phase, at = table.last_moment(world.now, begun_at)
    if controls.target_seats is not None and controls.target_at >= at:
        if controls.target_by and controls.begun_for != controls.target_by:
            begins = begins_at(controls.target_by, boot_s(world))
            if begins > world.now:
                return Aim(controls.target_seats, controls.target_by, begins, "word")
        return Aim(controls.target_seats, controls.target_by, phase="word")
    if phase in ("early", "cool", "stop"):
        return Aim(0, begins_at=begun_at if phase == "early" else None, phase=phase)
    return Aim(fleet.seats_wanted, (table.full_at or 0.0) if phase == "warm" else 0.0, phase=phase)


def held(world: World, aimed: Aim) -> str:
    """Why the fleet is left as it is; empty when nothing holds the reconciler back."""
    if world.controls.paused:
        return "launching is paused by an organizer"
    if world.controls.parked:
        return "the fleet is parked"
    if aimed.phase == "word" and aimed.begins_at is not None:
        return "warming has not begun yet"
    return ""


def keep_time(world: World) -> Aim:
    """The aim, once what has begun is noted and the next moment is waited for."""
    aimed = aim(world)
    controls, table = world.controls, world.spec.timetable
    if aimed.begins_at is None and aimed.by and controls.begun_for != aimed.by:
        world.controls = replace(controls, begun_for=aimed.by, begun_at=world.now)
    moments = [aimed.begins_at, table.warm_at, table.cool_at, table.hard_stop]
    if table.hard_stop is not None:
        moments += [table.hard_stop - before_s for before_s in STOP_WARNINGS_S]
    upcoming = [at for at in moments if at is not None and at > world.now]
    if upcoming:
        world.deadlines.set(("moment", ""), min(upcoming))
    else:
        world.deadlines.clear(("moment", ""))
    if ready(world) < aimed.seats and not held(world, aimed):
        world.deadlines.set_once(("warming", ""), world.now + LOOK_S)
        if not world.watch.since:
            world.watch.since, world.watch.seats = world.now, ready(world)
    return aimed


def moment(world: World) -> None:
    """A moment of the timetable: warn of the hard stop if that is it; what else it means follows from the time."""
    world.changes.plan = True
    stop = world.spec.timetable.hard_stop
    left_s = 0.0 if stop is None else stop - world.now
    if 0 < left_s <= STOP_WARNINGS_S[0]:
        minutes = max(1, round(left_s / 60))
        world.notify(
            Notify(
                "warning",
                "hard_stop",
                "",
                f"The hard stop is in {minutes} minutes: every ship is let go then. Attendees' pages say so too. To go "
                f"on for longer, change timetable.hard_stop and `mux apply`.",
            )
        )


def ready(world: World) -> int:
    """Seats that said themselves that they are ready, assigned ones included."""
    return world.offers.total + world.tally.assigned


# --- organizers' words ----------------------------------------------------------------------------------------------


def warm(world: World, event: FleetWarmed) -> None:
    """So many seats from now on, whatever is parked, cooled or still to come."""
    world.controls = replace(
        world.controls, parked=False, target_seats=event.seats, target_at=world.now, target_by=event.by
    )
    if event.spend_limit is not None:
        allow(world, SpendAllowed(event.spend_limit))
    world.watch = Watch()
    world.changes.plan = True


def cool(world: World) -> None:
    """No seat beyond those that are somebody's: free ships go now, the others as they become free."""
    world.controls = replace(world.controls, target_seats=0, target_at=world.now, target_by=0.0)
    world.changes.plan = True
    world.deadlines.set(("surplus", ""), world.now)


def allow(world: World, event: SpendAllowed) -> None:
    """The organizers' word on what the event may cost."""
    world.controls = replace(world.controls, spend_allowed=event.limit)
    world.watch.limit_told = False
    world.changes.plan = True
    watch_limit(world)


def spec_changed(world: World, seats_before: int, limit_before: float | None) -> None:
    """An event file was applied: other sizes are a new word on a warmed fleet, another limit is one on money."""
    controls, fleet = world.controls, world.spec.fleet
    if controls.target_seats and fleet.seats_wanted != seats_before:
        controls = replace(controls, target_seats=fleet.seats_wanted)
    if world.spec.spend.limit != limit_before:
        controls = replace(controls, spend_allowed=None)
    world.controls = controls
    world.watch.limit_told = False
    watch_limit(world)


# --- money ----------------------------------------------------------------------------------------------------------


def limit(world: World) -> float | None:
    """What the event may cost: the organizers' word, or else the event file's limit."""
    allowed = world.controls.spend_allowed
    return world.spec.spend.limit if allowed is None else allowed


def meter(world: World) -> Meter:
    """What has been spent by now, and how fast it goes on with the ships that are paid for now."""
    return world.meter.turned(world.now, world.tally.costs, world.tally.rate_micros)


def lasting(world: World) -> Meter:
    """The meter, going on with those ships only that are not on their way out: what estimates go by."""
    read = meter(world)
    return replace(read, rate_micros=read.rate_micros - world.tally.going_micros)


def hours_left(world: World) -> float:
    """How long ships are taken to run from now on."""
    until = world.spec.timetable.runs_until(world.now)
    return world.spec.spend.hours if until is None else (until - world.now) / HOUR_S


def ships_affordable(world: World) -> int | None:
    """Ships that may still be launched within the limit; None for no limit."""
    most, spend = limit(world), world.spec.spend
    if most is None or not spend.known:
        return None
    return affordable(lasting(world), hours_left(world), most, spend.dearest_micros)


def limit_holds(world: World, missing: int) -> None:
    """Tell once that the limit holds launches back."""
    most = limit(world)
    if world.watch.limit_told or most is None:
        return
    world.watch.limit_told = True
    currency = world.spec.spend.currency
    cost = money(estimate(lasting(world), hours_left(world)), currency)
    world.notify(
        Notify(
            "error",
            "spend_limit",
            "",
            f"The spend limit of {money(most, currency)} holds launches back: {are(missing, 'seat')} missing, "
            f"and the ships that run already make about {cost} for the event. Allow more with "
            "`mux spend allow AMOUNT`.",
        )
    )


def watch_limit(world: World) -> None:
    """Wait for the moment at which the limit will have been spent at the present rate."""
    most = limit(world)
    at = None if most is None else world.meter.reaches(most)
    if at is None:
        world.deadlines.clear(("spend", ""))
    else:
        world.deadlines.set(("spend", ""), at)


def limit_passed(world: World) -> None:
    """The limit has been spent: nothing is ended by that, and it is told."""
    most = limit(world)
    if most is not None:
        shown = money(most, world.spec.spend.currency)
        world.notify(
            Notify(
                "error",
                "spend_limit_passed",
                "",
                f"The spend limit of {shown} has been spent, and ships go on running: let free ones go with "
                f"`mux fleet cool`, or allow more with `mux spend allow AMOUNT`.",
            )
        )


def turn_meter(world: World) -> bool:
    """Bring the meter to the ships that cost now. Returns whether it has to be saved."""
    if (world.tally.costs, world.tally.rate_micros) == (world.meter.ships, world.meter.rate_micros):
        return False
    world.meter = meter(world)
    watch_limit(world)
    return True


# --- how it goes on -------------------------------------------------------------------------------------------------


def measured(world: World, ship: Ship) -> None:
    """A ship became available: remember how long that took, if this was its first boot."""
    if ship.boot != 1:
        return
    took_s = max(0.1, world.now - ship.launched_at)
    before_s = world.controls.boot_s
    if took_s < before_s:
        took_s = (1 - BOOT_WEIGHT) * before_s + BOOT_WEIGHT * took_s
    world.controls = replace(world.controls, boot_s=round(took_s, 1))


def look(world: World) -> None:
    """Look at warming: tell that it has stalled, or that it will be late."""
    aimed = aim(world)
    watch = world.watch
    seats = ready(world)
    if seats >= aimed.seats or held(world, aimed):
        watch.seats, watch.since, watch.stalled = seats, 0.0, False
        watch.first_at = 0.0
        return
    if seats and not watch.first_at:
        watch.first_at, watch.first_seats = world.now, seats
    world.deadlines.set(("warming", ""), world.now + LOOK_S)
    if seats > watch.seats or not watch.since:
        watch.since, watch.stalled = world.now, False
    watch.seats = seats
    stall_s = world.spec.fleet.warming_stall_s
    if world.now - watch.since >= stall_s and not watch.stalled:
        watch.stalled = True
        why = "; ".join(f"{count} × {reason}" for reason, count in reasons(world)[:REASONS_MAX])
        world.notify(
            Notify(
                "error",
                "warming_stalled",
                "",
                f"Warming has stalled: no seat became ready for {stall_s:g} s, {seats} of {aimed.seats} are. "
                f"{why or 'No ship is on its way.'}",
            )
        )
    late_s = ready_at(world, aimed) - aimed.by
    if aimed.by and late_s > 0 and watch.late_for != aimed.by:
        watch.late_for = aimed.by
        minutes = max(1, round(late_s / 60))
        world.notify(
            Notify(
                "warning",
                "warming_late",
                "",
                f"The {aimed.seats} seats will be ready about {counted(minutes, 'minute')} later than they are due: "
                f"{are(seats)} now, and a ship takes about {boot_s(world):.0f} s to become available.",
            )
        )


def ready_at(world: World, aimed: Aim) -> float:
    """When the seats of an aim are expected, in seconds since the epoch.

    When the last of the ships that are needed has booted; but not before the pace of so far, which holds what nobody
    knows beforehand: how fast the provider gives machines, and whether it has any.
    """
    missing = aimed.seats - ready(world)
    start = world.now if aimed.begins_at is None else aimed.begins_at
    if missing <= 0:
        return start
    at, watch = _booted_at(world, missing, start), world.watch
    gained = ready(world) - watch.first_seats
    if watch.first_at and gained >= PACE_SEATS_MIN:
        at = max(at, world.now + missing * (world.now - watch.first_at) / gained)
    return at


def _booted_at(world: World, missing: int, start: float) -> float:
    """When the last of the ships that hold the missing seats has booted, if all goes well from ``start`` on."""
    coming = sorted(
        (max(world.now, _ordered_at(world, ship) + boot_s(world)), len(ship.seats) - ship.assigned)
        for ship in world.ships.values()
        if not ship.gone and not ship.failed and ship.state in (ShipState.PENDING, ShipState.BOOTING)
    )
    for at, seats in coming:
        missing -= seats
        if missing <= 0:
            return at
    return start + boot_s(world)


def _ordered_at(world: World, ship: Ship) -> float:
    """When a ship's boot began, or begins: with the next try, where the provider has not taken the order yet."""
    return max(world.now, world.patience.not_before) if ship.unordered else ship.launched_at


def launching_text(world: World) -> str:
    """Why nothing is launched, or why launching takes so long; empty while it goes well."""
    patience = world.patience
    if not world.listed and world.listing_trouble and not world.stopped_text:
        return f"waits until the provider says which machines there are: {world.listing_trouble}"
    if world.stopped_text or not patience.failures:
        return world.stopped_text
    tries = "once" if patience.failures == 1 else f"{patience.failures} times in a row"
    return f"failed {tries}, and is tried until it works: {patience.reason}"


def reasons(world: World) -> list[tuple[str, int]]:
    """Why seats are missing: ships by what they are doing or what they failed of, the most frequent first."""
    found: Counter[str] = Counter()
    for ship in world.ships.values():
        if ship.gone or (ship.healthy and not ship.failed):
            continue
        found[reason(ship)] += 1
    for project, why in world.broken.items():
        found[f"project {project} fails: {why}"] += 1
    if world.patience.failures:
        found[f"launch failed: {world.patience.reason}"] += world.patience.failures
    if world.listing_trouble:
        found[f"machines cannot be listed: {world.listing_trouble}"] += 1
    if world.stopped_text:
        found[world.stopped_text] += 1
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def reason(ship: Ship) -> str:
    """What one ship that is not good for newcomers is doing, in words that are the same for all that do so."""
    if ship.failed:
        # Without what only this ship said, so that those that failed of the same thing are one group.
        return "failed: " + ship.failed.partition(", last heard:")[0]
    if ship.unreachable:
        return "unreachable"
    if ship.state in COMING_UP and ship.stage is not None:
        return str(ship.stage)
    if ship.state is ShipState.BOOTING:
        return "booting"
    if ship.state is ShipState.PENDING:
        return "being launched" if ship.call == "launch" or ship.unordered else "waiting for its machine"
    return next(ship.conditions(), str(ship.state))
