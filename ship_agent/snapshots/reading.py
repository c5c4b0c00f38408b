"""Reading an attendee's files for a snapshot: the names of their chunks, and then the chunks.

Owns what is remembered of files between two snapshots, so that only what changed is read, and how much is read in one
turn. Rules: one block of a file is held at a time, but for files that are written too often to be read twice; a file
that changes while it is read is read again. Blocking.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from ship_agent.files.attrs import attrs_of
from ship_agent.files.place import Rooted, open_file, translated
from ship_agent.files.record import Record
from ship_agent.files.trees import Attrs
from ship_agent.protocol.snapshot import CHUNK_BYTES
from ship_agent.snapshots.look import GONE, Look, Seen, seen_file

READS_MAX = 3
"""A file that is written without pause is taken as it was the last time."""
TURN_BYTES = 512 << 20
"""After so much has been read it is another attendee's turn: about a second of one core. A file is read whole."""
HELD_BYTES_MAX = 8 << 20
"""Of files whose chunks are held in memory until they are sent."""


class Source(NamedTuple):
    """Where a chunk was read.

    Args:
        path: of the file.
        at: its first byte there.
        size: its bytes: of a file that grows there may be more by now.
    """

    path: bytes
    at: int
    size: int


class TurnOverError(Exception):
    """Enough was read for one turn. What was read is remembered: with the next turn it goes on."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file's bytes: SHA-256 of the whole, and of each chunk; and the attributes that it had then."""

    content: str
    chunks: tuple[str, ...]
    attrs: Attrs


@dataclass(slots=True)
class Known:
    """What earlier snapshots of one directory have found out.

    Args:
        hashed: files by path, as they were when they were read.
        record: the image's content, as read from a file with that time and inode.
    """

    hashed: dict[bytes, tuple[Seen, Hashed]] = field(default_factory=dict)
    record: tuple[tuple[int, int], Record] | None = None


@dataclass(slots=True)
class Reading:
    """One turn at one directory.

    Args:
        root: the directory.
        seen: of it; a file becomes what was read of it.
        known: brought up to date.
        unsteady: files whose chunks are held, as far as there is room.
        held: those chunks.
        locked: files whose modes forbid to read them.
    """

    root: Rooted
    seen: Look
    known: Known
    unsteady: frozenset[bytes]
    held: dict[str, bytes] = field(default_factory=dict)
    locked: set[bytes] = field(default_factory=set)
    held_bytes: int = 0
    read_bytes: int = 0

    def hashed(self, path: bytes, bytes_max: int) -> Hashed | None:
        """The hashes of a file; None if it cannot be read, or has more bytes. Raises OSError and TurnOverError."""
        size = self.seen[path].size
        hold = path in self.unsteady and self.held_bytes + size <= HELD_BYTES_MAX
        last = self.known.hashed.get(path)
        if last is not None and last[0] == self.seen[path] and not hold:
            return last[1]
        if hold:
            self.held_bytes += size  # and no part of the turn: it is read in each
        elif self.read_bytes >= TURN_BYTES:
            raise TurnOverError
        else:
            self.read_bytes += size
        try:
            opened = _opened(self.root, path)
        except PermissionError:
            self.locked.add(path)
            return None
        if opened is None:
            return None
        try:
            for _ in range(READS_MAX):
                before = seen_file(os.fstat(opened))
                if before.size > bytes_max:
                    return None
                hashed, size = self._read(opened, before.size, hold=hold)
                if size == before.size and seen_file(os.fstat(opened)) == before:
                    break
        finally:
            os.close(opened)
        # Shorter by now than it was seen to be: then that is what there is.
        self.seen[path] = replace(before, size=size)
        self.known.hashed[path] = (self.seen[path], hashed)
        return hashed

    def _read(self, opened: int, size: int, *, hold: bool) -> tuple[Hashed, int]:
        """The first ``size`` bytes, or as many as there are."""
        whole = hashlib.sha256()
        chunks = []
        at = 0
        while at < size and (block := _pread(opened, min(CHUNK_BYTES, size - at), at)):
            chunks.append(hashlib.sha256(block).hexdigest())
            whole.update(block)
            if hold:
                self.held[chunks[-1]] = block
            at += len(block)
            if len(block) < CHUNK_BYTES:
                break
        return Hashed(whole.hexdigest(), tuple(chunks), attrs_of(opened)), at


def read_chunk(home: Path, source: Source, chunk: str) -> bytes | None:
    """A chunk's bytes, or None if the file is another one by now. Raises FilesFailure.

    Args:
        home: the attendee's directory.
        source: where it was read.
        chunk: its SHA-256.
    """
    with translated("the attendee's files"), Rooted(home) as root:
        try:
            opened = _opened(root, source.path)
        except PermissionError:
            return None
        if opened is None:
            return None
        try:
            block = _pread(opened, source.size, source.at)
        finally:
            os.close(opened)
    return block if hashlib.sha256(block).hexdigest() == chunk else None


def _opened(root: Rooted, path: bytes) -> int | None:
    """A file's descriptor, or None if there is none of that name by now. Raises OSError of the ship's own troubles."""
    try:
        folder, name = root.parent(path)
        return open_file(name, folder)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return None


def _pread(opened: int, size: int, at: int) -> bytes:
    parts = []
    while size > 0 and (block := os.pread(opened, size, at)):
        parts.append(block)
        size -= len(block)
        at += len(block)
    return b"".join(parts)
