"""A head beside the last one of its connection: a browser's next head differs in a line or two.

Sans-I/O. Owns the comparison. Rules: both heads have the same names in the same order, and a line that differs is one
that passes as it is and says nothing of the message, the session or other fields, so the way is the same; whatever else
differs is left to `mux.proxy.memo`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from operator import ne

from mux.proxy.lines import PLAIN
from mux.proxy.memo import KnownHead, Way

_END = b"\r\n\r\n"
# What a strict parser takes as a value, without white space around it (RFC 9110 section 5.5).
_VALUE = re.compile(rb"[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")


class LikeHead:
    """The last head of one connection.

    Args:
        data: the whole request.
        start: where its request line ends.
        known: what is known of it.
        way: that it took.
        place: what the router made of its path.
    """

    __slots__ = ("_lines", "_names", "_parts", "place", "way")

    def __init__(self, data: bytes, start: int, known: KnownHead, way: Way, place: Hashable) -> None:
        self.way = way
        self.place = place
        self._lines = data[start:-4].split(b"\r\n")
        token = way.door.destination.token is not None
        self._parts = [line.private if token else line.public for line in known.lines]
        self._parts.append(way.door.added)
        self._names = [
            line.field.name + b": " if line.kind == PLAIN and line.private == line.public == text + b"\r\n" else b""
            for text, line in zip(self._lines, known.lines, strict=True)
        ]

    def rest(self, data: bytes, start: int) -> bytes | None:
        """What follows the request line towards the upstream; None if this head is another kind of head.

        Args:
            data: the next request, of the same place.
            start: where its request line ends.
        """
        if not data.endswith(_END):
            return None
        lines = data[start:-4].split(b"\r\n")
        if len(lines) != len(self._lines):
            return None
        differs = list(map(ne, lines, self._lines))
        parts, at = self._parts.copy(), -1
        for _ in range(differs.count(True)):
            at = differs.index(True, at + 1)
            line, name = lines[at], self._names[at]
            if not name or not line.startswith(name) or not _VALUE.fullmatch(line, len(name)):
                return None
            parts[at] = line + b"\r\n"
        self._lines, self._parts = lines, parts
        return b"".join(parts)
