"""A batch of `Save…` and `Forget…` commands, gathered into what must be true afterwards.

Pure. A login storm saves the same ship hundreds of times in one batch; only the last one need be written. The result is
what carrying out the commands one after the other would leave, and the store's rules hold for that end, not for every
step on the way (two attendees may change seats in one batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mux.core.commands import (
    ForgetAssignment,
    ForgetRollout,
    ForgetSession,
    ForgetWaiting,
    Persist,
    SaveAssignment,
    SaveBehind,
    SaveControls,
    SaveRollout,
    SaveSession,
    SaveShip,
    SaveSpend,
    SaveWaiting,
    SaveWishes,
    ShipRecord,
)
from mux.core.model import Assignment, ProjectName, Session, SessionHash, ShipId, UserId, Waiting
from mux.core.rollout import Rollout
from mux.core.spend import Meter


@dataclass(slots=True)
class Changes:
    """What a batch leaves behind: by key the new value, None for what is gone.

    Args:
        epochs: highest epoch given in the batch, also of assignments forgotten again.
        seen: attendees who got a session, also of sessions forgotten again.
    """

    ships: dict[ShipId, ShipRecord] = field(default_factory=dict)
    assignments: dict[UserId, Assignment | None] = field(default_factory=dict)
    epochs: dict[UserId, int] = field(default_factory=dict)
    sessions: dict[SessionHash, Session | None] = field(default_factory=dict)
    waiting: dict[UserId, Waiting | None] = field(default_factory=dict)
    controls: SaveControls | None = None
    meter: Meter | None = None
    rollouts: dict[ProjectName, Rollout | None] = field(default_factory=dict)
    wishes: dict[UserId, SaveWishes | None] = field(default_factory=dict)
    behind: dict[UserId, SaveBehind | None] = field(default_factory=dict)
    seen: set[UserId] = field(default_factory=set)


def gather(batch: Sequence[Persist]) -> Changes:  # noqa: PLR0912 - one branch per command
    """What ``batch``, carried out in order, leaves behind."""
    changes = Changes()
    for command in batch:
        match command:
            case SaveShip(ship):
                changes.ships[ship.id] = ship
            case SaveAssignment(assignment):
                user = assignment.user
                changes.assignments[user] = assignment
                changes.epochs[user] = max(assignment.epoch, changes.epochs.get(user, assignment.epoch))
            case ForgetAssignment(user):
                changes.assignments[user] = None
            case SaveSession(session):
                changes.sessions[session.hash] = session
                changes.seen.add(session.user)
            case ForgetSession(hash_):
                changes.sessions[hash_] = None
            case SaveWaiting(waiting):
                changes.waiting[waiting.user] = waiting
            case ForgetWaiting(user):
                changes.waiting[user] = None
            case SaveControls():
                changes.controls = command
            case SaveSpend(meter):
                changes.meter = meter
            case SaveRollout(rollout):
                changes.rollouts[rollout.project] = rollout
            case ForgetRollout(project):
                changes.rollouts[project] = None
            case SaveWishes(user, paths):
                changes.wishes[user] = command if paths else None
            case SaveBehind(user, ages):
                changes.behind[user] = command if ages else None
    return changes
