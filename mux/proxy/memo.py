"""Heads that were read before, and what became of them.

Sans-I/O. Owns what is remembered of request heads (everything after the request line, byte for byte), of the ways that
requests took (doors), and of response heads. Rules: what is remembered is only ever what the strict way would do again,
and everything that is not plain is left to it; a door is used only while the router still opens it, so a revoked
session or a moved workspace is noticed with the next request; everything is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass

from mux.core.model import SessionHash
from mux.proxy.body import CHUNKED, NO_BODY
from mux.proxy.bounded import Bounded
from mux.proxy.limits import HEAD_BYTES_MAX, HEAD_FIELDS_MAX, MEMO_DOORS, MEMO_HEAD_BYTES_MAX, MEMO_HEADS, MEMO_WRITES
from mux.proxy.lines import (
    CODING,
    COOKIE,
    DATE,
    HOST,
    LAST,
    LENGTH,
    PLAIN,
    RequestLine,
    RequestLines,
    ResponseLines,
)
from mux.proxy.request import METHODS_SAFE, RequestHead
from mux.proxy.rewrite import CHUNKED_LINE, Peer, added_lines
from mux.proxy.routing import Destination, Router, check_origin
from mux.proxy.upstream import Pool, Pools

_NOBODY = Peer(b"", b"")
_END = b"\r\n\r\n"
_READS = frozenset((HOST, HOST + COOKIE, HOST + LAST, HOST + COOKIE + LAST))
"""What a head may have: one Host, and at most one of each of the others."""
_WRITES = frozenset(kinds + framing for kinds in _READS for framing in (0, LENGTH, CODING))
"""What the head of a request with a body may have: the same, and one line that frames it."""
_ENDS = {CHUNKED: CHUNKED_LINE + b"\r\n"}
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2345][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)")


class KnownHead:
    """A request head without its request line.

    Args:
        lines: of the head.
        host: value of Host, lower case.
        session: hash of the session token in it; empty for none.
        body: a body length, see ``mux.proxy.body``.
        last: whether the client wants no other answer on its connection.

    Its ``peer`` is who sent it, which a proxy in front may say in it.
    """

    __slots__ = ("body", "host", "last", "lines", "peer", "session", "ways")

    def __init__(self, lines: list[RequestLine], host: bytes, session: SessionHash, body: int, *, last: bool) -> None:
        self.lines = lines
        self.host = host
        self.session = session
        self.body = body
        self.last = last
        self.peer = _NOBODY
        self.ways: dict[Hashable, Way] = {}

    def request(self, method: bytes, target: bytes) -> RequestHead:
        """The head as the strict parser gives it."""
        options = frozenset(line.field.value.lower() for line in self.lines if line.field.key == b"connection")
        fields = [line.field for line in self.lines]
        return RequestHead(method, target, 1, fields, self.host, b"", self.body, options, not self.last, False)


class Door:
    """Where requests with one Host, session, peer and place go.

    Args:
        destination: as the router gave it.
        pool: connections to it.
        added: the last lines of a head that goes through, but for what frames it.
        router: by which it was last seen to be open.
    """

    __slots__ = ("added", "counted", "destination", "expires_at", "pool", "router", "user")

    def __init__(self, destination: Destination, pool: Pool, added: bytes, router: Router, expires_at: float) -> None:
        self.destination = destination
        self.user = destination.user
        self.pool = pool
        self.added = added
        self.router = router
        self.expires_at = expires_at
        self.counted: object = None

    def open(self, router: Router, now: float) -> bool:
        """Whether it still leads where the router would send. ``now`` in seconds since the epoch."""
        if self.router is not router:
            if self.pool.dropped or not router.still(self.destination):
                return False
            self.router, self.expires_at = router, router.until(self.destination)
        return self.expires_at > now


@dataclass(slots=True)  # not frozen: that would double the cost of making one
class Way:
    """A known head at a door.

    Args:
        door: that it goes through.
        rest: what follows the request line towards the upstream.
        last: see KnownHead.
    """

    door: Door
    rest: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A response head.

    Args:
        raw: as the workspace sent it.
        head: as the client gets it, but for the empty line.
        whole: the same with the empty line; empty if it lacks a Date, which is put between them.
        same: whether the client gets what the workspace sent.
        body: a body length, see ``mux.proxy.body``; never until close.
        status_class: first digit of the status.
    """

    raw: bytes
    head: bytes
    whole: bytes
    same: bool
    body: int
    status_class: int


class Memo:
    """What one process remembers.

    Args:
        session_cookie: name of the mux's cookie.
        pools: of the plane.
    """

    def __init__(self, session_cookie: bytes, pools: Pools) -> None:
        self.session_cookie = session_cookie
        self._pools = pools
        self._request_lines = RequestLines(session_cookie)
        self._response_lines = ResponseLines()
        self.heads: Bounded[tuple[bytes, bytes], KnownHead] = Bounded(MEMO_HEADS, MEMO_HEAD_BYTES_MAX)
        self.writes: Bounded[tuple[bytes, bytes], KnownHead] = Bounded(MEMO_WRITES, MEMO_HEAD_BYTES_MAX)
        self._doors: Bounded[tuple[bytes, SessionHash, bytes, Hashable], Door] = Bounded(MEMO_DOORS)
        self.answers: Bounded[bytes, KnownAnswer] = Bounded(MEMO_HEADS, MEMO_HEAD_BYTES_MAX)
        self.answers_to_head: Bounded[bytes, KnownAnswer] = Bounded(MEMO_HEADS, MEMO_HEAD_BYTES_MAX)

    # -- requests -------------------------------------------------------------------------------------------------

    def head(self, peer: Peer, data: bytes, start: int) -> KnownHead | None:
        """What is known of a head from ``peer``; None if only the strict parser may say.

        Args:
            peer: who the connection comes from.
            data: bytes of a client.
            start: where the request line ends in them.
        """
        end = data.find(_END, start)
        if end < 0 or end + 4 != len(data) or len(data) > HEAD_BYTES_MAX:
            return None
        rest = data[start:]
        key = (peer.ip, rest)
        return self.heads.get(key) or self.heads.keep(key, len(rest), self._read(rest, _READS))

    def write(self, peer: Peer, rest: bytes) -> KnownHead | None:
        """The same of the head of a request that may have a body.

        Kept apart: a head does not say its method, and what is known of a GET's is not what is to be known of a PUT's.

        Args:
            peer: who the connection comes from.
            rest: the head without its request line.
        """
        key = (peer.ip, rest)
        return self.writes.get(key) or self.writes.keep(key, len(rest), self._read(rest, _WRITES))

    def _read(self, rest: bytes, allowed: frozenset[int]) -> KnownHead | None:
        raw = rest[:-4].split(b"\r\n")
        if len(raw) > HEAD_FIELDS_MAX:
            return None
        young, read = self._request_lines.known.young.get, self._request_lines.read
        host, session, kinds, body, lines = b"", SessionHash(""), 0, NO_BODY, []
        for text in raw:
            line = young(text) or read(text)
            if line is None:
                return None
            lines.append(line)
            if kind := line.kind:
                kinds += kind
                if kind == HOST:
                    host = line.field.value.lower()
                elif kind == COOKIE:
                    session = line.session
                elif kind != LAST:
                    body = line.body
        return KnownHead(lines, host, session, body, last=bool(kinds & LAST)) if kinds in allowed else None

    def way(
        self,
        known: KnownHead,
        place: Hashable,
        router: Router,
        *,
        method: bytes,
        target: bytes,
        now: float,
    ) -> Way | None:
        """The way of a known head to a place, if it leads to a workspace. Raises Refusal.

        A door leads all requests of a login to a place, whatever their methods, so whether a write comes from another
        site is asked of each head.

        Args:
            known: the head, with its peer.
            place: what the router makes of the target's path.
            router: in force.
            method: of the request.
            target: of the request.
            now: seconds since the epoch.
        """
        peer = known.peer
        key = (peer.ip, known.session, known.host, place)
        door = self._doors.get(key)
        if door is None or not door.open(router, now):
            request = known.request(method, target)
            destination = router.route(request, now)
            if not destination.workspace:
                return None
            added = added_lines(request, destination, peer)
            pool = self._pools.of(destination.pool)
            door = Door(destination, pool, added, router, router.until(destination))
            self._doors.put(key, door)
        elif method not in METHODS_SAFE:
            check_origin(known.request(method, target), door.destination.site)
        private = door.destination.token is not None
        kept = b"".join([line.private for line in known.lines] if private else [line.public for line in known.lines])
        way = known.ways[place] = Way(door, kept + door.added + _ENDS.get(known.body, b"\r\n"), known.last)
        return way

    # -- responses ------------------------------------------------------------------------------------------------

    def answer(self, head: bytes, *, head_only: bool) -> KnownAnswer | None:
        """What is known of a workspace's response head; None if only the strict parser may say.

        Args:
            head: whole.
            head_only: whether it answers HEAD, and so has no body.
        """
        answers = self.answers_to_head if head_only else self.answers
        return answers.get(head) or answers.keep(head, len(head), self._read_answer(head, head_only=head_only))

    def _read_answer(self, head: bytes, *, head_only: bool) -> KnownAnswer | None:
        raw = head[:-4].split(b"\r\n")
        match = _STATUS_LINE.fullmatch(raw[0])
        if match is None or len(raw) > HEAD_FIELDS_MAX:
            return None
        status = int(match[1])
        if status == 205:
            return None
        parts = [b"HTTP/1.1 %b %b\r\n" % (match[1], match[2])]
        body, framings, chunked, dated = NO_BODY, 0, False, False
        read = self._response_lines.read
        for text in raw[1:]:
            line = read(text)
            if line is None:
                return None
            if line.kind == DATE:
                dated = True
            elif line.kind != PLAIN:
                framings += 1
                body = line.body
                chunked = line.kind == CODING
            parts.append(line.kept)
        bodiless = head_only or status in (204, 304)
        if framings > 1 or (not framings and not bodiless) or (framings and status == 204):
            return None
        if chunked and not bodiless:
            parts.append(CHUNKED_LINE)
        known = b"".join(parts)
        whole = known + b"\r\n" if dated else b""
        return KnownAnswer(head, known, whole, whole == head, NO_BODY if bodiless else body, status // 100)
