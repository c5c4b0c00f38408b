"""Keeps the seat index and the totals up to date, ship by ship, so that nobody has to look at every ship."""

from __future__ import annotations

from mux.core.model import ShipState, ShipWanted
from mux.core.planner import Contribution
from mux.core.scheduler import offered
from mux.core.ships import Ship
from mux.core.workspaces import seat_ready
from mux.core.world import World


def count(world: World, ship: Ship) -> None:
    """Bring the index and the totals up to date with one ship."""
    free = 0
    if ship.healthy:
        free = sum(offered(ship, seat, seat_ready(world, seat)) for seat in ship.seats)
    world.offers.set(ship.id, free)
    if ship.unordered:
        world.unordered[ship.id] = None
    else:
        world.unordered.pop(ship.id, None)
    if ship.replacing and not ship.gone:
        world.replacing[ship.id] = None
    else:
        world.replacing.pop(ship.id, None)
    if world.tally.set(ship.id, _contribution(world, ship)):
        world.changes.plan = True


def _contribution(world: World, ship: Ship) -> Contribution:
    costs = int(ship.costs)
    rate_micros = costs * world.spec.spend.price(ship.kind, spot=ship.spot)
    if ship.gone:
        return Contribution(costs=costs, rate_micros=rate_micros, going_micros=rate_micros)
    assigned = ship.assigned
    seats = len(ship.seats)
    leaving = bool(ship.draining or ship.failed or ship.kept)
    # One whose machine will be taken keeps newcomers away: others are launched in time for them.
    going = leaving or ship.noticed
    doubtful = ship.unreachable and not going
    parked = ship.wanted is ShipWanted.PARKED
    usable = assigned if going or doubtful else seats
    return Contribution(
        usable=0 if parked or ship.replacing else usable,
        doubtful=seats - assigned if doubtful else 0,
        assigned=assigned,
        ships=1,
        # One that was given up says nothing of the mux's own connection any more.
        unreachable=int(ship.unreachable and not ship.kept),
        launching=int(ship.call == "launch"),
        booting=int(ship.state in (ShipState.PENDING, ShipState.BOOTING)),
        parked=int(parked),
        idle=int(ship.noticed and not (leaving or parked or assigned)),
        costs=costs,
        rate_micros=rate_micros,
        going_micros=rate_micros if parked else 0,
    )
