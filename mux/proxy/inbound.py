"""Requests out of a client's bytes, one after the other, whatever way they are split.

Sans-I/O. Owns the buffer of a client connection: a head that is not whole yet, and what arrives before its turn. The
body of the current request is passed through without being kept.
"""

from __future__ import annotations

from mux.proxy.body import BodyReader, LengthBody, body_reader, whole_chunked
from mux.proxy.limits import HEAD_BYTES_MAX
from mux.proxy.request import RequestHead, find_request, parse_request


class RequestReader:
    """Reads requests. ``buffered`` is bounded by whoever stops feeding it."""

    __slots__ = ("_body", "_scanned", "_skipped", "kept")

    def __init__(self) -> None:
        self.kept = bytearray()
        """Those bytes: whether there are any is asked for each request."""
        self._scanned = 0
        self._skipped = False
        self._body: BodyReader = LengthBody(0)

    @property
    def buffered(self) -> int:
        """Bytes that wait for their turn."""
        return len(self.kept)

    @property
    def body_done(self) -> bool:
        """Whether the current request is complete."""
        return self._body.done

    def receive(self, data: bytes) -> None:
        """Keep bytes that are not of the current body."""
        self.kept += data

    def next_head(self) -> RequestHead | None:
        """The next request's head, or None if it is not whole yet. Raises Malformed, then the reader is used up.

        One empty line before a request is skipped (RFC 9112 section 2.2).
        """
        if not self._skipped and self.kept[:1] == b"\r":
            if len(self.kept) < 2:
                return None
            if self.kept[:2] == b"\r\n":
                del self.kept[:2]
                self._skipped = True
        size = find_request(self.kept, self._scanned)
        if not size:
            self._scanned = len(self.kept)
            return None
        request = parse_request(bytes(self.kept[:size]))
        del self.kept[:size]
        self._scanned = 0
        self._skipped = False
        self._body = body_reader(request.body)
        return request

    def follows(self, left: int) -> None:
        """So many bytes of a request whose head was read elsewhere are still to come."""
        self._body = LengthBody(left)

    def body_here(self, bound: int) -> int:
        """Bytes of the current chunked body if it is here whole, and has no more than ``bound``; else 0."""
        size = whole_chunked(self.kept[: bound + 1])
        return size if size <= bound else 0

    def body(self, data: bytes) -> bytes:
        """What of ``data`` is the current request's and may pass; later bytes are kept. Raises Malformed."""
        forward, rest = self._body.feed(data)
        self.kept += rest
        return forward

    @property
    def plain_left(self) -> int:
        """Bytes of the current body that are still to come and need no look at; 0 if that is not known."""
        return self._body.plain_left

    def skip(self) -> None:
        """Those bytes have gone another way: the request is whole."""
        self._body.skip()

    @property
    def start(self) -> bytes:
        """The beginning of the next request, if it could not be read."""
        return bytes(self.kept[:HEAD_BYTES_MAX])

    def take(self) -> bytes:
        """What is kept, and keep it no longer."""
        data = bytes(self.kept)
        self.kept.clear()
        self._scanned = 0
        return data
