"""The short way of a request: a head that is known, an idle connection, and an answer in one piece.

Owns nothing that the strict way (:mod:`mux.proxy.exchange`) does not own; it is the same exchange without reading
anything twice. Rule: whatever is not plain ends the short way, and the strict way takes over with the same connection
and the same bytes as if it had had them from the beginning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mux.core.model import SessionHash
from mux.core.routes import RouteKey
from mux.proxy.body import CHUNKED, ChunkedBody
from mux.proxy.exchange import Exchange
from mux.proxy.limits import CHUNK_DIGITS_MAX, HEAD_BYTES_MAX
from mux.proxy.memo import KnownHead, Memo, Way
from mux.proxy.refusal import Malformed, Refusal
from mux.proxy.request import PLAIN_LINE, RequestHead
from mux.proxy.upstream import UpstreamConnection

if TYPE_CHECKING:
    from mux.proxy.client import ClientConnection
    from mux.proxy.plane import Plane

_H = b"H"[0]
_END = b"\r\n\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,%d}" % CHUNK_DIGITS_MAX)


class Quick:
    """The short way of one client connection; used again for each of its requests.

    Args:
        plane: router, pools and counters.
        client: whose requests they are.
    """

    __slots__ = ("_client", "_connection", "_head_only", "_known", "_match", "_plane", "_way")

    event_stream = False

    def __init__(self, plane: Plane, client: ClientConnection) -> None:
        self._plane = plane
        self._client = client
        self._connection: UpstreamConnection | None = None
        self._head_only = False
        self._known: KnownHead
        self._match: re.Match[bytes]
        self._way: Way

    # -- the request ----------------------------------------------------------------------------------------------

    def begin(self, memo: Memo, data: bytes) -> bool:
        """Take a request, if ``data`` is one whole plain head and there is a connection for it. Nothing is kept else.

        Args:
            memo: of the plane.
            data: the first bytes since the last request.
        """
        match = PLAIN_LINE.match(data)
        if match is None:
            return False
        plane = self._plane
        router = plane.router
        place = router.place(match[3])
        end = match.end()
        client = self._client
        direct = client.direct
        # What is known is one whole head, so there is nothing more to look for in these bytes.
        known = memo.heads.young.get((direct.ip, data[end:])) or memo.head(direct, data, end)
        if known is None or place is None:
            return False
        now = plane.wall()
        way = known.ways.get(place)
        if way is None or way.door.router is not router or way.door.expires_at <= now:
            try:
                known.peer = (
                    plane.front.peer(direct, known.request(match[1], match[2])) if plane.front.lists else direct
                )
                way = memo.way(known, place, router, method=match[1], target=match[2], now=now)
            except Refusal:
                return False
            if way is None:
                return False
        door = way.door
        if door.user is not None and door.user != client.holder:
            try:
                plane.client_known(client, door.user)
            except Refusal:
                return False
        connection = door.pool.take()
        if connection is None:
            return False
        self._known, self._way, self._connection, self._match = known, way, connection, match
        self._head_only = data[0] == _H
        client.peer = known.peer
        connection.user = self
        connection.transport.write(data[:end] + way.rest)
        return True

    @property
    def request(self) -> RequestHead:
        """As the strict way has it."""
        return self._known.request(self._match[1], self._match[2])

    @property
    def session(self) -> SessionHash | None:
        """Which login it belongs to."""
        return self._way.door.destination.session

    @property
    def route(self) -> RouteKey | None:
        """Which route it goes through."""
        return self._way.door.destination.route

    # -- the response ---------------------------------------------------------------------------------------------

    def upstream_data(self, data: bytes) -> None:
        """See UpstreamUser."""
        plane, client, memo, connection = self._plane, self._client, self._plane.memo, self._connection
        end = data.find(_END, 0, HEAD_BYTES_MAX) + 4
        if end == 3 or memo is None or plane.draining or connection is None:
            self.hand_over().upstream_data(data)
            return
        head = data[:end]
        answers = memo.answers_to_head if self._head_only else memo.answers
        known = answers.young.get(head) or memo.answer(head, head_only=self._head_only)
        if known is None or (len(data) - end != known.body and not _whole(known.body, data, end)):
            self.hand_over().upstream_data(data)
            return
        self._connection = None
        client.transport.write(data if known.same else known.head + data[end:])
        plane.tally.statuses[known.status_class] += 1
        door = self._way.door
        if door.counted is not plane.counting:
            plane.count(door)
        now = plane.now()
        door.pool.give(connection, now)
        client.quick_done(now)

    def upstream_lost(self, error: Exception | None) -> None:
        """See UpstreamUser."""
        self.hand_over().upstream_lost(error)

    def upstream_writable(self) -> None:
        """See UpstreamUser: there is no body to stop."""

    def hand_over(self) -> Exchange:
        """End the short way; the exchange that goes on with it."""
        connection, self._connection = self._connection, None
        exchange = Exchange(self._plane, self._client, self.request, self._way.door.destination)
        exchange.adopt(connection)
        self._client.exchange = exchange
        return exchange

    # -- as an exchange -------------------------------------------------------------------------------------------

    def client_writable(self, writable: bool) -> None:
        """The client takes more, or no more for now."""
        self.hand_over().client_writable(writable)

    def refuse(self, refusal: Refusal) -> None:
        """Neither side may go on."""
        self.hand_over().refuse(refusal)

    def abandon(self) -> None:
        """The client is gone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _whole(body: int, data: bytes, end: int) -> bool:
    """Whether ``data`` from ``end`` on is one whole chunked body, and nothing else."""
    if body != CHUNKED or not data.endswith(_LAST_CHUNK):
        return False
    line_end = data.find(b"\r\n", end)
    digits = data[end:line_end]
    if _CHUNK_SIZE.fullmatch(digits) and int(digits, 16) == len(data) - line_end - 2 - len(_LAST_CHUNK) > 0:
        return True
    walker = ChunkedBody()
    try:
        forward, _ = walker.feed(data[end:])
    except Malformed:
        return False
    return walker.done and len(forward) == len(data) - end
