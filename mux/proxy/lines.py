"""Field lines that were judged before: most of a head that was never seen is made of lines that were.

Sans-I/O. Owns what is remembered of one line, for requests and for responses. Rules: a line is remembered only if its
meaning does not depend on other lines, so what upgrades a message or names other fields is left to the strict parsers
(a plain ``Connection: keep-alive`` or ``close`` excepted), and of what frames it a head may have one line; a line that
this module takes is one that the strict parsers take, llhttp among them.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from mux.core.model import SessionHash
from mux.proxy.body import CHUNKED, WHOLE_ORIGIN
from mux.proxy.bounded import Bounded
from mux.proxy.cookies import cookie_values
from mux.proxy.grammar import TCHAR, Field, content_length
from mux.proxy.limits import COOKIES_MAX, MEMO_LINE_BYTES_MAX, MEMO_LINES
from mux.proxy.refusal import Malformed
from mux.proxy.request import is_host
from mux.proxy.rewrite import HOP_BY_HOP, private_line, public_line

_LINE = re.compile(rb"([" + TCHAR + rb"]+):([\t \x21-\x7e\x80-\xff]*)")


PLAIN: Final = 0
"""A kind of line: it says nothing but itself. Kinds add up to what a head has of each."""
HOST: Final = 1
"""A kind of line: Host."""
COOKIE: Final = 1 << 10
"""A kind of line: Cookie."""
LAST: Final = 1 << 20
"""A kind of line: a request's ``Connection: close``."""
LENGTH: Final = 1 << 30
"""A kind of line: Content-Length."""
CODING: Final = 1 << 40
"""A kind of line: Transfer-Encoding, chunked."""
DATE: Final = 4
"""A kind of line: a response's Date."""

_NONE = SessionHash("")

# Every browser sends the one, which asks for what HTTP/1.1 does anyway; scripts send the other.
_CONNECTION = {b"keep-alive": PLAIN, b"close": LAST}

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))

# Each of these says something about the message as a whole, or about other fields.
# For llhttp too: all other lines it reads octet by octet, each on its own (a test tries every octet).
_REQUEST_STRICT = frozenset(b"connection expect proxy-connection upgrade".split())
_RESPONSE_STRICT = frozenset(b"connection content-location location set-cookie upgrade".split())


@dataclass(slots=True, eq=False)  # not frozen: that would double the cost of making one
class RequestLine:
    """A line of a request.

    Args:
        field: as the strict parser reads it.
        kind: PLAIN, HOST, COOKIE, LAST, LENGTH or CODING.
        public: as an upstream gets it that is no workspace with a token; empty if it is dropped.
        private: as a workspace with a token gets it.
        session: of a Cookie line: the hash of the one session token in it; empty if there is none, or more than one.
        body: of a LENGTH or CODING line: the body length that it announces.
    """

    field: Field
    kind: int
    public: bytes
    private: bytes
    session: SessionHash = _NONE
    body: int = 0


@dataclass(slots=True, eq=False)
class ResponseLine:
    """A line of a workspace's response.

    Args:
        kind: PLAIN, LENGTH, CODING or DATE.
        kept: as the client gets it; empty if it is dropped.
        body: of a LENGTH or CODING line: the body length that it announces.
    """

    kind: int
    kept: bytes
    body: int = 0


class RequestLines:
    """Lines of requests.

    Args:
        session_cookie: name of the mux's cookie.
    """

    def __init__(self, session_cookie: bytes) -> None:
        self._cookie = session_cookie
        self.known: Bounded[bytes, RequestLine] = Bounded(MEMO_LINES, MEMO_LINE_BYTES_MAX)

    def read(self, line: bytes) -> RequestLine | None:
        """What a line means; None if only the strict parser may say. ``line`` without its end."""
        return self.known.get(line) or self.known.keep(line, len(line), self._judge(line))

    def _judge(self, line: bytes) -> RequestLine | None:
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        name, value = match[1], match[2].strip(b" \t")
        key = name.lower()
        field = Field(name, key, value)
        if key in _REQUEST_STRICT:
            kind = _CONNECTION.get(value.lower()) if key == b"connection" else None
            return None if kind is None else RequestLine(field, kind, b"", b"")
        kept = public_line(field)
        if key in _FRAMING:
            framing = _framing(key, value)
            return framing and RequestLine(field, framing[0], kept, kept, body=framing[1])
        if key == b"host":
            return RequestLine(field, HOST, kept, kept) if is_host(value) else None
        if key == b"cookie":
            if value.count(b";") >= COOKIES_MAX:
                return None
            tokens = cookie_values([value], self._cookie)
            session = hashlib.sha256(tokens.pop()).hexdigest() if len(tokens) == 1 else ""
            return RequestLine(field, COOKIE, kept, private_line(field, self._cookie), SessionHash(session))
        return RequestLine(field, PLAIN, kept, b"" if key == b"authorization" else kept)


class ResponseLines:
    """Lines of workspaces' responses."""

    def __init__(self) -> None:
        self.known: Bounded[bytes, ResponseLine] = Bounded(MEMO_LINES, MEMO_LINE_BYTES_MAX)

    def read(self, line: bytes) -> ResponseLine | None:
        """As ``RequestLines.read``."""
        return self.known.get(line) or self.known.keep(line, len(line), _judge_response(line))


def _judge_response(line: bytes) -> ResponseLine | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    name, value = match[1], match[2].strip(b" \t")
    key, kept = name.lower(), b"%b: %b\r\n" % (name, value)
    if key in _FRAMING:
        framing = _framing(key, value)
        return framing and ResponseLine(framing[0], b"" if key in HOP_BY_HOP else kept, framing[1])
    if key == b"connection" and value.lower() == b"keep-alive":
        return ResponseLine(PLAIN, b"")
    if key in _RESPONSE_STRICT or (key == b"content-type" and value.lower().startswith(b"text/event-stream")):
        return None
    if key in HOP_BY_HOP or key in WHOLE_ORIGIN:
        return ResponseLine(PLAIN, b"")
    return ResponseLine(DATE if key == b"date" else PLAIN, kept)


def _framing(key: bytes, value: bytes) -> tuple[int, int] | None:
    """The kind of a line that frames a message, and the body length that it announces; None if it is not plain."""
    if key == b"transfer-encoding":
        return (CODING, CHUNKED) if value.lower() == b"chunked" else None
    try:
        return LENGTH, content_length([value])
    except Malformed:
        return None
