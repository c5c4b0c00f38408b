"""The time of responses that came without one.

Sans-I/O. Owns how it is written down. Rule: made once for each second, for what has no date of its own may come often.
"""

from __future__ import annotations

import email.utils


class Dates:
    """The line ``Date`` for the second that it was last asked for."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def line(self, now: float) -> bytes:
        """The field line with its end (RFC 9110 sections 5.6.7 and 6.6.1). ``now`` in seconds since the epoch."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % email.utils.formatdate(second, usegmt=True).encode()
        return self._line
