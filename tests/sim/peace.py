"""Peace: every fault has ended, organizers say what only they can say, and everything must come to rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mux.core.events import (
    DoorsSet,
    FleetUnparked,
    FleetWarmed,
    LaunchingSet,
    ProjectPushed,
    RolloutSteered,
    ShipCordoned,
    ShipDeclaredLost,
    ShipReleased,
    UpdateAccepted,
)
from mux.core.model import Doors, ShipId, ShipState, ShipWanted
from mux.core.rollout import RolloutState
from mux.core.world import World
from tests.sim.rollout import FAILING, HANGING, UNPULLABLE, unrolled
from tests.sim.rules import BrokenRuleError
from tests.sim.wishes import unfulfilled

if TYPE_CHECKING:
    from tests.sim.house import House

PEACE_MAX_S = 1_800.0
"""Peace must bring rest within this. A boot deadline, a surplus hold and some launches in a row fit well."""
PEACE_LOOK_S = 10.0
ORGANIZER_LOOKS_S = 60.0


def make_peace(house: House) -> None:
    """End every fault, and wait until all has come to rest. Raises BrokenRuleError when that takes too long."""
    house.note("peace")
    now = house.time.now
    house.weather.until = now
    house.provider.troubles = type(house.provider.troubles)()
    house.provider.registry.away_until = now
    house.mux.store_fails_until = now
    house.mux.kill_at = None
    for machine in house.provider.machines.values():
        machine.hostile = False
        machine.failing_until = now
        machine.foreign_ports.clear()
        machine.path_cut = False
        house.heal(machine)
    if house.mux.up:
        _organize(house)
    limit, next_look = now + PEACE_MAX_S, now + ORGANIZER_LOOKS_S
    while True:
        house.time.run(house.time.now + PEACE_LOOK_S)
        left = list(_unsettled(house))
        if not left:
            return
        if house.time.now >= limit:
            raise BrokenRuleError("peace", "; ".join(left[:4]))
        if house.time.now >= next_look:
            next_look += ORGANIZER_LOOKS_S
            _organize(house)


def _organize(house: House) -> None:
    """What organizers do when trouble is over: open, resume, and say which ships are lost."""
    world = house.mux.fleet.world
    post = house.mux.post
    if world.controls.paused or not world.controls.launching:
        post(LaunchingSet(True))
    if world.controls.doors is not Doors.OPEN:
        post(DoorsSet(Doors.OPEN))
    if world.controls.parked:
        post(FleetUnparked())
    if world.controls.target_seats is not None:
        post(FleetWarmed(world.spec.fleet.seats_wanted))
    _roll_out(house)
    for ship in world.ships.values():
        if ship.cordoned:
            post(ShipCordoned(ship.id, False))
        # Who comes back by themselves, or is known to the provider to be gone, needs no organizer. One that vanished
        # while it was not known whether it had been launched was made anew.
        gone = ship.id in house.provider.vanished and ship.id not in house.provider.machines
        silent = ship.unreachable and not _comes_back(house, ship.id) and not gone
        in_use = ship.state in (ShipState.AVAILABLE, ShipState.RUNNING)
        if ship.kept:
            post(ShipReleased(ship.id))
        elif not ship.gone and ((silent and in_use) or (ship.failed and ship.assigned)):
            post(ShipDeclaredLost(ship.id))


def _roll_out(house: House) -> None:
    """What organizers and attendees do with rollouts: they resume them, and accept what they are offered."""
    world, post = house.mux.fleet.world, house.mux.post
    for name, rollout in world.rollouts.items():
        if rollout.paused:
            post(RolloutSteered(name, "resume"))
        if rollout.state is RolloutState.RUNNING and rollout.pace.not_before > world.now + ORGANIZER_LOOKS_S:
            # The clock was set back: the time that was meant is far away now.
            at_once = replace(rollout.pace, not_before=0.0)
            post(ProjectPushed(name, rollout.image, rollout.digest, at_once))
        if rollout.pace.offer:
            # At first they press on a page that shows an earlier push.
            stale = not rollout.accepted and 0 <= world.now - rollout.offered_at < ORGANIZER_LOOKS_S
            for user in world.assignments:
                post(UpdateAccepted(user, name, rollout.number - stale))


def _comes_back(house: House, ship: ShipId) -> bool:
    agent = house.agents.get(ship)
    return agent is not None and agent.alive and agent.machine.up


def _unsettled(house: House) -> Iterator[str]:
    """What has not come to rest yet. Nothing, when everything has converged."""
    mux = house.mux
    if not mux.up:
        yield "the mux is down"
        return
    yield from _unseated(mux.fleet.world)
    yield from _unrouted(house, mux.fleet.world)
    yield from _unreaped(house, mux.fleet.world)
    yield from unrolled(mux.fleet.world)
    yield from unfulfilled(mux.fleet.world)


def _unrouted(house: House, world: World) -> Iterator[str]:
    routes = house.mux.routes
    for user, assignment in world.assignments.items():
        here = world.ships[assignment.ship].seats[assignment.seat].workspaces
        warm = {name for name, spec in world.projects.items() if spec.start == "warm"}
        for name in (warm | here.keys()) - {"bad"}:
            if (user, name) not in routes:
                found = here.get(name)
                machine = house.provider.machines.get(assignment.ship)
                if found and found.digest in (FAILING, HANGING, UNPULLABLE) and machine and machine.ever_hostile:
                    continue  # it said that a bad image answers: its own attendees bear it
                yield f"{user} has no route to {name}, which is {found and (found.id, found.state, found.reported)}"
    for (user, project), place in routes.items():
        if place.hold:
            yield f"requests of {user} for {project} still wait"
        machine = house.provider.by_host(place.host)
        if machine is None or machine.listening(place.port) != place.workspace:
            yield f"the route of {user} to {project} leads nowhere"


def _unreaped(house: House, world: World) -> Iterator[str]:
    machines = house.provider.machines
    ships = {ship.id: ship for ship in world.ships.values() if ship.state is not ShipState.TERMINATED}
    for unknown in sorted(machines.keys() - ships.keys()):
        yield f"{unknown} exists and is not known"
    for ship in ships.values():
        if ship.id not in machines:
            yield f"{ship.id} is known and does not exist"
        elif ship.state is ShipState.PARKED and ship.wanted is ShipWanted.PARKED and not ship.assigned:
            continue  # let go while the fleet was cooled
        elif ship.gone or ship.call is not None or ship.unreachable or ship.link is None:
            yield f"{ship.id} is {ship.state}, wanted {ship.wanted}, call {ship.call}, link {ship.link}"
        elif (agent := house.agents.get(ship.id)) is None or not agent.settled():
            yield f"{ship.id} has not done what it was told"
        elif ship.report is None or ship.report.generation != ship.generation:
            yield f"{ship.id} has not said that it has done what it was told"
        elif machines[ship.id].workspaces.keys() - ship.workspaces.keys() - ship.kept.keys():
            yield f"{ship.id} holds what is not wanted"


def _unseated(world: World) -> Iterator[str]:
    wanted = world.spec.fleet.seats_wanted
    if world.waiting and len(world.assignments) < wanted:
        yield f"{list(world.waiting)} wait although {wanted - len(world.assignments)} seats are nobody's"
    if world.offers.total + len(world.assignments) < wanted:
        yield f"{world.offers.total} seats are ready and {len(world.assignments)} are taken, of {wanted}"
    surplus = world.tally.usable - wanted
    for ship in world.ships.values():
        if ship.kept:
            yield f"{ship.id} still keeps work"
        elif ship.wanted is ShipWanted.PARKED:
            continue  # its seats are not among the usable ones
        elif not ship.gone and not ship.assigned and not ship.draining and len(ship.seats) <= surplus:
            yield f"{ship.id} is surplus"
