"""Large bodies of one exchange, on their way through the kernel.

Owns which of its two bodies go there now. Knows nothing of what their ends mean: that is the exchange's. Rule: while a
body goes there its source is not read by its transport, so whoever would resume that asks here first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mux.proxy.limits import SPLICE_BYTES_MIN
from mux.proxy.splice import Splice
from mux.proxy.upstream import UpstreamConnection

if TYPE_CHECKING:
    from mux.proxy.client import ClientConnection
    from mux.proxy.plane import Plane

Done = Callable[[str | None], None]
"""Told of a body's end, or of whose fault it is that there is none: ``source`` or ``sink``."""


class Through:
    """The bodies of an exchange that go through the kernel.

    Args:
        plane: whose pipes they use.
        client: one end.
    """

    __slots__ = ("_client", "_down", "_plane", "_up")

    def __init__(self, plane: Plane, client: ClientConnection) -> None:
        self._plane = plane
        self._client = client
        self._up: Splice | None = None
        self._down: Splice | None = None

    @property
    def up(self) -> bool:
        """Whether the request's body goes there."""
        return self._up is not None

    @property
    def down(self) -> bool:
        """Whether the response's does."""
        return self._down is not None

    @property
    def held(self) -> int:
        """Bytes in their pipes."""
        return sum(splice.held for splice in (self._up, self._down) if splice is not None)

    def begin_up(self, connection: UpstreamConnection, left: int, done: Done) -> None:
        """Send the rest of the request's body there, if it is large.

        Args:
            connection: the other end.
            left: bytes that are still to come and need no look at.
            done: see Done.
        """
        if left < SPLICE_BYTES_MIN or self._up is not None:
            return

        def moved(full: bool) -> None:
            self._client.touch()
            connection.write_paused = full

        def ended(fault: str | None) -> None:
            self._up = None
            done(fault)

        source, sink = self._client.transport, connection.transport
        self._up = self._plane.splice(source, sink, left, moved=moved, done=ended)
        self.go_on_up()

    def begin_down(self, connection: UpstreamConnection, left: int, done: Done) -> None:
        """As ``begin_up``, for the response's."""
        if left < SPLICE_BYTES_MIN or self._down is not None:
            return

        def moved(full: bool) -> None:
            self._client.touch()
            self._client.write_paused = full

        def ended(fault: str | None) -> None:
            self._down = None
            done(fault)

        source, sink = connection.transport, self._client.transport
        self._down = self._plane.splice(source, sink, left, moved=moved, done=ended)
        self.go_on_down()

    def go_on_up(self) -> None:
        """The upstream takes more."""
        if self._up is not None:
            self._up.start()

    def go_on_down(self) -> None:
        """The client takes more."""
        if self._down is not None:
            self._down.start()

    def stop(self) -> None:
        """Neither goes there any more."""
        for splice in (self._up, self._down):
            if splice is not None:
                splice.stop()
        self._up = self._down = None
