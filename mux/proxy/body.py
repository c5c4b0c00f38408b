"""Where a body ends: readers that walk over its bytes and pass them on as they are.

Sans-I/O. Owns the three framings of RFC 9112 section 6 for both directions. Rules: nothing is decoded or re-framed;
nothing is passed on that has not been judged, so a chunk-size line or a trailer is held until it is whole.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from mux.proxy.grammar import TCHAR, parse_field
from mux.proxy.limits import CHUNK_DIGITS_MAX, CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX
from mux.proxy.refusal import Malformed

NO_BODY: Final = 0
"""A body length: there is none."""
CHUNKED: Final = -1
"""A body length: chunked. Any positive number is a Content-Length."""
UNTIL_CLOSE: Final = -2
"""A body length: the response ends with its connection."""

# Extensions in the narrowest reading of their grammar (RFC 9112 section 7.1.1): names, perhaps values, no white space.
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_EXTENSION = rb";[%b]+(?:=(?:[%b]+|%b))?" % (TCHAR, TCHAR, _QUOTED)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d})((?:%b)*)\r\n" % (CHUNK_DIGITS_MAX, _EXTENSION))
# Whole chunks of few bytes, without extensions: a writer without a buffer, or somebody who wants to keep the others
# waiting, sends ten thousands of them at a time, with as many zeros before a size as may be. Their sizes are a tree by
# digits, and no branch is tried twice, so a run costs what it is long.


def _small_chunks() -> re.Pattern[bytes]:
    def digit(value: int) -> bytes:
        text = b"%x" % value
        return text if value < 10 else b"[%b%b]" % (text, text.upper())

    def data(size: int) -> bytes:
        return b"\r\n.{%d}\r\n" % size

    sizes = [
        b"%b(?:%b|%b)" % (digit(high), data(high), b"|".join(digit(low) + data(high * 16 + low) for low in range(16)))
        for high in range(1, 16)
    ]
    return re.compile(b"(?:(?=[0-9A-Fa-f]{1,%d}+\r)0*+(?:%b))++" % (CHUNK_DIGITS_MAX, b"|".join(sizes)), re.DOTALL)


_SMALL_CHUNKS = _small_chunks()
_PLAIN_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d})\r\n" % CHUNK_DIGITS_MAX)
_TRAILER_LINE = re.compile(rb"[\t \x21-\x7e\x80-\xff]+\r\n")

WHOLE_ORIGIN = frozenset(
    b"alt-svc clear-site-data expect-ct nel public-key-pins report-to service-worker-allowed set-cookie2 set-login "
    b"strict-transport-security x-accel-expires x-accel-redirect x-lighttpd-send-file x-reproxy-url x-sendfile "
    b"x-sendfile2".split()
)
"""Fields that would speak for the whole origin, which workspaces share with the login page; and those by which an
upstream has a web server in front of the mux send another file, or keep an attendee's answer for others."""

# Fields that would change framing, routing, authentication or content handling when a recipient merges trailers into
# the head (RFC 9110 section 6.5.1).
_TRAILERS_REFUSED = WHOLE_ORIGIN | frozenset(
    b"authorization connection content-encoding content-length content-location content-range content-type cookie "
    b"expect forwarded host keep-alive location origin proxy-authorization proxy-connection set-cookie te trailer "
    b"transfer-encoding upgrade x-real-ip".split()
)
_TRAILER_PREFIXES_REFUSED = (b"x-forwarded-", b"x-mux-", b"sec-")


class BodyReader(Protocol):
    """Walks over one body."""

    done: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What of ``data`` (and of what was held) is passed on, and what comes after the body. Raises Malformed."""
        ...

    def eof(self) -> bool:
        """Whether the stream may end here."""
        ...

    @property
    def plain_left(self) -> int:
        """Bytes that are still to come and need no look at; 0 if that is not known."""
        ...

    def skip(self) -> None:
        """Those bytes have gone another way."""
        ...


def body_reader(length: int) -> BodyReader:
    """The reader for a body length as the heads' parsers give it."""
    if length == CHUNKED:
        return ChunkedBody()
    if length == UNTIL_CLOSE:
        return UntilCloseBody()
    return LengthBody(length)


class LengthBody:
    """A body of ``length`` bytes; none for 0."""

    __slots__ = ("_left", "done")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See BodyReader."""
        size = len(data)
        if size < self._left:
            self._left -= size
            return data, b""
        self.done = True
        if size == self._left:
            self._left = 0
            return data, b""
        left, self._left = self._left, 0
        return data[:left], data[left:]

    def eof(self) -> bool:
        """See BodyReader."""
        return self.done

    @property
    def plain_left(self) -> int:
        """See BodyReader."""
        return self._left

    def skip(self) -> None:
        """See BodyReader."""
        self._left = 0
        self.done = True


class UntilCloseBody:
    """A body that ends with its connection (RFC 9112 section 6.3, rule 8)."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See BodyReader."""
        return data, b""

    def eof(self) -> bool:
        """See BodyReader."""
        self.done = True
        return True

    plain_left = 0

    def skip(self) -> None:
        """See BodyReader."""


class ChunkedBody:
    """A chunked body: sizes are read, data is counted, trailers are judged (RFC 9112 section 7.1)."""

    __slots__ = ("_extension_bytes", "_held", "_in_data", "_in_trailers", "_left", "_trailer_bytes", "done")

    def __init__(self) -> None:
        self._held = b""
        self._left = 0  # of the chunk's data and the CRLF after it
        self._in_data = False
        self._in_trailers = False
        self._trailer_bytes = 0
        self._extension_bytes = 0
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See BodyReader."""
        if self._held:
            data = self._held + data
            self._held = b""
        position, size = 0, len(data)
        while position < size:
            step = self._walk_data(data, position) if self._in_data else self._walk_line(data, position)
            if step == 0:
                break
            position += step
            if self.done:
                return data[:position], data[position:]
        if position == size:
            return data, b""
        self._held = data[position:]
        return data[:position], b""

    def eof(self) -> bool:
        """See BodyReader."""
        return self.done

    plain_left = 0

    def skip(self) -> None:
        """See BodyReader."""

    def _walk_data(self, data: bytes, position: int) -> int:
        available = len(data) - position
        if self._left > 2:
            step = min(self._left - 2, available)
            self._left -= step
            return step
        end = data[position : position + 2]
        if end != b"\r\n"[: len(end)]:
            raise Malformed("chunk_end", "no CRLF after a chunk's data (RFC 9112 section 7.1)")
        if available < 2:
            return 0
        self._in_data = False
        return 2

    def _walk_line(self, data: bytes, position: int) -> int:
        bound = TRAILER_BYTES_MAX - self._trailer_bytes if self._in_trailers else CHUNK_LINE_BYTES_MAX
        end = data.find(b"\n", position, position + bound)
        if end < 0:
            if len(data) - position >= bound:
                if self._in_trailers:
                    raise Malformed("trailers_too_large", f"more than {TRAILER_BYTES_MAX} bytes of trailers", 431)
                raise Malformed("chunk_line_too_long", f"a chunk-size line of more than {CHUNK_LINE_BYTES_MAX} bytes")
            return 0
        line = data[position : end + 1]
        if self._in_trailers:
            self._trailer(line)
        elif whole := _whole_chunks(data, position):
            return whole
        else:
            self._size(line)
        return len(line)

    def _size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise Malformed("chunk_size", "a malformed chunk-size line (RFC 9112 section 7.1)")
        self._extension_bytes += len(match[2])
        if self._extension_bytes > CHUNK_EXTENSION_BYTES_MAX:
            raise Malformed("chunk_extensions", "too many chunk extensions (RFC 9112 section 7.1.1)")
        size = int(match[1], 16)
        if size:
            self._left = size + 2
            self._in_data = True
        else:
            self._in_trailers = True

    def _trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if line == b"\r\n":
            self.done = True
            return
        if not _TRAILER_LINE.fullmatch(line):
            raise Malformed("bad_trailer", "a malformed trailer field (RFC 9112 section 7.1.2)")
        key = parse_field(line[:-2]).key
        if key in _TRAILERS_REFUSED or key.startswith(_TRAILER_PREFIXES_REFUSED) or b"_" in key:
            raise Malformed("trailer_refused", "a trailer that may not be one (RFC 9110 section 6.5.1)")


def whole_chunked(data: bytes | bytearray, start: int = 0) -> int:
    """Bytes of the one chunked body that begins at ``start``, trailers included; 0 if it is not there whole."""
    walker = ChunkedBody()
    try:
        forward, _ = walker.feed(bytes(data[start:]))
    except Malformed:
        return 0
    return len(forward) if walker.done else 0


def _whole_chunks(data: bytes, start: int) -> int:
    """Bytes of the chunks from ``start`` on that have no extensions and are here whole; 0 for none."""
    position = start
    while True:
        if run := _SMALL_CHUNKS.match(data, position):
            position = run.end()
        line = _PLAIN_CHUNK_LINE.match(data, position)
        if line is None:
            break
        begin = line.end()
        end = begin + int(line[1], 16)
        if begin == end or data[end : end + 2] != b"\r\n":
            break
        position = end + 2
    return position - start
