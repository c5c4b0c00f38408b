"""The short way of a request: a head that is known, and an answer in one piece.

Owns nothing that the strict way (:mod:`mux.proxy.exchange`) does not own; it is the same exchange without reading
anything twice. Rules: whatever is not plain ends the short way, and the strict way takes over with the same connection
and the same bytes as if it had had them from the beginning; what must not be sent twice goes the short way on a
connection that was just used, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import TYPE_CHECKING

from mux.core.model import SessionHash
from mux.core.routes import RouteKey
from mux.proxy.body import CHUNKED, whole_chunked
from mux.proxy.exchange import Exchange
from mux.proxy.like import LikeHead
from mux.proxy.limits import AGAIN_BYTES_MAX, CHUNK_DIGITS_MAX, FRESH_BODY_BYTES_MAX, HEAD_BYTES_MAX
from mux.proxy.memo import Door, KnownAnswer, KnownHead, Memo, Way
from mux.proxy.refusal import Refusal
from mux.proxy.request import PLAIN_LINE, WRITE_LINE, RequestHead, parse_request
from mux.proxy.upstream import UpstreamConnection

if TYPE_CHECKING:
    from mux.proxy.client import ClientConnection
    from mux.proxy.plane import Plane

_H = b"H"[0]
_END = b"\r\n\r\n"
_CLOSE = b"Connection: close\r\n"
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,%d}" % CHUNK_DIGITS_MAX)


class Quick:
    """The short way of one client connection; used again for each of its requests.

    Args:
        plane: router, pools and counters.
        client: whose requests they are.
    """

    __slots__ = (
        "_again",
        "_answer",
        "_answer_bytes",
        "_answer_end",
        "_answer_start",
        "_client",
        "_connection",
        "_head_only",
        "_known",
        "_like",
        "_line",
        "_match",
        "_owed",
        "_plane",
        "_sent",
        "_way",
    )

    event_stream = False

    def __init__(self, plane: Plane, client: ClientConnection) -> None:
        self._plane = plane
        self._client = client
        self._connection: UpstreamConnection | None = None
        self._head_only = False
        self._again = self._sent = b""
        """The last request, as it came and as it went, if it is short: a page that asks for news asks the same."""
        self._line = b""
        """Its request line."""
        self._answer: KnownAnswer | None = None
        """To the last request. So begins, ends and measures what is the same answer again, whatever its body says."""
        self._answer_start = self._answer_end = b""
        self._answer_bytes = 0
        self._like: LikeHead | None = None
        self._known: KnownHead | None = None
        self._owed = False
        """Whether more of the request's body is to come."""
        self._match: re.Match[bytes]
        self._way: Way

    # -- the request ----------------------------------------------------------------------------------------------

    def begin(self, memo: Memo, data: bytes) -> bool:
        """Take a request, if ``data`` is one whole plain head that is known. Nothing is kept else.

        Args:
            memo: of the plane.
            data: the first bytes since the last request.
        """
        plane = self._plane
        router = plane.router
        same = data == self._again
        sent = self._sent if same else self._sent_like_the_last(data)
        if sent:
            door = self._way.door
            client = self._client
            if (
                door.router is router
                and door.expires_at > plane.now() + plane.ahead
                and (door.user is None or door.user == client.holder)
                and (connection := door.pool.take())
            ):
                if not same:
                    self._again, self._sent, self._known = data, sent, None
                client.peer = client.direct if self._known is None else self._known.peer
                self._connection = connection
                connection.user = self
                connection.transport.write(sent)
                return True
        match = PLAIN_LINE.match(data)
        if match is None:
            return self._begin_write(memo, data)
        if len(data) > HEAD_BYTES_MAX:
            return False
        place = router.place(match[3])
        if place is None:
            return False
        client = self._client
        now = plane.now() + plane.ahead
        taken = self._known_way(memo, data, match, place, now)
        if taken is None:
            return False
        known, way, rest = taken
        door = way.door
        if not self._may_come(door):
            return False
        connection = door.pool.take()
        if connection is None and (door.pool.dropped or door.destination.hold_s is not None):
            return False
        self._known, self._way, self._match = known, way, match
        if way.last:
            client.takes_no_more()
        self._head_only = data[0] == _H
        self._answer = None
        client.peer = client.direct if known is None else known.peer
        self._again = data if len(data) <= AGAIN_BYTES_MAX else b""
        self._line = line = match[0]
        self._sent = sent = line + rest
        self._connection = connection
        if connection is None:
            door.pool.wait(self, door.destination)
        else:
            connection.user = self
            connection.transport.write(sent)
        return True

    def _begin_write(self, memo: Memo, data: bytes) -> bool:
        """As ``begin``, for a request that is sent once only: its body is here, or the rest of it is short."""
        end = data.find(_END, 0, HEAD_BYTES_MAX) + 4
        head = data[:end]
        match = WRITE_LINE.match(head)
        here = len(data) - end
        if match is None or end == 3 or here > FRESH_BODY_BYTES_MAX:
            return False
        plane, client = self._plane, self._client
        place = plane.router.place(match[3])
        known = None if place is None else memo.write(client.direct, head[match.end() :])
        if known is None:
            return False
        body = known.body if known.body != CHUNKED else whole_chunked(data, end) or CHUNKED
        if here > body or body > FRESH_BODY_BYTES_MAX:  # no body at all is longer than one that is not known
            return False
        way = known.ways.get(place)
        now = plane.now()
        if way is None or way.door.router is not plane.router or way.door.expires_at <= now + plane.ahead:
            way = self._found(memo, known, match, place, now + plane.ahead)
        if way is None or way.door.destination.hold_s is not None or not self._may_come(way.door):
            return False
        connection = way.door.pool.take_fresh(now)
        if connection is None:
            return False
        self._known, self._way, self._match = known, way, match
        if way.last:
            client.takes_no_more()
        self.forget()
        self._head_only = False
        client.peer = known.peer
        self._connection = connection
        connection.user = self
        connection.transport.write(match[0] + way.rest + data[end:])
        if here < body:
            self._owed = True
            client.body_follows(body - here)
        return True

    def send_body(self, data: bytes) -> None:
        """The rest of a body, or a part of it."""
        if self._connection is not None:
            self._connection.transport.write(data)
        self._owed = not self._client.request_done

    def _may_come(self, door: Door) -> bool:
        """Whether the connection is their own whose login the door has, or becomes it."""
        client = self._client
        if door.user is not None and door.user != client.holder:
            try:
                self._plane.client_known(client, door.user)
            except Refusal:
                return False
        return True

    def _sent_like_the_last(self, data: bytes) -> bytes:
        """As what a request is sent on that differs from the last one in the value that differed then; or nothing."""
        like, line = self._like, self._line
        if not line or like is None or like.way is not self._way or len(data) > AGAIN_BYTES_MAX:
            return b""
        if not data.startswith(line):
            return b""
        rest = like.rest_as_before(data, len(line))
        return line + rest if rest else b""

    def offered(self, connection: UpstreamConnection) -> None:
        """See Waiter."""
        if not connection.reused:
            self._plane.paths.reached(self._way.door.destination)
        self._connection = connection
        connection.user = self
        connection.transport.write(self._sent)

    def unreached(self, error: OSError) -> None:
        """See Waiter."""
        self._strict().unreached(error)

    def _known_way(
        self, memo: Memo, data: bytes, match: re.Match[bytes], place: Hashable, now: float
    ) -> tuple[KnownHead | None, Way, bytes] | None:
        """What is known of a head, the way that it goes, and what follows its request line there; None if nothing is.

        A head that is only like another one is parsed when somebody asks for it: then the first of the three is None.
        """
        plane, direct, end = self._plane, self._client.direct, match.end()
        router, like = plane.router, self._like
        if like is not None and (
            like.place != place
            or like.way.door.router is not router
            or like.way.door.expires_at <= now
            or len(data) > AGAIN_BYTES_MAX
        ):
            like = None
        if like is not None and (rest := like.rest_as_before(data, end)):
            return None, like.way, rest
        # What is known is one whole head, so there is nothing more to look for in these bytes.
        known = memo.heads.young.get((direct.ip, data[end:]))
        if known is None:
            if like is not None and (rest := like.rest(data, end)):
                return None, like.way, rest
            known = memo.head(direct, data, end)
            if known is None:
                return None
        elif (way := known.ways.get(place)) and way.door.router is router and way.door.expires_at > now:
            return known, way, way.rest
        found = self._found(memo, known, match, place, now)
        if found is None:
            return None
        # Behind a proxy, a line may say who the client is: no head is like another.
        alike = len(data) <= AGAIN_BYTES_MAX and not plane.front.lists
        self._like = LikeHead(data, end, known, found, place) if alike else None
        return known, found, found.rest

    def _found(self, memo: Memo, known: KnownHead, match: re.Match[bytes], place: Hashable, now: float) -> Way | None:
        """The way of a known head that has not been asked for since routes changed; None where there is none."""
        front, direct = self._plane.front, self._client.direct
        try:
            known.peer = front.peer(direct, known.request(match[1], match[2])) if front.lists else direct
            return memo.way(known, place, self._plane.router, method=match[1], target=match[2], now=now)
        except Refusal:
            return None

    @property
    def request(self) -> RequestHead:
        """As the strict way has it."""
        known, match = self._known, self._match
        return parse_request(self._again) if known is None else known.request(match[1], match[2])

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
        plane, memo, connection = self._plane, self._plane.memo, self._connection
        if memo is None or plane.draining or connection is None or self._owed:
            self.hand_over().upstream_data(data)
            return
        known = self._answer
        if (
            known is None
            or len(data) != self._answer_bytes
            or not data.startswith(self._answer_start)
            or not data.endswith(self._answer_end)
        ):
            known = self._whole_answer(memo, data)
            if known is None:
                self.hand_over().upstream_data(data)
                return
        self._connection = None
        client, way = self._client, self._way
        client.exchange = None  # before the write, which may say that the client takes no more: it is answered
        if way.last or not known.whole:
            last, date = _CLOSE if way.last else b"", b"" if known.whole else plane.date
            client.transport.write(known.head + last + date + data[len(known.raw) - 2 :])
        elif known.same:
            client.transport.write(data)
        else:
            client.transport.write(known.whole + data[len(known.raw) :])
        plane.tally.statuses[known.status_class] += 1
        door = way.door
        if door.counted is not plane.counting:
            plane.count(door)
        now = plane.now()
        door.pool.give(connection, now)
        if way.last:
            client.response_done(keep=False)
        else:
            client.quick_done(now)

    def _whole_answer(self, memo: Memo, data: bytes) -> KnownAnswer | None:
        """What is known of an answer, if ``data`` is one and nothing else."""
        end = data.find(_END, 0, HEAD_BYTES_MAX) + 4
        if end == 3:
            return None
        head = data[:end]
        answers = memo.answers_to_head if self._head_only else memo.answers
        known = answers.young.get(head) or memo.answer(head, head_only=self._head_only)
        if known is None:
            return None
        again: KnownAnswer | None = known if end <= AGAIN_BYTES_MAX else None
        start, last = known.raw, b""
        if len(data) - end != known.body:
            if known.body != CHUNKED or not data.endswith(_LAST_CHUNK):
                return None
            if begins := _one_chunk(data, end):
                start, last = data[:begins], _LAST_CHUNK
            elif whole_chunked(data, end) == len(data) - end:
                again = None
            else:
                return None
        self._answer, self._answer_start, self._answer_end, self._answer_bytes = again, start, last, len(data)
        return known

    def upstream_lost(self, error: Exception | None) -> None:
        """See UpstreamUser."""
        self.hand_over().upstream_lost(error)

    def upstream_writable(self) -> None:
        """See UpstreamUser."""
        if self._owed:
            self.hand_over().upstream_writable()

    def hand_over(self) -> Exchange:
        """End the short way; the exchange that goes on with it."""
        connection, self._connection = self._connection, None
        self._owed = False
        if connection is None:
            self._way.door.pool.wait_no_more(self)
        exchange = self._strict()
        exchange.adopt(connection)
        return exchange

    def _strict(self) -> Exchange:
        plane, client = self._plane, self._client
        exchange = client.exchange = Exchange(plane, client, self.request, self._way.door.destination)
        plane.registry.add(exchange)
        if exchange.route is not None:
            plane.tally.active.add(exchange.route)
        return exchange

    def slow(self) -> None:
        """It takes its time: the strict way watches for how long. A dial is watched by itself."""
        if self._connection is not None:
            self.hand_over()

    def forget(self) -> None:
        """Keep nothing of the last request."""
        self._again = self._sent = self._line = b""
        self._answer_start = b""
        self._answer = self._like = None

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
        else:
            self._way.door.pool.wait_no_more(self)


def _one_chunk(data: bytes, end: int) -> int:
    """Where the content begins, if ``data``, which ends with the last chunk, has one more after its head; or 0."""
    line_end = data.find(b"\r\n", end)
    digits = data[end:line_end]
    if not _CHUNK_SIZE.fullmatch(digits):
        return 0
    left = len(data) - line_end - 2 - len(_LAST_CHUNK)
    return line_end + 2 if int(digits, 16) == left > 0 else 0
