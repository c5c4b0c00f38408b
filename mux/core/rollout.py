"""A rollout as a value: which image a project is moved to, how far that is, and which image that means for a ship.

Pure data and what follows from it alone. What is done about it is in `rollouts`, what people are shown in
`rollout_views`.

Rules: the rollout that was pushed last is the one in force; an event file that names another image than it did at the
push ends it. A rollout never speaks of tags: images are digests, and a reference says only where one is had.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from mux.core.model import (
    HeldImage,
    ProjectName,
    ProjectSpec,
    RolloutSpec,
    ShipId,
    ShipState,
    ShipWanted,
    UserId,
    WorkspaceId,
)

if TYPE_CHECKING:
    from mux.core.ships import Ship
    from mux.core.world import World

FAILURES_KEPT_MAX = 50
"""Failures that are remembered one by one; a rollout stops long before."""


class RolloutState(StrEnum):
    """Whether a rollout goes on. ``paused`` stands beside it."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Pace:
    """How a rollout may touch attendees.

    Args:
        share: of a project's bound workspaces that may be swapped at once, in (0, 1]; 0 when ``count`` says it.
        count: so many at once; 0 when ``share`` says it. With both 0, as many as the event file says.
        idle: only attendees who have not used it for a while.
        not_before: nobody is touched before that, in seconds since the epoch; 0 for at once.
        offer: only attendees who have accepted it.
    """

    share: float = 0.0
    count: int = 0
    idle: bool = False
    not_before: float = 0.0
    offer: bool = False

    def at_once(self, total: int, spec: RolloutSpec) -> int:
        """How many of ``total`` bound workspaces may be swapped at once; never none."""
        share, count = (self.share, self.count) if self.share or self.count else (spec.share, spec.count)
        return count or max(1, int(share * total))


@dataclass(frozen=True)
class Rollout:
    """One rollout; as it is stored. Without slots, so that what is asked for each of many ships is computed once.

    Args:
        project: what is moved.
        number: counts the pushes of the project; a later one wins.
        image: where the image is had.
        digest: the image.
        was_image: where the image before is had.
        was_digest: the image before: what a ship has until it has proved this one, and what fails goes back to.
        back_image: where the image of a rollback is had, if that is not the image before; else empty.
        back_digest: that image: an image that was in force already was pushed again, and a rollback goes behind both.
        file_digest: what the event file's reference stood for at the push; another one ends the rollout.
        pace: how attendees may be touched.
        pushed_at: seconds since the epoch.
        note: an organizer's words on it.
        rollback: it takes an earlier one back; it is never taken back itself.
        state: whether it goes on.
        paused: an organizer holds it.
        why: it stopped; empty if it did not.
        proved: ships on which a throw-away workspace of the image has answered.
        refused: ships on which it did not, and why.
        fetched: of these, which have the image all the same.
        failed: workspaces that did not come up with it, and why.
        wave: workspaces that are being swapped or watched.
        watched_until: when the wave has been watched long enough, in seconds since the epoch; 0 while it is swapped.
        offered_at: since when attendees are offered it, in seconds since the epoch; 0 while they are not.
        accepted: attendees who want it, in the order in which they said so.
        wave_began_at: when the wave under way began, in seconds since the epoch.
        waves: that have come to their end.
        waves_s: how long they took in all, each with the time for which it was watched.
    """

    project: ProjectName
    number: int
    image: str
    digest: str
    was_image: str
    was_digest: str
    file_digest: str
    pace: Pace = Pace()
    pushed_at: float = 0.0
    note: str = ""
    rollback: bool = False
    state: RolloutState = RolloutState.RUNNING
    paused: bool = False
    why: str = ""
    proved: tuple[ShipId, ...] = ()
    refused: tuple[tuple[ShipId, str], ...] = ()
    failed: tuple[tuple[WorkspaceId, str], ...] = ()
    wave: tuple[WorkspaceId, ...] = ()
    watched_until: float = 0.0
    offered_at: float = 0.0
    accepted: tuple[UserId, ...] = ()
    wave_began_at: float = 0.0
    waves: int = 0
    waves_s: float = 0.0
    back_image: str = ""
    back_digest: str = ""
    fetched: tuple[ShipId, ...] = ()

    @property
    def rolls_back_to(self) -> tuple[str, str]:
        """What a rollback gives everybody: where it is had, and its digest."""
        return (self.back_image, self.back_digest) if self.back_digest else (self.was_image, self.was_digest)

    @property
    def can_be_taken_back(self) -> bool:
        """A rollback of it would give people another image, and it is none itself."""
        return not self.rollback and self.rolls_back_to[1] != self.digest

    @property
    def active(self) -> bool:
        """It goes on, or goes on where a ship comes back with the image before."""
        return self.state in (RolloutState.RUNNING, RolloutState.DONE)

    @property
    def failures(self) -> int:
        """What counts against it."""
        return len(self.refused) + len(self.failed)

    @cached_property
    def all_judged(self) -> frozenset[ShipId]:
        """Ships of which it is known if they can run the image."""
        return frozenset((*self.proved, *(ship for ship, _ in self.refused)))

    @cached_property
    def all_proved(self) -> frozenset[ShipId]:
        """Ships that can run the image."""
        return frozenset(self.proved)

    @cached_property
    def wave_members(self) -> frozenset[WorkspaceId]:
        """Workspaces of the wave."""
        return frozenset(self.wave)

    def judged(self, ship: ShipId) -> bool:
        """Whether it is known if a ship can run the image."""
        return ship in self.all_judged

    def refused_on(self, ship: ShipId) -> bool:
        """Whether a ship is known not to run the image."""
        return any(refused == ship for refused, _ in self.refused)

    def gave_up(self, workspace: WorkspaceId) -> bool:
        """Whether a workspace did not come up with the image, and is left alone."""
        return any(failed == workspace for failed, _ in self.failed)


@dataclass(slots=True)
class WaveMarks:
    """What is remembered of a project's waves, so that not all seats are looked at for each word of a ship.

    Args:
        swapped: workspaces with an image to go back to, and some that had one: a wave may leave one behind.
        away: one of the wave that was away when all of it was last looked at.
        unjudged: a ship whose verdict was missing when all of them were last looked at.
    """

    swapped: dict[WorkspaceId, None] = field(default_factory=dict)
    away: WorkspaceId | None = None
    unjudged: ShipId | None = None


def takes_part(ship: Ship) -> bool:
    """Whether rollouts are a ship's business: it is up. One that boots comes up with what is in force, first."""
    up = ship.state in (ShipState.AVAILABLE, ShipState.RUNNING)
    return up and ship.wanted is ShipWanted.RUN and not ship.kept and not (ship.draining and not ship.assigned)


def spec_on(world: World, ship: Ship, spec: ProjectSpec) -> ProjectSpec:
    """A project as new workspaces of it run on a ship now: with the image that is in force there."""
    rollout = world.rollouts.get(spec.name)
    if rollout is None:
        return spec
    running = rollout.state is RolloutState.RUNNING and ship.id in rollout.all_proved
    done = rollout.state is RolloutState.DONE and (rollout.rollback or not rollout.refused_on(ship.id))
    if done or (running and world.now >= rollout.pace.not_before):
        return spec.with_image(rollout.image, rollout.digest)
    return spec.with_image(rollout.was_image, rollout.was_digest)


def held_on(world: World, ship: Ship) -> tuple[HeldImage, ...]:
    """Images that a ship is to have beside those of its workspaces: the one to come, and the one to go back to."""
    if not takes_part(ship):
        return ()
    held: list[HeldImage] = []
    for rollout in world.rollouts.values():
        if rollout.state is RolloutState.RUNNING or ship.id in rollout.all_proved:
            held.append(HeldImage(rollout.project, rollout.image, rollout.digest))
            held.append(HeldImage(rollout.project, rollout.was_image, rollout.was_digest))
            if rollout.back_digest:
                held.append(HeldImage(rollout.project, rollout.back_image, rollout.back_digest))
    known = {(each.project, each.digest) for each in held}
    for workspace in ship.workspaces.values():
        # An image of an earlier push that was ended: nothing else says that it may be needed once more.
        rolling = world.rollouts.get(workspace.project) if workspace.previous else None
        if rolling is not None and (workspace.project, workspace.previous) not in known:
            held.append(HeldImage(workspace.project, rolling.was_image, workspace.previous))
    return tuple(dict.fromkeys(held))
