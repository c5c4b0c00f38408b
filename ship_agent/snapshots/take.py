"""Taking a snapshot: an attendee's directory, hostile and in use, as a manifest and the chunks that it names.

Owns what goes into a manifest, and what is left out of one that would be too large. Knows nothing of the mux. Blocking.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from urllib.parse import unquote_to_bytes

from ship_agent.files.attrs import attrs_at
from ship_agent.files.base import FilesFailure
from ship_agent.files.place import Rooted, translated
from ship_agent.files.record import RECORD, Record
from ship_agent.files.trees import Attrs, Entry, Tree, mark_of, parent_of
from ship_agent.files.upper import hidden_in
from ship_agent.files.ways import unmounted
from ship_agent.protocol.snapshot import (
    CHUNK_BYTES,
    ENTRIES_MAX,
    FILE_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    SNAPSHOT_BYTES_MAX,
    Manifest,
    SnapshotEntry,
    is_attr,
    quoted,
)
from ship_agent.snapshots.look import GONE, Look, Seen, is_left_out, is_locked, walk
from ship_agent.snapshots.reading import Hashed, Known, Reading, Source

FRAME_BYTES = 4096
"""Of a manifest: what is around its lists, and the names of directories that are left out for its size."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot.

    Args:
        manifest: what it consists of.
        look: what the directory was; another look that equals it needs no other snapshot.
        sources: where each chunk was read.
        held: chunks that would be others if they were read again.
        directory: where.
    """

    manifest: Manifest
    look: Look = field(repr=False)
    sources: dict[str, Source] = field(repr=False)
    held: Mapping[str, bytes] = field(repr=False)
    directory: Path


def source_of(home: Path, known: Known) -> Path:
    """The directory that holds what an attendee changed: theirs, or what lies over the image's content where that is
    not mounted, as after a boot. Raises FilesFailure.

    Args:
        home: the attendee's directory.
        known: of this directory.
    """
    with translated("the attendee's files"):
        return unmounted(home, _record(home.parent / RECORD, known)) or home


def take(
    home: Path, known: Known, now: float, unsteady: frozenset[bytes] = frozenset(), earlier: Manifest | None = None
) -> Taken:
    """Take a snapshot. Raises FilesFailure, also when the directory was exchanged meanwhile, and TurnOverError.

    Args:
        home: the attendee's directory.
        known: of this directory; brought up to date.
        now: seconds since the epoch.
        unsteady: paths of files that are written too often to be read again when their chunks are sent.
        earlier: the snapshot before, from which that is taken which its owner has locked since.
    """
    source = source_of(home, known)
    with translated("the attendee's files"), Rooted(source) as root:
        record = _record(home.parent / RECORD, known)
        content: Tree = record.tree if record else {}
        before = os.fstat(root.folder(b""))
        locked: set[bytes] = set()
        seen = walk(root, locked)
        hidden = content.keys() - seen.keys() if source == home else hidden_in(root, content)
        known.hashed = {path: item for path, item in known.hashed.items() if path in seen}
        taking = _Taking(content, seen, Reading(root, seen, known, unsteady), locked, SNAPSHOT_BYTES_MAX)
        taking.gone = {path for path in hidden if not is_left_out(path) and not is_locked(path, locked)}
        for path in sorted(seen):
            taking.add(path)
        after = source.stat(follow_symlinks=False)
    if (after.st_ino, after.st_dev) != (before.st_ino, before.st_dev) or source_of(home, known) != source:
        raise FilesFailure("files_changed", "the directory was exchanged meanwhile; it is taken again", retryable=True)
    taking.locked |= taking.reading.locked
    if earlier is not None and taking.locked:
        taking.carry_over(earlier)
    manifest = taking.manifest(record.digest if record else "", now)
    return Taken(manifest, seen, taking.sources, taking.reading.held, source)


@dataclass
class _Taking:
    """What of a directory goes into its snapshot. ``locked``: what cannot be read; ``room``: bytes that files may still
    have.
    """

    content: Tree
    seen: Look
    reading: Reading
    locked: set[bytes]
    room: int
    gone: set[bytes] = field(default_factory=set)
    entries: list[SnapshotEntry] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)

    def add(self, path: bytes) -> None:
        """One entry, if it is not as the image has it."""
        there, image = self.seen[path], self.content.get(path)
        if there.kind == "file" and there.size > min(FILE_BYTES_MAX, self.room):
            if not self._is_images_large(path, image):
                self.left_out.append(quoted(path))
            return
        hashed = self.reading.hashed(path, FILE_BYTES_MAX) if there.kind == "file" else None
        there = self.seen[path]
        attrs = _portable(hashed.attrs if hashed else self._attrs(path))
        if (there.kind == "file" and hashed is None) or _is_images(there, hashed, attrs, image):
            return
        self.entries.append(_entry(path, there, hashed, attrs, image))
        self.room -= there.size
        for number, chunk in enumerate(hashed.chunks if hashed else ()):
            at = number * CHUNK_BYTES
            self.sources.setdefault(chunk, Source(path, at, min(CHUNK_BYTES, there.size - at)))

    def _attrs(self, path: bytes) -> Attrs:
        if self.seen[path].kind != "dir":
            return ()
        try:
            folder, name = self.reading.root.parent(path)
            return attrs_at(name, folder)
        except OSError as error:
            if not isinstance(error, PermissionError) and error.errno not in GONE:
                raise
            return ()

    def carry_over(self, earlier: Manifest) -> None:
        """Have what an earlier snapshot had of what is locked now; what is seen of it is as it is seen."""
        there = {entry.name for entry in self.entries}
        for entry in earlier.entries:
            if entry.name in there or not is_locked(entry.name, self.locked) or entry.size > self.room:
                continue
            seen = self.seen.get(entry.name)
            if seen is None:
                self.entries.append(entry)
            elif seen.kind == entry.kind:
                meta = {"mode": seen.meta.mode, "uid": seen.meta.uid, "gid": seen.meta.gid}
                self.entries.append(entry.model_copy(update=meta))
            else:
                continue
            self.room -= entry.size
        self.entries.sort(key=lambda entry: entry.name)
        before = map(unquote_to_bytes, earlier.gone)
        self.gone |= {path for path in before if path in self.content and is_locked(path, self.locked)}

    def manifest(self, digest: str, now: float) -> Manifest:
        """All of it, as far as a manifest takes it. Raises FilesFailure."""
        gone, locked = ([quoted(path) for path in sorted(paths)] for paths in (self.gone, self.locked))
        listed = sum(len(path) + 3 for path in (*gone, *locked, *self.left_out))
        entries, too_many = fitting(self.entries, MANIFEST_BYTES_MAX - FRAME_BYTES - listed)
        left_out = sorted([*self.left_out, *too_many])
        if max(len(entries), len(gone), len(left_out), len(locked)) > ENTRIES_MAX:
            raise FilesFailure(
                "too_many_files", f"more than {ENTRIES_MAX} files were changed; they are not kept elsewhere"
            )
        return Manifest(digest=digest, taken_at=now, entries=entries, gone=gone, left_out=left_out, locked=locked)

    def _is_images_large(self, path: bytes, image: Entry | None) -> bool:
        """Whether a file that is too large is the image's; it is read, once, only if it has the image's size."""
        if image is None or image.kind != "file" or image.size != self.seen[path].size:
            return False
        hashed = self.reading.hashed(path, image.size)
        return hashed is not None and _is_images(self.seen[path], hashed, _portable(hashed.attrs), image)


def fitting(entries: list[SnapshotEntry], room: int) -> tuple[list[SnapshotEntry], list[str]]:
    """As many entries as a manifest takes, and the paths of directories that are left out for that.

    A package environment has more files than all the rest, and can be had again. So the smallest directory goes that is
    enough; where none is, the largest, and then the next one. What lies in no directory stays.

    Args:
        entries: sorted by path.
        room: bytes for their JSON.
    """
    left_out: list[str] = []
    costs = [len(entry.model_dump_json()) + 1 for entry in entries]
    while len(entries) > ENTRIES_MAX or sum(costs) > room:
        number: Counter[bytes] = Counter()
        size: Counter[bytes] = Counter()
        for entry, cost in zip(entries, costs, strict=True):
            folder = parent_of(entry.name)
            while folder:
                number[folder] += 1
                size[folder] += cost
                folder = parent_of(folder)
        if not number:
            break
        enough = [
            folder
            for folder in number
            if number[folder] >= len(entries) - ENTRIES_MAX and size[folder] >= sum(costs) - room
        ]
        largest = max(number, key=lambda folder: (size[folder], folder))
        out = min(enough, key=lambda folder: (size[folder], folder)) if enough else largest
        left_out.append(quoted(out))
        stays = [entry.name != out and not entry.name.startswith(out + b"/") for entry in entries]
        entries, costs = list(compress(entries, stays)), list(compress(costs, stays))
    return entries, left_out


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


def _portable(attrs: Attrs) -> Attrs:
    return tuple((name, value) for name, value in attrs if is_attr(name))


def _is_images(there: Seen, hashed: Hashed | None, attrs: Attrs, image: Entry | None) -> bool:
    """Whether an entry is as the image has it."""
    if image is None or image.kind != there.kind:
        return False
    if there.kind == "link":
        return image.target == there.target
    if image.meta.mode != there.meta.mode or _portable(image.meta.attrs) != attrs:
        return False
    return hashed is None or image.content == hashed.content


def _entry(path: bytes, there: Seen, hashed: Hashed | None, attrs: Attrs, image: Entry | None) -> SnapshotEntry:
    return SnapshotEntry(
        path=quoted(path),
        kind=there.kind,
        mode=there.meta.mode,
        uid=there.meta.uid,
        gid=there.meta.gid,
        mtime_ns=there.mtime_ns,
        size=there.size,
        chunks=list(hashed.chunks) if hashed else [],
        target=quoted(there.target) if there.kind == "link" else "",
        of_image=image is not None,
        image=mark_of(image),
        attrs={name: base64.b64encode(value).decode() for name, value in attrs},
    )
