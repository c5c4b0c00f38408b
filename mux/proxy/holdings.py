"""What connections hold in memory, by whoever they belong to.

Owns the sums of one sweep. Rules: a connection holds little, and one attendee may have thousands of them, so together
they are bounded; a busy room holds much for a moment, so what was held for less than HELD_S does not count; whether
anything moves does not matter, since who wants to fill the memory can let bytes drip; without a holder there is no
bound, for that is a proxy in front, or nobody logs in at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mux.proxy import limits
from mux.proxy.shares import Holder

if TYPE_CHECKING:
    from mux.proxy.client import ClientConnection


class Holdings:
    """The holdings of all, as one sweep finds them.

    Args:
        now: on the loop's clock.
    """

    __slots__ = ("_bytes", "_now")

    def __init__(self, now: float) -> None:
        self._now = now
        self._bytes: dict[Holder, int] = {}

    def too_much(self, client: ClientConnection) -> bool:
        """Count a connection; whether its holder has more than HELD_BYTES_MAX with it."""
        size = client.held
        if size < limits.HELD_BYTES_MIN or client.holder is None:
            client.holds_since = 0.0
            return False
        if not client.holds_since:
            client.holds_since = self._now
        if self._now - client.holds_since < limits.HELD_S:
            return False
        held = self._bytes[client.holder] = self._bytes.get(client.holder, 0) + size
        return held > limits.HELD_BYTES_MAX
