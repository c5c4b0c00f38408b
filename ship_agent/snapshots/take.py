"""Taking a snapshot: an attendee's directory, hostile and in use, as a manifest and the chunks that it names.

Owns what is left out and what is remembered between two snapshots, so that only what changed is read. Knows nothing of
the mux. Rules: symlinks are read and never followed, special files passed over, one block of a file held at a time; a
file that changes while it is read is read again. Blocking.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ship_agent.files.base import FilesFailure
from ship_agent.files.mounts import upper_at
from ship_agent.files.place import Rooted, open_file, translated
from ship_agent.files.record import Record
from ship_agent.files.scan import DEBRIS
from ship_agent.files.trees import Entry, Meta, Tree, joined, parent_of
from ship_agent.protocol.snapshot import (
    CHUNK_BYTES,
    ENTRIES_MAX,
    FILE_BYTES_MAX,
    Manifest,
    SnapshotEntry,
    quoted,
)

RECORD = "files.json"
"""What is kept beside the directory: the content of the image that it was brought to."""
LEFT_OUT = frozenset({b".cache", b".local/share/jupyter/runtime"})
"""What programs make again by themselves. The second holds the keys of running kernels."""
WALKED_MAX = 200_000
"""Entries of one directory that are looked at; about a second of one core."""
READS_MAX = 3
"""A file that is written without pause is taken as it was the last time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry as a look at it tells: what differs between two looks was changed in between."""

    kind: Literal["dir", "file", "link"]
    meta: Meta
    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    target: bytes = b""


Look = dict[bytes, Seen]
"""A directory at one moment, without any file having been opened."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file's bytes: SHA-256 of the whole, and of each chunk."""

    content: str
    chunks: tuple[str, ...]


@dataclass(slots=True)
class Known:
    """What earlier snapshots of one directory have found out.

    Args:
        hashed: files by path, as they were when they were read.
        record: the image's content, as read from a file with that time and inode.
    """

    hashed: dict[bytes, tuple[Seen, Hashed]] = field(default_factory=dict)
    record: tuple[tuple[int, int], Record] | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot.

    Args:
        manifest: what it consists of.
        look: what the directory was; another look that equals it needs no other snapshot.
        sources: where each chunk was read: path, and number of the chunk in it.
    """

    manifest: Manifest
    look: Look = field(repr=False)
    sources: dict[str, tuple[bytes, int]] = field(repr=False)


def look(home: Path) -> Look:
    """See every entry of a directory. Raises FilesFailure."""
    with translated("the attendee's files"), Rooted(home) as root:
        return _walk(root)


def take(home: Path, known: Known, now: float) -> Taken:
    """Take a snapshot. Raises FilesFailure, also when the directory was exchanged meanwhile.

    Args:
        home: the attendee's directory.
        known: of this directory; brought up to date.
        now: seconds since the epoch.
    """
    with translated("the attendee's files"), Rooted(home) as root:
        record = _record(home.parent / RECORD, known)
        if record is not None and record.upper and upper_at(home) is None:
            raise FilesFailure("not_mounted", "the attendee's files are not mounted", retryable=True)
        content: Tree = record.tree if record else {}
        before = os.fstat(root.folder(b""))
        seen = _walk(root)
        known.hashed = {path: item for path, item in known.hashed.items() if path in seen}
        entries: list[SnapshotEntry] = []
        left_out: list[str] = []
        sources: dict[str, tuple[bytes, int]] = {}
        for path in sorted(seen):
            there = seen[path]
            if there.kind == "file" and there.size > FILE_BYTES_MAX:
                if not _is_images_large(root, path, seen, known, content.get(path)):
                    left_out.append(quoted(path))
                continue
            hashed = _hashed(root, path, seen, known, FILE_BYTES_MAX) if there.kind == "file" else None
            there = seen.get(path, there)
            if (there.kind == "file" and hashed is None) or _is_images(there, hashed, content.get(path)):
                continue
            size = known.hashed[path][0].size if hashed else 0
            entries.append(_entry(path, there, size, hashed, of_image=path in content))
            for number, chunk in enumerate(hashed.chunks if hashed else ()):
                sources.setdefault(chunk, (path, number))
        after = home.stat(follow_symlinks=False)
    if (after.st_ino, after.st_dev) != (before.st_ino, before.st_dev):
        raise FilesFailure("files_changed", "the directory was exchanged meanwhile; it is taken again", retryable=True)
    gone = [quoted(path) for path in sorted(content) if path not in seen and not _left_out(path)]
    if max(len(entries), len(gone), len(left_out)) > ENTRIES_MAX:
        raise FilesFailure("too_many_files", f"more than {ENTRIES_MAX} files were changed; they are not kept elsewhere")
    manifest = Manifest(
        digest=record.digest if record else "", taken_at=now, entries=entries, gone=gone, left_out=left_out
    )
    return Taken(manifest, seen, sources)


def read_chunk(home: Path, source: tuple[bytes, int], chunk: str) -> bytes | None:
    """A chunk's bytes, or None if the file is another one by now. Raises FilesFailure."""
    path, number = source
    with translated("the attendee's files"), Rooted(home) as root:
        try:
            folder, name = root.parent(path)
            opened = open_file(name, folder)
        except OSError:
            return None
        try:
            block = _pread(opened, CHUNK_BYTES, number * CHUNK_BYTES)
        finally:
            os.close(opened)
    return block if hashlib.sha256(block).hexdigest() == chunk else None


def _walk(root: Rooted) -> Look:
    found: Look = {}
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            opened = root.folder(folder)
            with os.scandir(opened) as items:
                names = [os.fsencode(item.name) for item in items]
        except OSError:
            if not folder:
                raise
            continue  # deleted or locked meanwhile
        for name in names:
            path = joined(folder, name)
            if name.startswith(DEBRIS) or path in LEFT_OUT:
                continue
            there = _see(name, opened)
            if there is not None:
                found[path] = there
                if there.kind == "dir":
                    pending.append(path)
        if len(found) > WALKED_MAX:
            raise FilesFailure(
                "too_many_files", f"more than {WALKED_MAX} files in one directory; they are not kept elsewhere"
            )
    return found


def _see(name: bytes, at: int) -> Seen | None:
    try:
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
        target = os.readlink(name, dir_fd=at) if stat.S_ISLNK(status.st_mode) else b""
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        # Not its times: they say what its entries say, too.
        return Seen("dir", _meta(status), 0, 0, 0, status.st_ino)
    if stat.S_ISLNK(status.st_mode):
        return Seen("link", _meta(status), status.st_mtime_ns, status.st_ctime_ns, 0, status.st_ino, target)
    return _seen_file(status) if stat.S_ISREG(status.st_mode) else None


def _seen_file(status: os.stat_result) -> Seen:
    return Seen("file", _meta(status), status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _meta(status: os.stat_result) -> Meta:
    return Meta(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _record(path: Path, known: Known) -> Record | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    mark = (status.st_mtime_ns, status.st_ino)
    if known.record is None or known.record[0] != mark:
        record = Record.load(path)
        if record is None:
            return None
        known.record = (mark, record)
    return known.record[1]


def _hashed(root: Rooted, path: bytes, seen: Look, known: Known, bytes_max: int) -> Hashed | None:
    """The hashes of a file; None if it cannot be read, or has more bytes. What is seen of it becomes what was read."""
    last = known.hashed.get(path)
    if last is not None and last[0] == seen[path]:
        return last[1]
    try:
        folder, name = root.parent(path)
        opened = open_file(name, folder)
    except OSError:
        return None
    try:
        for _ in range(READS_MAX):
            before = _seen_file(os.fstat(opened))
            if before.size > bytes_max:
                return None
            hashed = _read(opened, before.size)
            if hashed is not None and _seen_file(os.fstat(opened)) == before:
                break
    except OSError:
        return None
    finally:
        os.close(opened)
    if hashed is None:
        return None
    seen[path] = before
    known.hashed[path] = (before, hashed)
    return hashed


def _read(opened: int, size: int) -> Hashed | None:
    """The first ``size`` bytes; None if the file is shorter by now."""
    whole = hashlib.sha256()
    chunks = []
    for at in range(0, size, CHUNK_BYTES):
        block = _pread(opened, min(CHUNK_BYTES, size - at), at)
        if len(block) < min(CHUNK_BYTES, size - at):
            return None
        chunks.append(hashlib.sha256(block).hexdigest())
        whole.update(block)
    return Hashed(whole.hexdigest(), tuple(chunks))


def _pread(opened: int, size: int, at: int) -> bytes:
    parts = []
    while size > 0 and (block := os.pread(opened, size, at)):
        parts.append(block)
        size -= len(block)
        at += len(block)
    return b"".join(parts)


def _is_images_large(root: Rooted, path: bytes, seen: Look, known: Known, image: Entry | None) -> bool:
    """Whether a file that is too large is as the image has it; it is read, once, only if it has the image's size."""
    if image is None or image.kind != "file" or image.size != seen[path].size:
        return False
    hashed = _hashed(root, path, seen, known, image.size)
    return _is_images(seen[path], hashed, image)


def _is_images(there: Seen, hashed: Hashed | None, image: Entry | None) -> bool:
    """Whether an entry is as the image has it."""
    if image is None or image.kind != there.kind:
        return False
    if there.kind == "link":
        return image.target == there.target
    return image.meta.mode == there.meta.mode and (hashed is None or image.content == hashed.content)


def _entry(path: bytes, there: Seen, size: int, hashed: Hashed | None, *, of_image: bool) -> SnapshotEntry:
    return SnapshotEntry(
        path=quoted(path),
        kind=there.kind,
        mode=there.meta.mode,
        uid=there.meta.uid,
        gid=there.meta.gid,
        mtime_ns=there.mtime_ns,
        size=size,
        chunks=list(hashed.chunks) if hashed else [],
        target=quoted(there.target) if there.kind == "link" else "",
        of_image=of_image,
    )


def _left_out(path: bytes) -> bool:
    while path:
        if path in LEFT_OUT:
            return True
        path = parent_of(path)
    return False
