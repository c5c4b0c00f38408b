"""Calls to the provider for one ship, and what follows when they have come back.

Every call is idempotent by ship id, so what is in flight when the mux dies is simply asked again. Who asks, and why, is
decided elsewhere: `machines` sizes the fleet, `parking` stops and starts it.
"""

from __future__ import annotations

from collections.abc import Mapping

from mux.core.attendance import move_everybody
from mux.core.commands import CloseLink, LaunchShip, Notify, ParkShip, StartShip, TerminateShip
from mux.core.events import MachineCallEnded
from mux.core.failures import forget_ship
from mux.core.model import ShipState, ShipWanted
from mux.core.ships import Call, Ship
from mux.core.world import World

_CALLS: Mapping[Call, type[LaunchShip | StartShip | ParkShip | TerminateShip]] = {
    "launch": LaunchShip,
    "start": StartShip,
    "park": ParkShip,
    "terminate": TerminateShip,
}


def call(world: World, ship: Ship, what: Call) -> None:
    """Have the provider do something; while the reconciler is paused that waits for the listing after the pause."""
    if world.controls.paused:
        return
    ship.call = what
    world.effect(_CALLS[what](ship.id))
    world.touch(ship)


def end(world: World, ship: Ship) -> None:
    """Have a ship's machine ended, unless it keeps somebody's work."""
    if ship.state is ShipState.TERMINATED or ship.kept:
        return
    ship.wanted = ShipWanted.GONE
    if ship.call in (None, "launch"):
        call(world, ship, "terminate")
    world.touch(ship)


def call_ended(world: World, event: MachineCallEnded) -> None:
    """A start, park or terminate call came back. What failed is asked again at the next listing."""
    ship = world.ships.get(event.ship)
    if ship is None or ship.call is None or ship.call == "launch":
        return
    what, ship.call = ship.call, None
    world.touch(ship)
    if event.error:
        world.notify(Notify("warning", f"{what}_failed", ship.id, f"{ship.id}: {event.error} Trying again."))
    elif what == "terminate":
        terminated(world, ship)
    elif what == "park" and ship.wanted is ShipWanted.PARKED:
        parked(world, ship)


def terminated(world: World, ship: Ship) -> None:
    """A ship's machine is gone: nothing of the ship is left but its name."""
    move_everybody(world, ship)
    if ship.state is not ShipState.TERMINATED:
        ship.life.to(ShipState.TERMINATED)
    unlink(world, ship)
    ship.kept.clear()
    ship.trials.clear()
    ship.workspaces.clear()
    for seat in ship.seats:
        seat.workspaces.clear()
    forget_ship(world, ship)
    world.forget_words(ship.id)
    leave_place(world, ship)
    for kind in ("heartbeat", "boot", "stage"):
        world.deadlines.clear((kind, ship.id))
    world.touch(ship)


def parked(world: World, ship: Ship) -> None:
    """A ship's machine has stopped: its files stay, what was heard of it means nothing any more."""
    if ship.state is not ShipState.PARKED:
        ship.life.to(ShipState.PARKED)
    ship.begins_anew()
    unlink(world, ship)
    for workspace in ship.workspaces.values():
        workspace.healthy = False
        workspace.reported = None
    for kind in ("heartbeat", "boot", "stage"):
        world.deadlines.clear((kind, ship.id))
    world.touch(ship)


def unlink(world: World, ship: Ship) -> None:
    """Close a ship's link. Its silence from now on is no news."""
    if ship.link is not None:
        world.effect(CloseLink(ship.id, ship.link))
        ship.link = None
    ship.unreachable = False


def leave_place(world: World, ship: Ship) -> None:
    """Nobody reaches a ship at its place any more."""
    if world.places.get((ship.host, ship.port_first)) == ship.id:
        del world.places[ship.host, ship.port_first]
