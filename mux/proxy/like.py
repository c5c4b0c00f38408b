"""A head beside an earlier one of its connection: a browser's next head differs in a line or two, often the same one.

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
    """An earlier head of one connection.

    Args:
        data: the whole request.
        start: where its request line ends.
        known: what is known of it.
        way: that it took.
        place: what the router made of its path.
    """

    __slots__ = (
        "_after",
        "_before",
        "_differed",
        "_lines",
        "_names",
        "_parts",
        "_same",
        "_sent_after",
        "_sent_before",
        "place",
        "way",
    )

    def __init__(self, data: bytes, start: int, known: KnownHead, way: Way, place: Hashable) -> None:
        self.way = way
        self.place = place
        self._same = data[start:]
        self._lines = data[start:-4].split(b"\r\n")
        token = way.door.destination.token is not None
        self._parts = [line.private if token else line.public for line in known.lines]
        self._parts.append(way.door.added + b"\r\n")
        self._names = [
            line.field.name + b": " if line.kind == PLAIN and line.private == line.public == text + b"\r\n" else b""
            for text, line in zip(self._lines, known.lines, strict=True)
        ]
        self._differed = -1
        self._before = self._after = self._sent_before = self._sent_after = b""

    def rest_as_before(self, data: bytes, start: int) -> bytes | None:
        """As ``rest``, if nothing differs, or nothing but the value that differed the last time."""
        if len(data) - start == len(self._same) and data.endswith(self._same):
            return self.way.rest
        before, after = self._before, self._after
        if not before or not data.startswith(before, start) or not data.endswith(after):
            return None
        value = data[start + len(before) : len(data) - len(after)]
        return self._sent_before + value + self._sent_after if _VALUE.fullmatch(value) else None

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
        count, at = differs.count(True), -1
        parts = self._parts.copy()
        for _ in range(count):
            at = differs.index(True, at + 1)
            line, name = lines[at], self._names[at]
            if not name or not line.startswith(name) or not _VALUE.fullmatch(line, len(name)):
                return None
            parts[at] = line + b"\r\n"
        if count == 1 and at != self._differed:
            self._expect(at)
        return b"".join(parts)

    def _expect(self, at: int) -> None:
        """The next head will differ in that line, too."""
        lines, parts, name = self._lines, self._parts, self._names[at]
        self._differed = at
        self._before = b"".join(line + b"\r\n" for line in lines[:at]) + name
        self._after = b"\r\n" + b"".join(line + b"\r\n" for line in lines[at + 1 :]) + b"\r\n"
        self._sent_before = b"".join(parts[:at]) + name
        self._sent_after = b"\r\n" + b"".join(parts[at + 1 :])
