"""Who holds how many of the connections that there are, so that nobody takes what others need.

Sans-I/O. Owns the counts. Rules: a connection is its address's until it bears a login, and the attendee's from then on,
as a WebSocket too; a room is one address, so only connections without a login count for it; a count that is back at
nothing is forgotten.
"""

from __future__ import annotations

from mux.core.model import UserId
from mux.proxy.limits import ATTENDEE_SHARE, SHARE_MIN, STRANGERS_SHARE

Holder = UserId | bytes
"""An attendee, or an address (as text in bytes) that has not logged in."""


class Shares:
    """Connections by holder.

    Args:
        total: connections that there may be at all.
        lone: whether one login stands for a room: it leaves a share to others, instead of having one.
    """

    def __init__(self, total: int, *, lone: bool = False) -> None:
        share = total // ATTENDEE_SHARE
        least = min(SHARE_MIN, total // 3)  # an attendee and their address together leave a part to others
        self._attendee_max = max(least, total - share if lone else share)
        self._strangers_max = max(least, total // STRANGERS_SHARE)
        self._held: dict[Holder, int] = {}

    def take(self, holder: Holder) -> bool:
        """One more connection; False, and nothing is counted, if that is too many."""
        held = self._held.get(holder, 0)
        if held >= (self._strangers_max if isinstance(holder, bytes) else self._attendee_max):
            return False
        self._held[holder] = held + 1
        return True

    def give(self, holder: Holder) -> None:
        """One less."""
        held = self._held[holder] - 1
        if held:
            self._held[holder] = held
        else:
            del self._held[holder]
