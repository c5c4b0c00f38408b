"""Machines: launching and ending ships, and what the provider's listing means for them.

A machine that nobody knows is ended; one that is missing twice in a row is gone, and its attendees move. A ship that
keeps work of attendees who were moved away is not ended before an organizer releases it. An order that the provider
does not take is made again for as long as its seats are wanted; machines that fail one after the other end launching.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from mux.core import boots, calls, parking, warming
from mux.core.attendance import move_everybody
from mux.core.commands import ListMachines, Notify, TerminateShip
from mux.core.events import LaunchFailed, LaunchSucceeded, ListingFailed, MachinesListed
from mux.core.model import Machine, MachineStatus, ShipId, ShipState, ShipWanted
from mux.core.planner import BEYOND_LIMIT, plan
from mux.core.plural import counted
from mux.core.ships import Ship
from mux.core.workspaces import empty, let_go
from mux.core.world import World

PAUSED_TEXT = "mux is paused by an organizer: it launches, parks and ends nothing."
CONSOLE = "see what the console of its machine says, and whether that reaches the control port"
NEVER_JOINED = f"of its launch: its agent never joined; {CONSOLE}"
NOT_BACK = f"of its start: its agent, which had joined before it was parked, has not come back; {CONSOLE}"
MISSING_MAX = 2
"""Listings in a row without a machine before it counts as gone: providers' listings lag behind their launches."""
LISTINGS_FAILED_MAX = 3
"""In a row before organizers are told: a cloud that hiccups mends itself."""
LISTINGS_APART = 0.9
"""Part of `listing_s` that lies between two of them. One that was asked for out of turn, since an organizer resumed,
says no more than the one just before it."""


def ask_listing(world: World) -> None:
    """Ask what exists, unless the last question is still open."""
    if not world.listing:
        world.listing = True
        world.effect(ListMachines())
    world.deadlines.set(("list", ""), world.now + world.spec.fleet.listing_s)


def size_fleet(world: World) -> None:
    """Launch or start what is missing and end what is surplus, as the planner says."""
    if not world.listed:
        return
    fleet = world.spec.fleet
    aimed = warming.keep_time(world)
    if aimed.phase == "stop":
        parking.hard_stop(world)
    affordable = warming.ships_affordable(world)
    backing_off = world.now < world.patience.not_before
    decided = plan(
        world.tally, fleet, enabled=world.controls.launching, backing_off=backing_off,
        seats=aimed.seats, held=warming.held(world, aimed), affordable=affordable,
    )  # fmt: skip
    if decided.deficit and world.tally.parked and (affordable is None or affordable):
        parking.unpark_some(world, decided.deficit, affordable)
        return
    if decided.held == BEYOND_LIMIT and not decided.launch:
        warming.limit_holds(world, decided.deficit)
    room = max(0, fleet.launches_in_flight_max - world.tally.launching)
    room = room if affordable is None else min(room, affordable)
    may_launch = world.controls.launching and not (backing_off or warming.held(world, aimed))
    again = list(islice(world.unordered, room)) if may_launch else []
    for ship_id in again:
        calls.call(world, world.ships[ship_id], "launch")
    for _ in range(min(decided.launch, room - len(again))):
        number = world.controls.ships_made + 1
        world.controls = replace(world.controls, ships_made=number)
        ship = Ship.new(ShipId(f"ship-{number:04d}"), fleet.seats_per_ship, world.now)
        world.ships[ship.id] = ship
        world.deadlines.set(("boot", ship.id), world.now + fleet.boot_deadline_s)
        calls.call(world, ship, "launch")
    if not decided.end:
        world.deadlines.clear(("surplus", ""))
    elif aimed.phase in ("word", "cool") and not aimed.seats:
        # Said, not found: there is nothing to hold on for, also where pausing kept it from being done.
        world.deadlines.set(("surplus", ""), world.now)
    else:
        world.deadlines.set_once(("surplus", ""), world.now + fleet.surplus_hold_s)


def launch_succeeded(world: World, event: LaunchSucceeded) -> None:
    """The provider took the order; from now on the ship's boot counts, however often it was ordered in vain."""
    ship = world.ships.get(event.ship)
    if ship is None or ship.call != "launch":
        return
    ship.call = None
    ship.ordered = True
    ship.ordered_at = world.now
    world.patience.accepted()
    if ship.state in (ShipState.PENDING, ShipState.BOOTING) and ship.wanted is ShipWanted.RUN:
        ship.launched_at = world.now
        boots.watch_boot(world, ship)
    world.touch(ship)
    _place(world, ship, event.machine)


def launch_failed(world: World, event: LaunchFailed) -> None:
    """The provider did not take the order: pause, and try again with the same id for as long as the ship is wanted."""
    ship = world.ships.get(event.ship)
    if ship is None:
        return
    wanted = ship.call == "launch"
    if wanted:
        ship.call = None
        world.touch(ship)
    pausing = world.now < world.patience.not_before and not event.fatal
    if pausing or (world.patience.failures and not wanted):
        # It was under way when another failed, or was not wanted any more: the same trouble, and no machine was made.
        world.patience.lasts(world.spec.fleet, world.now)
        world.deadlines.set(("launch", ""), world.patience.not_before)
        world.changes.plan = True
    elif wanted:
        launching_failed(world, ship.id, event.reason, made=False, fatal=event.fatal)


def launching_failed(world: World, ship: ShipId, reason: str, *, made: bool, fatal: bool = False) -> None:
    """A launch failed: pause, and at last, or when another try would fail the same way, give up.

    Args:
        world: the fleet.
        ship: whose launch.
        reason: for people.
        made: a machine had been made.
        fatal: another try would fail the same way.
    """
    patience = world.patience
    news = reason != patience.reason
    give_up = patience.failed(reason, world.spec.fleet, world.now, made=made) or fatal
    world.changes.plan = True
    if not give_up or not world.controls.launching:
        world.deadlines.set(("launch", ""), patience.not_before)
        # What lasts is told ever more rarely; `mux status` shows it all the time.
        if news or made or (patience.failures > 1 and patience.failures.bit_count() == 1):
            pause_s = patience.not_before - world.now
            text = f"{ship}: {reason} Trying again in {pause_s:.0f} s, and until it works."
            world.notify(Notify("warning", "launch_failed", "", text))
        return
    world.controls = replace(world.controls, launching=False)
    why = "since it would fail again" if fatal else f"after {counted(patience.failures, 'failure')} in a row, the last"
    text = f"launching was given up, {why}: {ship}: {reason}"
    world.stopped_text = text
    world.notify(Notify("error", "launching_given_up", "", f"{text} Mend it, then resume with `mux fleet resume`."))
    for pending in list(world.ships.values()):
        if pending.state is ShipState.PENDING and not pending.host and not pending.assigned:
            calls.end(world, pending)


def _place(world: World, ship: Ship, machine: Machine) -> None:
    """Note where a machine is. A place belongs to one ship: whoever had it before is not there any more.

    A provider gives addresses of machines that are gone to new ones, perhaps before its listing has told of their end.
    So of two ships at one place the one that was launched last is there, whatever a listing says of the other.
    """
    if machine.kind and (machine.kind, machine.spot) != (ship.kind, ship.spot):
        ship.kind, ship.spot = machine.kind, machine.spot
        world.touch(ship)
    place = (machine.host, machine.port_first, machine.port_count)
    if not machine.host or place == (ship.host, ship.port_first, ship.port_count):
        return
    before = world.ships.get(world.places.get((machine.host, machine.port_first), ship.id))
    if before is not None and before is not ship:
        if (before.launched_at, before.id) > (ship.launched_at, ship.id):
            return
        before.host = ""
        world.touch(before)
    calls.leave_place(world, ship)
    ship.host, ship.port_first, ship.port_count = place
    world.places[machine.host, machine.port_first] = ship.id
    world.touch(ship)


def listing_failed(world: World, event: ListingFailed) -> None:
    """The provider could not say what exists: nothing is gone by that. What lasts is told, and shown while it does."""
    world.listing = False
    world.listings_failed += 1
    if world.listings_failed < LISTINGS_FAILED_MAX:
        return
    world.listing_trouble = event.reason
    if world.listings_failed == LISTINGS_FAILED_MAX:
        rest = "Ships go on." if world.listed else "Ships go on, and none is launched or ended before it does."
        text = f"The provider does not say which machines there are: {event.reason} {rest}"
        world.notify(Notify("error", "listing_failed", "", text))


def _listing_came(world: World) -> None:
    if world.listing_trouble:
        world.notify(Notify("info", "listing_back", "", "The provider says again which machines there are."))
    world.listings_failed, world.listing_trouble = 0, ""


def listed(world: World, event: MachinesListed) -> None:
    """Compare what exists with what is known: adopt, start, park, end; notice what is gone."""
    _listing_came(world)
    world.listing = False
    world.listed = True
    world.changes.plan = True
    for ended in [ship for ship in world.ships.values() if ship.state is ShipState.TERMINATED]:
        if ended.id not in event.machines and ended.id not in world.changes.ships:
            del world.ships[ended.id]
            world.tally.drop(ended.id)
    orphans: set[ShipId] = set()
    for ship_id, machine in event.machines.items():
        ship = world.ships.get(ship_id)
        if ship is not None and ship.state is not ShipState.TERMINATED:
            _seen(world, ship, machine)
            continue
        if world.controls.paused:
            continue
        world.effect(TerminateShip(ship_id))
        if ship is None:  # one that has just ended may be in a listing that was asked before
            orphans.add(ship_id)
            if ship_id not in world.orphans:
                world.notify(
                    Notify("warning", "orphan", ship_id, f"{ship_id} exists and is not known; ending its machine.")
                )
    world.orphans = orphans
    for ship in list(world.ships.values()):
        if ship.id not in event.machines:
            _unseen(world, ship, event.asked_at)


def _seen(world: World, ship: Ship, machine: Machine) -> None:
    ship.missing = 0
    if ship.call is not None:
        return
    _place(world, ship, machine)
    if ship.wanted is ShipWanted.GONE:
        calls.call(world, ship, "terminate")
    elif ship.wanted is ShipWanted.RUN and machine.status is MachineStatus.STOPPED:
        calls.call(world, ship, "start")
    elif ship.wanted is ShipWanted.PARKED and machine.status is MachineStatus.STOPPED:
        if ship.state is not ShipState.PARKED:
            calls.parked(world, ship)
    elif ship.wanted is ShipWanted.PARKED:
        calls.call(world, ship, "park")


def _unseen(world: World, ship: Ship, asked_at: float) -> None:
    if ship.state is ShipState.TERMINATED or ship.call is not None:
        return
    if ship.wanted is ShipWanted.GONE:
        calls.terminated(world, ship)
        return
    if ship.state is ShipState.PENDING and not (ship.host or ship.ordered):
        return
    if max(ship.launched_at, ship.ordered_at) >= asked_at:
        return
    if ship.missing and asked_at < ship.missing_at + LISTINGS_APART * world.spec.fleet.listing_s:
        return
    ship.missing += 1
    ship.missing_at = asked_at
    if ship.missing >= MISSING_MAX:
        # What it kept went with its machine.
        let_go(world, ship)
        lost(world, ship, "the provider says that its machine is gone", returns=False)


def lost(world: World, ship: Ship, why: str, *, returns: bool = True) -> None:
    """A ship is lost: its attendees move.

    What they did is on its disk. If it may come back (``returns``), it is to keep that and takes nobody, until an
    organizer releases it; if there is nothing to keep, its machine is ended, should it still be there.
    """
    move_everybody(world, ship, keep_work=returns)
    text = f"{ship.id} is lost: {why}. Its attendees get other seats."
    if ship.kept:
        text += f" {keeps(ship)}"
    world.notify(Notify("error", "ship_lost", ship.id, text))
    if ship.kept:
        empty(world, ship)
        world.touch(ship)
    else:
        ship.failed = why
        calls.end(world, ship)


def keeps(ship: Ship) -> str:
    """What organizers are told of a ship that keeps work."""
    return (
        f"It is cordoned and keeps the work of {counted(len(ship.kept_of), 'attendee')}, stopped, until "
        f"`mux ship release {ship.id}` lets it go."
    )


def returned(world: World, ship: Ship) -> None:
    """A ship is heard from again."""
    if ship.kept:
        text = f"{ship.id} is heard from again. {keeps(ship)}"
        world.notify(Notify("warning", "keeps_work", ship.id, text), said_by=ship.id)
    else:
        world.notify(Notify("info", "reachable", ship.id, f"{ship.id} is heard from again."), said_by=ship.id)


def released(world: World, ship: Ship) -> None:
    """An organizer lets go of what a ship keeps: it is destroyed, and the ship is one of the fleet again.

    One that has not come back until then is ended.
    """
    if not ship.kept:
        return
    let_go(world, ship)
    if ship.unreachable:
        calls.end(world, ship)
    elif ship.state in (ShipState.PENDING, ShipState.BOOTING):
        world.deadlines.set(("boot", ship.id), world.now + world.spec.fleet.boot_deadline_s)


def end_all(world: World) -> None:
    """The event is over: every ship ends, and none is launched until an organizer resumes launching."""
    world.controls = replace(world.controls, launching=False, paused=False, parked=False)
    world.changes.plan = True
    world.stopped_text = "the event was ended by an organizer; `mux fleet resume` launches ships again."
    for ship in list(world.ships.values()):
        if not ship.gone:
            calls.end(world, ship)
            move_everybody(world, ship)


def boot_overdue(world: World, ship_id: ShipId) -> None:
    """A ship did not become available in time: it has failed, and is replaced."""
    ship = world.ships.get(ship_id)
    when = "of its launch"
    if ship is not None and ship.state is ShipState.PENDING:
        when = NOT_BACK if ship.key else NEVER_JOINED
    _overdue(world, ship_id, f"not available within {world.spec.fleet.boot_deadline_s:g} s {when}")


def stage_overdue(world: World, ship_id: ShipId) -> None:
    """A ship got stuck in one stage of its boot: it has failed, and is replaced."""
    ship = world.ships.get(ship_id)
    if ship is not None and ship.stage is not None:
        _overdue(world, ship_id, f"stuck in {ship.stage} for {boots.stage_deadline_s(world, ship.stage):g} s")


def _overdue(world: World, ship_id: ShipId, why: str) -> None:
    ship = world.ships.get(ship_id)
    if ship is None or ship.gone or ship.state not in (ShipState.PENDING, ShipState.BOOTING):
        return
    if ship.wanted is not ShipWanted.RUN or ship.kept or world.controls.paused:
        return
    if ship.unordered or ship.call == "launch":
        # It has no machine that could be late.
        boots.watch_boot(world, ship)
        return
    phase = f", last heard: {ship.phase}" if ship.phase else ""
    ship.failed = f"{why}{phase}"
    world.touch(ship)
    if ship.assigned:
        world.notify(
            Notify(
                "error",
                "ship_failed",
                ship.id,
                f"{ship.id} failed: {ship.failed}. It is kept for the files of the {ship.assigned} who sit there; "
                f"if it does not come back, declare it lost and they get other seats.",
            )
        )


def end_failed(world: World, ship: Ship) -> None:
    """A failed or draining ship that holds nobody is ended; a failed one counts as a failed launch."""
    if ship.gone or ship.assigned or not (ship.failed or ship.draining) or ship.wanted is not ShipWanted.RUN:
        return
    if ship.kept or world.controls.paused:
        return
    if ship.failed:
        world.notify(Notify("error", "ship_failed", ship.id, f"{ship.id} failed and is replaced: {ship.failed}"))
        launching_failed(world, ship.id, f"{ship.failed}.", made=True)
    calls.end(world, ship)


def set_launching(world: World, *, enabled: bool) -> None:
    """An organizer paused or resumed the reconciler; resuming forgets earlier failures, and starts deadlines anew."""
    resumed = enabled and world.controls.paused
    world.controls = replace(
        world.controls, paused=not enabled, launching=world.controls.launching or enabled
    )  # fmt: skip
    world.stopped_text = PAUSED_TEXT if not enabled else ""
    world.changes.plan = True
    if not enabled:
        return
    world.patience.forget()
    if resumed:
        for ship in world.ships.values():
            if not ship.gone and ship.state in (ShipState.PENDING, ShipState.BOOTING):
                boots.watch_boot(world, ship)
            if ship.failed or ship.draining:
                world.touch(ship, save=False)
        ask_listing(world)
