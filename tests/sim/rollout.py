"""Rollouts in a house: what is pushed, and what must hold of it.

Nobody's workspace is started on an image that has not answered on that machine; a wave is no larger than it may be,
comes when it may and touches whom it may; requests wait for a swap and no longer; in peace every rollout comes to its
end, and what was pushed last is what people have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from mux.core.events import (
    AttendeesActive,
    Event,
    EventSpecApplied,
    ProjectPushed,
    RolloutSteered,
    UpdateAccepted,
)
from mux.core.model import ProjectName, UserId, WorkspaceId
from mux.core.rollout import Rollout, RolloutState, takes_part
from mux.core.rollout_waves import bound

if TYPE_CHECKING:
    from mux.core.routes import RouteKey
    from mux.core.world import World
    from ship_agent.step import Start
    from tests.sim.machines import SimMachine

IMAGES = 9
FAILING, HANGING, FAILS_SWAPPED, HANGS_SWAPPED, UNPULLABLE = (
    f"sha256:{sha256(f'push {number}'.encode()).hexdigest()}" for number in range(4, 9)
)
"""Images that never start, that never answer, that do so at their first start on somebody's files alone, and that no
registry has."""

LATE_S = 1.0
"""What ends at a moment may end with the first look after it."""


def image(number: int) -> str:
    """One of a few images that may be pushed; more than half of them are bad."""
    return f"sha256:{sha256(f'push {number % IMAGES}'.encode()).hexdigest()}"


class RolloutRules:
    """What is remembered of rollouts between two looks."""

    def __init__(self) -> None:
        self._seen: dict[ProjectName, Rollout] = {}
        self._swapped: set[WorkspaceId] = set()
        self._digests: dict[WorkspaceId, str] = {}
        self._routed: set[RouteKey] = set()
        self._led: set[WorkspaceId] = set()
        self._accepted: set[tuple[UserId, ProjectName, int]] = set()
        self._active: dict[RouteKey, float] = {}
        self._started = 0.0

    def restarted(self, world: World) -> None:
        """A new process of the mux, whose clock may have been set back.

        What was never stored is forgotten rightly: a push that met a full disk was not acknowledged.
        """
        self._started = world.now
        self._seen = dict(world.rollouts)
        self._active.clear()

    def broken(self, world: World, events: Sequence[Event]) -> Iterator[str]:
        """After a batch."""
        for event in events:
            match event:
                case UpdateAccepted(user, project, number):
                    self._accepted.add((user, project, number))
                case AttendeesActive(active):
                    self._active.update(dict.fromkeys(active, world.now))
        for name, rollout in world.rollouts.items():
            yield from self._one(world, rollout, self._seen.get(name), events)
        yield from self._held(world)
        yield from self._overdue(world)
        self._seen = dict(world.rollouts)
        self._routed = set(world.published_routes)
        self._led.update(place.workspace for place in world.published_routes.values())
        self._digests = {each.id: each.digest for one in world.rollouts.values() for _, each in bound(world, one)}

    def _one(self, world: World, rollout: Rollout, before: Rollout | None, events: Sequence[Event]) -> Iterator[str]:
        name = rollout.project
        here = list(bound(world, rollout))
        # One whose ship was away comes back with its swap, beside the wave that went on without it.
        self._swapped |= set(rollout.wave)
        if beside := {workspace.id for _, workspace in here if workspace.previous} - self._swapped:
            yield f"{sorted(beside)} are swapped beside the wave"
        if rollout.wave_began_at and (before is None or before.wave_began_at != rollout.wave_began_at):
            yield from self._began(world, rollout, before)
        goes_on = rollout.state is RolloutState.RUNNING and not rollout.rollback
        if goes_on and rollout.failures > world.spec.rollout.failures_max:
            yield f"the rollout of {name} goes on after {rollout.failures} failures"
        said = [event for event in events if isinstance(event, ProjectPushed) and event.project == name]
        steered = any(isinstance(event, RolloutSteered | EventSpecApplied) for event in events)
        if said and not steered and rollout.digest != said[-1].digest:
            yield f"{name} is moved to {rollout.digest[:14]}, and {said[-1].digest[:14]} was pushed last"
        if before is not None and before.rollback and rollout.number > before.number and not said:
            yield f"the rollback of {name} is rolled back"
        # A push that came with the order is what is rolled back then.
        rolled_back = before is not None and rollout.rollback and not before.rollback and not said
        if rolled_back and before is not None and rollout.digest != before.rolls_back_to[1]:
            yield f"{name} is rolled back to {rollout.digest[:14]}, which is not what it had before"
        for ship, each in here if before and before.number == rollout.number else ():
            if rollout.rollback and self._digests.get(each.id) == rollout.digest != each.digest:
                yield f"{each.id} on {ship.id} goes back from a rollback"
            # A free one that failed with it has no other to go back to; its next attendee got it once it answered.
            gave_up = rollout.gave_up(each.id) and each.id in self._swapped
            if not rollout.rollback and gave_up and each.digest == rollout.digest:
                yield f"{each.id} on {ship.id} stays on the image with which it failed"

    def _began(self, world: World, rollout: Rollout, before: Rollout | None) -> Iterator[str]:
        """A wave has begun: nobody is in it who must not be touched, and it does not come too soon."""
        name, here = rollout.project, {each.id: (ship, each) for ship, each in bound(world, rollout)}
        if len(rollout.wave) > rollout.pace.at_once(len(here), world.spec.rollout):
            yield f"{len(rollout.wave)} of {name} are swapped at once"
        if rollout.paused or not rollout.active:
            yield f"a wave of {name} begins though it is {'paused' if rollout.paused else rollout.state}"
        if world.now < rollout.pace.not_before:
            yield f"a wave of {name} begins before its time"
        unjudged = [ship.id for ship in world.ships.values() if takes_part(ship) and not rollout.judged(ship.id)]
        if unjudged and rollout.state is RolloutState.RUNNING:
            yield f"a wave of {name} begins before {unjudged} have given their verdict"
        if before is not None and before.number == rollout.number and before.wave_began_at:
            soon = world.now - before.wave_began_at < world.spec.rollout.monitor_s
            if soon and any(identity in here for identity in before.wave):
                yield f"a wave of {name} begins before the one before it was watched"
        for identity in rollout.wave:
            ship, each = here[identity]
            user = ship.seats[each.seat].user
            if ship.link is None or ship.unreachable:
                yield f"{identity} is swapped though its ship is not heard from"
            if rollout.pace.offer and (user, name, rollout.number) not in self._accepted:
                yield f"{identity} is swapped though {user} has not accepted that"
            last = max(self._started, self._active.get((user, name), 0.0) if user else 0.0)
            if rollout.pace.idle and world.now - last < world.spec.rollout.idle_after_s:
                yield f"{identity} is swapped though {user} is not idle"
            if user and (user, name) in self._routed and (user, name) not in world.published_routes:
                yield f"requests of {user} for {name} do not wait for its swap"

    @staticmethod
    def _held(world: World) -> Iterator[str]:
        """Requests wait for a swap alone, and no longer than it may take."""
        for (user, project), place in world.published_routes.items():
            found = world.seat_of(user) if place.hold else None
            workspace = found[1].workspaces.get(project) if found is not None else None
            if workspace is not None and (workspace.healthy or world.now >= workspace.swap_until):
                yield f"requests of {user} for {project} wait though no swap is under way"

    @staticmethod
    def _overdue(world: World) -> Iterator[str]:
        """Nothing is waited for longer than it may take, while its ship is heard from and no order keeps it waiting."""
        for ship in world.ships.values():
            if not takes_part(ship) or ship.link is None or ship.unreachable:
                continue
            for trial in ship.trials.values():
                if world.now > trial.ends_at + LATE_S:
                    yield f"the trial {trial.id} is still waited for"
            # Of one that is nobody's any more and is about to go, nothing is waited for.
            for each in (each for seat in ship.seats for each in seat.workspaces.values()):
                if each.previous and not each.healthy and world.now > each.swap_until + LATE_S:
                    yield f"the swap of {each.id} is still waited for"

    def unproved(self, machine: SimMachine, action: Start) -> str:
        """Why a start must not be: it gives somebody an image that was not proved here; empty if it may be."""
        here, spec = machine.workspaces.get(action.spec.id), action.spec
        if here is None or not spec.receipt or machine.ever_hostile:
            return ""
        if spec.digest == here.digest or spec.digest in machine.answered | machine.truth[here.id].ran:
            return ""
        if here.digest in (FAILING, HANGING):
            return ""  # it goes back to the image before, which this ship may never have had
        if here.id not in self._led:
            return ""  # likewise, after a first start that failed, as far as the mux has heard: nobody was led to it
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
