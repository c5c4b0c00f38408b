"""How a boot goes on: the stages that a ship tells of, and the deadline of each.

The overall deadline of a boot stands beside these: a ship that goes back and forth between stages wins no time by it.
What follows from a deadline that has passed is in `machines`.
"""

from __future__ import annotations

from mux.core.model import BootStage, ShipState
from mux.core.ships import Ship
from mux.core.world import World


def staged(world: World, ship: Ship, stage: BootStage) -> None:
    """Note how far a booting ship is; each stage has a deadline of its own."""
    if ship.state is not ShipState.BOOTING or ship.stage is stage:
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
    if ship.stage is not None and ship.state is ShipState.BOOTING:
        world.deadlines.set(("stage", ship.id), world.now + stage_deadline_s(world, ship.stage))
