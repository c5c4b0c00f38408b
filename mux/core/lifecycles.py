"""Which state may follow which: one transition table per lifecycle, and one way to move.

Within one boot a ship only moves forward. Parking ends a boot; a new boot starts over at ``pending`` or ``booting``.
Conditions (unreachable, cordoned, draining, failed) stand beside the state and are not in these tables.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from mux.core.errors import InvalidTransitionError
from mux.core.model import ShipState, WorkspaceState

HISTORY_MAX = 16
"""States remembered for the story of an invalid transition; a boot has five at most."""

SHIP_TRANSITIONS: Mapping[ShipState, frozenset[ShipState]] = {
    ShipState.PENDING: frozenset({ShipState.BOOTING, ShipState.PARKED, ShipState.TERMINATED}),
    ShipState.BOOTING: frozenset({ShipState.AVAILABLE, ShipState.RUNNING, ShipState.PARKED, ShipState.TERMINATED}),
    ShipState.AVAILABLE: frozenset({ShipState.RUNNING, ShipState.PARKED, ShipState.TERMINATED}),
    ShipState.RUNNING: frozenset({ShipState.PARKED, ShipState.TERMINATED}),
    ShipState.PARKED: frozenset({ShipState.TERMINATED}),
    ShipState.TERMINATED: frozenset(),
}
"""Within one boot. Booting leads straight to running where seats are still somebody's from an earlier boot."""

SHIP_BOOT_STARTS: Mapping[ShipState, frozenset[ShipState]] = {
    ShipState.PENDING: frozenset({ShipState.PENDING, ShipState.BOOTING}),
    ShipState.BOOTING: frozenset({ShipState.BOOTING}),
    ShipState.AVAILABLE: frozenset({ShipState.BOOTING}),
    ShipState.RUNNING: frozenset({ShipState.BOOTING}),
    ShipState.PARKED: frozenset({ShipState.PENDING, ShipState.BOOTING}),
    ShipState.TERMINATED: frozenset(),
}
"""What may follow when a new boot begins: the machine was started, or has come back under another boot identity."""

WORKSPACE_TRANSITIONS: Mapping[WorkspaceState, frozenset[WorkspaceState]] = {
    WorkspaceState.PREPARING: frozenset({WorkspaceState.WARM, WorkspaceState.DRAINING}),
    WorkspaceState.WARM: frozenset({WorkspaceState.BOUND, WorkspaceState.PREPARING, WorkspaceState.DRAINING}),
    WorkspaceState.BOUND: frozenset({WorkspaceState.SUSPENDED, WorkspaceState.DRAINING}),
    WorkspaceState.SUSPENDED: frozenset({WorkspaceState.BOUND, WorkspaceState.DRAINING}),
    WorkspaceState.DRAINING: frozenset({WorkspaceState.STOPPED}),
    WorkspaceState.STOPPED: frozenset(),
}
"""A warm workspace whose health path stops answering, or whose machine boots anew, is preparing again."""

_S = TypeVar("_S", bound=StrEnum)


@dataclass(slots=True)
class Lifecycle(Generic[_S]):
    """A state that moves by a table, and remembers how it came there.

    Args:
        subject: what it is the state of, for the story of an error.
        state: where it is.
        table: what may follow what.
    """

    subject: str
    state: _S
    table: Mapping[_S, frozenset[_S]]
    history: deque[str] = field(default_factory=lambda: deque(maxlen=HISTORY_MAX))

    def to(self, after: _S, *, table: Mapping[_S, frozenset[_S]] | None = None) -> None:
        """Move to ``after``. Raises InvalidTransitionError when the table (or ``table``) does not lead there."""
        if after not in (table or self.table)[self.state]:
            raise InvalidTransitionError(self.subject, self.state, after, [*self.history, self.state])
        self.history.append(self.state)
        self.state = after


def ship_lifecycle(subject: str, state: ShipState = ShipState.PENDING) -> Lifecycle[ShipState]:
    """The lifecycle of a ship, in ``state``."""
    return Lifecycle(subject, state, SHIP_TRANSITIONS)


def workspace_lifecycle(subject: str, state: WorkspaceState = WorkspaceState.PREPARING) -> Lifecycle[WorkspaceState]:
    """The lifecycle of a workspace, in ``state``."""
    return Lifecycle(subject, state, WORKSPACE_TRANSITIONS)
