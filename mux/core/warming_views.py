"""What people are shown of warming and of money: plain values, computed on demand.

Reasons quote ships and providers: hostile until escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mux.core.boots import COMING_UP
from mux.core.model import ShipWanted
from mux.core.ships import Ship
from mux.core.spend import HOUR_S, MICROS, estimate
from mux.core.timetable import begins_at
from mux.core.warming import (
    Aim,
    aim,
    boot_s,
    held,
    hours_left,
    lasting,
    launching_text,
    limit,
    meter,
    ready,
    ready_at,
    reasons,
)
from mux.core.world import World


@dataclass(frozen=True, slots=True)
class SpendView:
    """What the event costs.

    Args:
        currency: of all amounts.
        spent: so far.
        per_hour: what runs now costs for an hour.
        event: estimate for the whole event, with what runs now.
        limit: in force; None for none.
        ship_hours: sum over ships, so far.
        known: whether ships have a price.
    """

    currency: str
    spent: float
    per_hour: float
    event: float
    limit: float | None
    ship_hours: float
    known: bool


@dataclass(frozen=True, slots=True)
class WarmingView:
    """How warming goes on.

    Args:
        seats: wanted.
        ready: seats that said themselves that they are ready, assigned ones included.
        by: when they should be ready, in seconds since the epoch; None for as soon as possible.
        begins_at: when warming begins; None once it has.
        expected_at: when they are expected to be ready.
        phase: of the timetable, or ``word`` for the organizers'.
        held: why nothing is done now; empty if nothing holds mux back.
        launching: whether ships may be launched.
        launching_text: why not, or why that fails for now; empty while it goes well.
        stalled: no seat became ready for long.
        ships_by_state: ships and what they are doing.
        reasons: why seats are missing, with how many times each, the most frequent first.
        spend: what the event costs.
    """

    seats: int
    ready: int
    by: float | None
    begins_at: float | None
    expected_at: float
    phase: str
    held: str
    launching: bool
    launching_text: str
    stalled: bool
    ships_by_state: Mapping[str, int]
    reasons: tuple[tuple[str, int], ...]
    spend: SpendView


@dataclass(frozen=True, slots=True)
class Forecast:
    """What so many seats would take and cost; nothing has been done.

    Args:
        seats: asked for.
        ready: seats that are ready now.
        launches: ships that would be launched.
        starts: parked ships that would be started.
        begins_at: when, in seconds since the epoch.
        expected_at: when the seats are expected to be ready.
        boot_s: how long a ship takes to become available.
        measured: whether that was measured; else it is the deadline of a boot.
        per_hour: what the fleet would cost for an hour.
        event: estimate for the whole event.
        beyond_limit: whether that is more than the limit in force.
        spend: as it is now.
    """

    seats: int
    ready: int
    launches: int
    starts: int
    begins_at: float
    expected_at: float
    boot_s: float
    measured: bool
    per_hour: float
    event: float
    beyond_limit: bool
    spend: SpendView


def spend_view(world: World, now: float) -> SpendView:
    """What the event costs at ``now``, in seconds since the epoch."""
    read = meter(world).read(max(now, world.now))
    return SpendView(
        currency=world.spec.spend.currency,
        spent=read.spent,
        per_hour=read.rate_micros / MICROS,
        event=estimate(replace(read, rate_micros=lasting(world).rate_micros), hours_left(world)),
        limit=limit(world),
        ship_hours=read.ship_seconds / HOUR_S,
        known=world.spec.spend.known,
    )


def warming_view(world: World, now: float) -> WarmingView:
    """How warming goes on at ``now``, in seconds since the epoch."""
    aimed = aim(world)
    states = Counter(_doing(ship) for ship in world.ships.values())
    states.pop("", None)
    return WarmingView(
        seats=aimed.seats,
        ready=ready(world),
        by=aimed.by or None,
        begins_at=aimed.begins_at,
        expected_at=ready_at(world, aimed),
        phase=aimed.phase,
        held=held(world, aimed),
        launching=world.controls.launching and not world.controls.paused,
        launching_text=launching_text(world),
        stalled=world.watch.stalled,
        ships_by_state=dict(states),
        reasons=tuple(reasons(world)),
        spend=spend_view(world, now),
    )


def _doing(ship: Ship) -> str:
    """A ship's state, or the stage of its boot; empty for one that is going."""
    if ship.gone:
        return ""
    if ship.failed:
        return "failed"
    if ship.state in COMING_UP and ship.stage is not None:
        return str(ship.stage)
    return str(ship.state)


def forecast(world: World, now: float, seats: int, by: float) -> Forecast:
    """What ``seats`` by then (0: as soon as possible) would take and cost."""
    fleet, spend, tally = world.spec.fleet, world.spec.spend, world.tally
    missing = max(0, seats - tally.usable)
    starts = starts_micros = 0
    for ship in world.ships.values():
        if missing > 0 and not ship.gone and ship.wanted is ShipWanted.PARKED:
            starts += 1
            starts_micros += spend.price(ship.kind, spot=ship.spot)
            missing -= len(ship.seats)
    launches = -(-max(0, missing) // fleet.seats_per_ship)
    takes_s = boot_s(world)
    more_micros = launches * spend.dearest_micros + starts_micros
    event = estimate(lasting(world), hours_left(world), more_micros=more_micros)
    most = limit(world)
    begins = max(now, begins_at(by, takes_s)) if by else now
    coming = ready_at(world, Aim(seats))
    return Forecast(
        seats=seats,
        ready=ready(world),
        launches=launches,
        starts=starts,
        begins_at=begins,
        expected_at=begins + takes_s if launches or starts else max(now, coming),
        boot_s=takes_s,
        measured=bool(world.controls.boot_s),
        per_hour=(lasting(world).rate_micros + more_micros) / MICROS,
        event=event,
        beyond_limit=most is not None and bool(launches or starts) and event > most + 1e-6,
        spend=spend_view(world, now),
    )
