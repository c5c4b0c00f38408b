"""How a boot goes on: what a machine says before an agent speaks for it, stages that a ship tells of, their deadlines.

The overall deadline of a boot stands beside those of its stages: a ship that goes back and forth between them wins no
time by it. What follows from a deadline that has passed is in `machines`.
"""

from __future__ import annotations

from mux.core.events import BootTold
from mux.core.model import BootStage, ShipState, ShipWanted
from mux.core.ships import Ship
from mux.core.world import World

COMING_UP = (ShipState.PENDING, ShipState.BOOTING)


def told(world: World, event: BootTold) -> None:
    """A machine says how its installation goes on, or that it cannot become a ship.

    Only one for which no agent has spoken yet is listened to: from then on its key is what counts.
    """
    ship = world.ships.get(event.ship)
    if ship is None or ship.gone or ship.key or ship.failed or ship.wanted is not ShipWanted.RUN:
        return
    ship.preparing = event.doing
    staged(world, ship, BootStage.INSTALLING)
    if event.failed:
        ship.failed = f"its installation failed: {event.doing}"
    world.touch(ship, save=event.failed)


def staged(world: World, ship: Ship, stage: BootStage) -> None:
    """Note how far a ship that comes up is; each stage has a deadline of its own."""
    if ship.state not in COMING_UP or ship.stage is stage:
        return
    ship.stage = stage
    world.deadlines.set(("stage", ship.id), world.now + stage_deadline_s(world, stage))


def stage_deadline_s(world: World, stage: BootStage) -> float:
    """How long a booting ship may be in a stage, in seconds."""
    fleet = world.spec.fleet
    return {
        BootStage.INSTALLING: fleet.install_deadline_s,
        BootStage.PULLING: fleet.pull_deadline_s,
    }.get(stage, fleet.start_deadline_s)


def watch_boot(world: World, ship: Ship) -> None:
    """Let the deadlines of a boot begin anew."""
    world.deadlines.set(("boot", ship.id), world.now + world.spec.fleet.boot_deadline_s)
    if ship.stage is not None and ship.state in COMING_UP:
        world.deadlines.set(("stage", ship.id), world.now + stage_deadline_s(world, ship.stage))
