"""What must always hold, whatever happens. Checked after every event in tests and simulations."""

from __future__ import annotations

from collections.abc import Iterator

from mux.core.model import ShipState, ShipWanted, WorkspaceState
from mux.core.planner import Tally
from mux.core.ships import Ship
from mux.core.workspaces import seat_ready
from mux.core.world import World


def broken_rules(world: World) -> list[str]:
    """Every rule that does not hold, in words; empty when all do."""
    return [*_seats(world), *_leaving(world), *_workspaces(world), *_routes(world), *_sessions(world), *_totals(world)]


def _seats(world: World) -> Iterator[str]:
    taken = [(assignment.ship, assignment.seat) for assignment in world.assignments.values()]
    if len(taken) != len(set(taken)):
        yield "a seat has two attendees"
    for user, assignment in world.assignments.items():
        ship = world.ships.get(assignment.ship)
        if ship is None or ship.seats[assignment.seat].user != user:
            yield f"{user} is assigned to {assignment.ship}/{assignment.seat}, which is not theirs"
        elif ship.state is ShipState.TERMINATED:
            yield f"{user} is assigned to {ship.id}, which has ended"
        if world.epochs.get(user) != assignment.epoch:
            yield f"{user} has an assignment whose epoch is not the latest"
        if user in world.waiting:
            yield f"{user} waits and has a seat"
    for user, paths in world.wishes.items():
        found = world.seat_of(user)
        for project in found[1].workspaces if found is not None else ():
            if project in paths:
                yield f"a wish of {user} for {project} waits, and there is a workspace to carry it out"
    for ship in world.ships.values():
        for seat in ship.seats:
            if seat.user is not None and world.seat_of(seat.user) != (ship, seat):
                yield f"{ship.id}/{seat.index} is {seat.user}'s without an assignment"


def _leaving(world: World) -> Iterator[str]:
    for user in world.leaving:
        if user not in world.assignments:
            yield f"{user} leaves and has no seat"
    for ship in world.ships.values():
        for seat in ship.seats:
            if seat.leaving != (seat.user in world.leaving):
                yield f"{ship.id}/{seat.index} does not know whether {seat.user} leaves it"


def _workspaces(world: World) -> Iterator[str]:
    for ship in world.ships.values():
        ports = [port for workspace in ship.workspaces.values() for port in (workspace.port, *workspace.ports.values())]
        if len(ports) != len(set(ports)):
            yield f"{ship.id}: two workspaces have one port"
        sharers = {workspace.shared: workspace.seat for workspace in ship.workspaces.values() if workspace.shared}
        for seat in ship.seats:
            names = {workspace.shared for workspace in seat.workspaces.values() if workspace.shared}
            if len(names) > 1 or any(sharers.get(name, seat.index) != seat.index for name in names):
                yield f"{ship.id}/{seat.index}: its workspaces do not share what is theirs"
        current = {workspace.id for seat in ship.seats for workspace in seat.workspaces.values()}
        for workspace in ship.workspaces.values():
            if (workspace.state is WorkspaceState.DRAINING) == (workspace.id in current):
                yield (
                    f"{workspace.id} is {workspace.state} and "
                    + ("is" if workspace.id in current else "is not")
                    + (" its seat's")
                )
            user = ship.seats[workspace.seat].user
            if workspace.state is WorkspaceState.SUSPENDED and user not in world.leaving:
                yield f"{workspace.id} is suspended, and its attendee does not leave"
            asked = workspace.id in world.save_requests or world.now < world.pages_back_at
            if workspace.state is WorkspaceState.BOUND and user in world.leaving and not asked:
                yield f"{workspace.id} is bound to {user}, who leaves"
            if workspace.state is WorkspaceState.BOUND and user is None:
                yield f"{workspace.id} is bound to nobody"
            if workspace.state is WorkspaceState.WARM and user is not None:
                yield f"{workspace.id} is warm on a seat that is {user}'s"
        yield from _kept(world, ship)


def _kept(world: World, ship: Ship) -> Iterator[str]:
    if ship.kept and (ship.gone or ship.assigned):
        yield f"{ship.id} keeps work and " + ("is to end" if ship.gone else "has attendees")
    for identity, kept in ship.kept.items():
        if kept.workspace.state is not WorkspaceState.SUSPENDED or identity in ship.workspaces:
            yield f"{identity} is kept and {kept.workspace.state}"
        if world.epochs.get(kept.user, 0) < kept.epoch:
            yield f"{identity} is kept of an epoch that {kept.user} has not reached"


def _routes(world: World) -> Iterator[str]:
    for (user, project), place in world.published_routes.items():
        found = world.seat_of(user)
        workspace = found[1].workspaces.get(project) if found else None
        if workspace is None or workspace.id != place.workspace or workspace.state is not WorkspaceState.BOUND:
            yield f"a route of {user} leads to {place.workspace}, which is not bound to them"


def _sessions(world: World) -> Iterator[str]:
    if world.published_sessions.keys() != world.sessions.keys():
        yield "the published sessions are not the sessions in force"
    for user, sessions in world.sessions_of.items():
        if not sessions or any(world.sessions[session].user != user for session in sessions):
            yield f"the sessions of {user} are not theirs"
    for user in world.sessions_of:
        if user not in world.assignments and user not in world.waiting:
            yield f"{user} is logged in, has no seat and does not wait for one"
    for place, user in enumerate(world.waiting, 1):
        if world.places_in_queue is not None and world.places_in_queue.get(user) != place:
            yield f"{user} is told another place in the queue than {place}"
        if user not in world.sessions_of:
            yield f"{user} waits without a login"


def _totals(world: World) -> Iterator[str]:
    offers = sum(
        seat.user is None and seat_ready(world, seat)
        for ship in world.ships.values()
        if ship.healthy
        for seat in ship.seats
    )
    if offers != world.offers.total:
        yield f"{offers} seats can be offered, {world.offers.total} are in the index"
    costs = [ship for ship in world.ships.values() if ship.costs]
    rate = sum(world.spec.spend.price(ship.kind, spot=ship.spot) for ship in costs)
    if (len(costs), rate) != (world.tally.costs, world.tally.rate_micros):
        yield "what the fleet costs is not the sum of the ships"
    leaving = [ship for ship in costs if ship.gone or ship.wanted is ShipWanted.PARKED]
    if sum(world.spec.spend.price(ship.kind, spot=ship.spot) for ship in leaving) != world.tally.going_micros:
        yield "what is on its way out is not the sum of such ships"
    fresh = Tally(
        assigned=sum(ship.assigned for ship in world.ships.values() if not ship.gone),
        ships=sum(not ship.gone for ship in world.ships.values()),
    )
    if (fresh.assigned, fresh.ships) != (world.tally.assigned, world.tally.ships):
        yield "the totals are not the sums of the ships"
