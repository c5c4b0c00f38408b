"""What connections hold in memory, by whoever they belong to.

Owns the sums of one sweep. Rules: a connection holds little, and one attendee may have thousands of them, so together
they are bounded; whether anything moves does not matter, since who wants to fill the memory can let bytes drip; without
a holder there is no bound, for that is a proxy in front, or nobody logs in at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mux.proxy import limits
from mux.proxy.shares import Holder

if TYPE_CHECKING:
    from mux.proxy.client import ClientConnection


class Holdings:
    """The holdings of all, as one sweep finds them."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes: dict[Holder, int] = {}

    def too_much(self, client: ClientConnection) -> bool:
        """Count a connection; whether its holder has more than HELD_BYTES_MAX with it."""
        if client.holder is None or not (size := client.held):
            return False
        held = self._bytes[client.holder] = self._bytes.get(client.holder, 0) + size
        return held > limits.HELD_BYTES_MAX
