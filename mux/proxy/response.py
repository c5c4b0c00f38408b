"""Responses of upstreams: strictly read, event by event.

Sans-I/O. Owns the reading of status lines and response framing (RFC 9112 sections 4 and 6.3). Rules: as narrow as for
requests, for what a workspace sends is hostile; a fault is the upstream's (502) and ends both connections.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import Enum

from mux.proxy.body import CHUNKED, NO_BODY, UNTIL_CLOSE, BodyReader, body_reader
from mux.proxy.grammar import (
    Field,
    content_length,
    find_head,
    list_items,
    parse_fields,
    split_head,
    transfer_coding,
    values_of,
)
from mux.proxy.limits import INTERIM_RESPONSES_MAX
from mux.proxy.refusal import Malformed

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t \x21-\x7e\x80-\xff]*))?")
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Mark(Enum):
    """Events without content."""

    END = "end"


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response head that was accepted.

    Args:
        status: 100 to 599; below 200 and not 101 more heads follow.
        reason: as sent.
        minor: 0 for HTTP/1.0, 1 for HTTP/1.1.
        fields: every field as sent.
        body: a body length, see ``mux.proxy.body``.
        keep_alive: whether the upstream means to answer another request.
    """

    status: int
    reason: bytes
    minor: int
    fields: list[Field]
    body: int
    keep_alive: bool

    @property
    def interim(self) -> bool:
        """Whether the final head is still to come."""
        return self.status < 200 and self.status != 101


ResponseEvent = ResponseHead | bytes | Mark


def websocket_accept(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _WEBSOCKET_GUID, usedforsecurity=False).digest())


class ResponseReader:
    """Reads the response to one request, whatever way its bytes are split.

    Args:
        method: of the request: a response to HEAD has no body.
        websocket_key: of the request if it is a WebSocket handshake: only then, and only with the right answer to it,
            101 is accepted.
        minor: of the request's version: an upstream that was asked in HTTP/1.0 keeps a connection only if it says so.
    """

    __slots__ = ("_body", "_buffer", "_interims", "_method", "_minor", "_scanned", "_websocket_key", "done", "head")

    def __init__(self, method: bytes, websocket_key: bytes | None, minor: int = 1) -> None:
        self._method = method
        self._minor = minor
        self._websocket_key = websocket_key
        self._buffer = bytearray()
        self._scanned = 0
        self._interims = 0
        self._body: BodyReader | None = None
        self.head: ResponseHead | None = None
        self.done = False

    @property
    def leftover(self) -> bytes:
        """What came after the end: first bytes of a tunnel, or a fault of the upstream."""
        return bytes(self._buffer)

    @property
    def started(self) -> bool:
        """Whether a byte has come."""
        return bool(self._buffer) or self._interims > 0 or self.head is not None

    def receive(self, data: bytes) -> list[ResponseEvent]:
        """The events that ``data`` completes. Raises Malformed."""
        if self.done:
            self._buffer += data
            return []
        if self._body is not None:
            return self._walk(self._body, data)
        self._buffer += data
        events: list[ResponseEvent] = []
        while not self.done and self._body is None:
            head = self._next_head()
            if head is None:
                return events
            events.append(head)
            if head.status == 101:
                self.done = True
            elif not head.interim:
                self.head = head
                self._body = body_reader(head.body)
                rest = bytes(self._buffer)
                self._buffer.clear()
                events += self._walk(self._body, rest)
        return events

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request: the response ended in order, and nothing came after it."""
        return self.done and self.head is not None and self.head.keep_alive and not self._buffer

    def eof(self) -> bool:
        """The upstream's stream ended: whether this completes the response."""
        if self._body is None or self.done:
            return self.done
        self.done = self._body.eof()
        return self.done

    @property
    def plain_left(self) -> int:
        """Bytes of the body that are still to come and need no look at; 0 if that is not known."""
        return 0 if self._body is None or self.done else self._body.plain_left

    def skip(self) -> None:
        """Those bytes have gone another way: the response is whole."""
        if self._body is not None:
            self._body.skip()
            self.done = True

    def _walk(self, body: BodyReader, data: bytes) -> list[ResponseEvent]:
        events: list[ResponseEvent] = []
        if data and not body.done:
            forward, rest = body.feed(data)
            if forward:
                events.append(forward)
            self._buffer += rest
        else:
            self._buffer += data
        if body.done:
            self.done = True
            events.append(Mark.END)
        return events

    def _next_head(self) -> ResponseHead | None:
        size = find_head(self._buffer, self._scanned)
        if not size:
            self._scanned = len(self._buffer)
            return None
        raw = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._scanned = 0
        head = parse_response(raw, self._method, self._minor)
        if head.interim:
            self._interims += 1
            if self._interims > INTERIM_RESPONSES_MAX:
                raise Malformed("too_many_interims", f"more than {INTERIM_RESPONSES_MAX} interim responses")
        elif head.status == 101:
            self._check_switch(head)
        return head

    def _check_switch(self, head: ResponseHead) -> None:
        if self._websocket_key is None:
            raise Malformed("switch_unasked", "101 without a handshake (RFC 9110 section 15.2.2)")
        if (
            list_items(values_of(head.fields, b"upgrade")) != [b"websocket"]
            or b"upgrade" not in list_items(values_of(head.fields, b"connection"))
            or values_of(head.fields, b"sec-websocket-accept") != [websocket_accept(self._websocket_key)]
        ):
            raise Malformed("switch_malformed", "101 that does not answer the handshake (RFC 6455 section 4.2.2)")


def parse_response(raw: bytes, method: bytes, asked: int = 1) -> ResponseHead:
    """Parse a complete response head to a request with ``method`` of HTTP/1.``asked``. Raises Malformed."""
    lines = split_head(raw)
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise Malformed("bad_status_line", "a malformed status line (RFC 9112 section 4)")
    minor, status = int(match[1]), int(match[2])
    fields = parse_fields(lines[1:])
    body = _body(status, method, minor, fields)
    options = list_items(values_of(fields, b"connection"))
    persists = minor == asked == 1 or b"keep-alive" in options  # RFC 9112 section 9.3
    keep_alive = body != UNTIL_CLOSE and b"close" not in options and persists
    return ResponseHead(status, match[3] or b"", minor, fields, body, keep_alive)


def _body(status: int, method: bytes, minor: int, fields: list[Field]) -> int:
    lengths = values_of(fields, b"content-length")
    codings = values_of(fields, b"transfer-encoding")
    if codings:
        transfer_coding(codings, minor, length=bool(lengths))
    length = content_length(lengths) if lengths else UNTIL_CLOSE
    if status < 200 or status in (204, 304) or method == b"HEAD":
        return NO_BODY
    return CHUNKED if codings else length
