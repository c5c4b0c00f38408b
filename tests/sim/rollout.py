"""Rollouts in a house: what is pushed, and what must hold of it.

Nobody's workspace is started on an image that has not answered on that machine; a wave is no larger than it may be; in
peace every rollout comes to its end, and what was pushed last is what people have.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING

from mux.core.model import ProjectName, WorkspaceId
from mux.core.rollout import RolloutState, takes_part
from mux.core.rollout_waves import bound

if TYPE_CHECKING:
    from mux.core.world import World
    from ship_agent.step import Start
    from tests.sim.machines import SimMachine

IMAGES = 6
FAILING, HANGING = (f"sha256:{sha256(word.encode()).hexdigest()}" for word in ("push 4", "push 5"))
"""Images that never start, and that never answer."""


def image(number: int) -> str:
    """One of a few images that may be pushed; two of them are bad."""
    return f"sha256:{sha256(f'push {number % IMAGES}'.encode()).hexdigest()}"


class RolloutRules:
    """What is remembered of rollouts between two looks."""

    def __init__(self) -> None:
        self._waves: dict[ProjectName, int] = {}
        self._swapped: set[WorkspaceId] = set()

    def broken(self, world: World) -> Iterator[str]:
        """After a batch: a wave that has begun is no larger than it may be, and nobody else is away for an image."""
        for name, rollout in world.rollouts.items():
            swapped = {workspace.id for _, workspace in bound(world, rollout) if workspace.previous}
            # One whose ship was away comes back with its swap, beside the wave that went on without it.
            self._swapped |= set(rollout.wave)
            if swapped - self._swapped:
                yield f"{sorted(swapped - self._swapped)} are swapped beside the wave"
            began = rollout.wave and self._waves.get(name) != rollout.number
            total = sum(1 for _ in bound(world, rollout))
            if began and rollout.number == 1 and len(rollout.wave) > rollout.pace.at_once(total, world.spec.rollout):
                yield f"{len(rollout.wave)} of {name} are swapped at once"
            self._waves[name] = rollout.number if rollout.wave else 0

    @staticmethod
    def unproved(machine: SimMachine, action: Start) -> str:
        """Why a start must not be: it gives somebody an image that was not proved here; empty if it may be."""
        here, spec = machine.workspaces.get(action.spec.id), action.spec
        if here is None or not spec.receipt or machine.ever_hostile:
            return ""
        if spec.digest == here.digest or spec.digest in machine.answered | machine.truth[here.id].ran:
            return ""
        if here.digest in (FAILING, HANGING):
            return ""  # it goes back to the image before, which this ship may never have had
        return f"{here.id} is started on {spec.digest[:14]}, which never answered on {machine.ship}"


def unrolled(world: World) -> Iterator[str]:
    """What has not come to rest."""
    for name, rollout in world.rollouts.items():
        if rollout.state is RolloutState.RUNNING:
            yield f"the rollout {rollout.number} of {name} goes on: {rollout}"
        elif rollout.state is RolloutState.DONE:
            refused = {ship for ship, _ in rollout.refused}
            for ship, workspace in bound(world, rollout):
                left = workspace.digest != rollout.digest and not rollout.gave_up(workspace.id)
                if left and ship.id not in refused and takes_part(ship):
                    yield f"{workspace.id} has not the image pushed last"
