"""Ships that are not needed now: parked and started again, let go when they are surplus, stopped when the time is up.

Nobody who has a seat loses it by being surplus; the hard stop lets every ship go. A ship that keeps work is parked, and
never ended. Ships with people on them are stopped only while the whole fleet is parked.
"""

from __future__ import annotations

from dataclasses import replace

from mux.core import calls, warming
from mux.core.commands import Notify
from mux.core.events import FleetWarmed
from mux.core.lifecycles import SHIP_BOOT_STARTS
from mux.core.model import ShipState, ShipWanted
from mux.core.planner import plan
from mux.core.plural import are
from mux.core.ships import Ship
from mux.core.timetable import LetGo
from mux.core.world import World


def park_all(world: World) -> None:
    """Every ship should be parked."""
    world.controls = replace(world.controls, parked=True)
    world.changes.plan = True
    for ship in world.ships.values():
        if not ship.gone and ship.wanted is not ShipWanted.PARKED:
            park(world, ship)


def park(world: World, ship: Ship) -> None:
    """A ship should be stopped, with its files kept; one whose agent never joined has none, and is ended.

    Its machine, if there is one, may be in the middle of an installation, which nothing takes up when it is started.
    """
    if not (ship.key or ship.assigned):
        calls.end(world, ship)
        return
    ship.wanted = ShipWanted.PARKED
    world.touch(ship)
    if ship.host and ship.call is None:
        calls.call(world, ship, "park")
    elif not ship.host and ship.call is None:
        calls.parked(world, ship)


def unpark_all(world: World) -> None:
    """Parked ships should run again; where the fleet was let go, that is the word on how many seats are wanted."""
    parked = [ship for ship in world.ships.values() if ship.wanted is ShipWanted.PARKED]
    world.controls = replace(world.controls, parked=False)
    world.changes.plan = True
    if parked and not warming.aim(world).seats:
        seats = sum(len(ship.seats) for ship in world.ships.values() if not ship.gone)
        world.controls = replace(world.controls, target_seats=seats, target_at=world.now, target_by=0.0)
    for ship in parked:
        unpark(world, ship)


def warm(world: World, event: FleetWarmed) -> None:
    """So many seats are wanted from now on. In a fleet that was parked, those who have a seat are not left without."""
    warming.warm(world, event)
    for ship in world.ships.values():
        if ship.wanted is ShipWanted.PARKED and ship.assigned:
            unpark(world, ship)


def unpark_some(world: World, missing: int, ships_max: int | None) -> None:
    """Start as many parked ships as hold the seats that are missing, those with people first; ``ships_max`` at most."""
    parked = [ship for ship in world.ships.values() if ship.wanted is ShipWanted.PARKED]
    for ship in sorted(parked, key=lambda ship: (-ship.assigned, ship.id))[:ships_max]:
        if missing > 0:
            missing -= len(ship.seats)
            unpark(world, ship)


def unpark(world: World, ship: Ship) -> None:
    """A parked ship should run again: a new boot."""
    ship.wanted = ShipWanted.RUN
    if ship.state is ShipState.PARKED:
        ship.life.to(ShipState.PENDING, table=SHIP_BOOT_STARTS)
        ship.launched_at = world.now
    world.deadlines.set(("boot", ship.id), world.now + world.spec.fleet.boot_deadline_s)
    # Its silence while it was being parked meant nothing, nor that it was out of reach; from now on they do.
    ship.path_failing_since = None
    world.deadlines.set(("heartbeat", ship.id), world.now + world.spec.fleet.heartbeat_grace_s)
    world.touch(ship)
    if ship.host and ship.call is None:
        calls.call(world, ship, "start")


def hard_stop(world: World) -> None:
    """The hard stop: every ship goes, with whoever is on it; one that keeps work is parked in any case."""
    if world.controls.paused or world.controls.parked:
        return
    keep = world.spec.timetable.stop == "park"
    going = [ship for ship in world.ships.values() if not ship.gone and ship.wanted is not ShipWanted.PARKED]
    if keep:
        world.controls = replace(world.controls, parked=True)
    if going:
        how = "parked, with the files on them" if keep else "ended"
        world.notify(Notify("warning", "hard_stop", "", f"The hard stop: {are(len(going), 'ship')} being {how}."))
    for ship in going:
        holds = ship.assigned or ship.state is not ShipState.PENDING
        if ship.kept or (keep and holds):
            park(world, ship)
        else:
            calls.end(world, ship)


def end_surplus(world: World) -> None:
    """Ships have been surplus for long enough: let whole free ones go, the youngest first, while seats are surplus."""
    aimed = warming.aim(world)
    held = warming.held(world, aimed)
    decided = plan(
        world.tally, world.spec.fleet, enabled=True, backing_off=False, seats=aimed.seats, held=held
    )  # fmt: skip
    surplus = decided.surplus
    if held or aimed.phase == "stop":
        return
    free = [ship for ship in world.ships.values() if not (ship.gone or ship.assigned or ship.draining or ship.kept)]
    for ship in sorted(free, key=lambda ship: ship.id, reverse=True):
        # A ship launched before an apply may have more or fewer seats than one that would be launched now.
        idle = ship.noticed and not decided.deficit
        if ship.wanted is ShipWanted.RUN and (idle or not aimed.seats or len(ship.seats) <= surplus):
            surplus -= 0 if idle else len(ship.seats)
            _let_go(world, ship, world.spec.timetable.cool if not aimed.seats else "end")


def _let_go(world: World, ship: Ship, how: LetGo) -> None:
    """Park or end a ship that is not needed; one that never became available holds nothing worth keeping."""
    if how == "park" and ship.state in (ShipState.AVAILABLE, ShipState.RUNNING):
        park(world, ship)
    else:
        calls.end(world, ship)
