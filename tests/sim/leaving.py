"""What must hold of planned moves: whoever leaves does so soon, and not before what they left is in a snapshot.

Judged from outside, by what lies on the machines and the simulation's own time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from mux.core.events import (
    Event,
    EventSpecApplied,
    FleetEnded,
    SeatReleased,
    ShipDeclaredLost,
    ShipDrained,
    UserRevoked,
)
from mux.core.leaving import LEAVE_MAX_S
from mux.core.model import Assignment, ShipId, UserId, WorkspaceId

if TYPE_CHECKING:
    from tests.sim.house import House

LATE_S = 1.0
"""How much later than it could a decision may come: batches take their time."""


class Moves:
    """Watches one house.

    Args:
        house: what is watched.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._asked: dict[UserId, tuple[Assignment, float]] = {}
        self._stored = dict(self._asked)
        self._restarted = 0.0
        self._away: Set[ShipId] = frozenset()
        self._away_at: dict[ShipId, float] = {}

    def persisted(self) -> None:
        """The batch is in the store."""
        self._stored = dict(self._asked)

    def restarted(self) -> None:
        """A new process of the mux gives everybody who leaves their time anew; what was not stored was not said."""
        self._asked = dict(self._stored)
        self._restarted = self._house.time.now

    def heard(self, before: Mapping[UserId, Assignment], events: Sequence[Event], leaving: Collection[UserId]) -> None:
        """Note who is to leave: as an organizer said, or since there are seats for those on a ship that is replaced."""
        self._asked = {user: asked for user, asked in self._asked.items() if before.get(user) == asked[0]}
        for event in events:
            match event:
                case SeatReleased(user) | UserRevoked(user, True):
                    users = [user]
                case ShipDrained(ship, True):
                    users = [user for user, assignment in before.items() if assignment.ship == ship]
                case _:
                    users = []
            self._begin(before, users)
        self._begin(before, leaving)

    def _begin(self, before: Mapping[UserId, Assignment], users: Collection[UserId]) -> None:
        for user in users:
            if user in before:
                self._asked.setdefault(user, (before[user], self._house.time.now))

    def leavers(self) -> frozenset[UserId]:
        """Whoever was to leave when the last batch began, or since."""
        return frozenset(self._asked)

    def broken(  # noqa: PLR0917 - what there is to judge by
        self,
        before: Mapping[UserId, Assignment],
        after: Mapping[UserId, Assignment],
        events: Sequence[Event],
        led: Mapping[UserId, set[WorkspaceId]],
        kept: Set[WorkspaceId],
        given_up: Set[ShipId],
        away: Set[ShipId],
    ) -> Iterator[str]:
        """What does not hold after a batch.

        Args:
            before, after: assignments.
            events: of the batch.
            led: where attendees were led to on the seats that they had before.
            kept: what ships keep, as those do that were lost in the middle.
            given_up: silent ships that are replaced.
            away: ships that are parked, or still stop or boot.
        """
        now = self._house.time.now
        self._away_at |= dict.fromkeys(self._away | away, now)
        self._away = away
        lost = {event.ship for event in events if isinstance(event, ShipDeclaredLost)}
        other = any(isinstance(event, EventSpecApplied | FleetEnded) for event in events)
        for user, (assignment, asked_at) in self._asked.items():
            since = max(asked_at, self._restarted, self._away_at.get(assignment.ship, 0.0))
            # Those with whom a ship empties go together, the last of them when its own time is up.
            together = max(at for other, at in self._asked.values() if other.ship == assignment.ship)
            if after.get(user) == assignment:
                late_s = now - max(since, together)
                if late_s > LEAVE_MAX_S + LATE_S + self._house.clock_went_back_s:
                    yield f"{user} still sits on {assignment.ship}, {late_s:.0f} s after they should leave"
                continue
            machine = self._house.provider.machines.get(assignment.ship)
            if before.get(user) != assignment or other or machine is None or machine.ever_hostile:
                continue
            done_with = lost | given_up | away | self._house.provider.vanished
            if now - since >= LEAVE_MAX_S - LATE_S or assignment.ship in done_with:
                continue
            for workspace in (led.get(user, set()) & {WorkspaceId(each) for each in machine.workspaces}) - kept:
                if user in machine.truth[workspace].owners and not machine.truth[workspace].saved:
                    yield f"{user} is moved off {workspace} before what they left is kept"
