"""Putting a snapshot onto an attendee's directory, whose workspace is stopped.

Rules: every chunk is verified before the first file is touched; each file is written aside and renamed, nothing is
followed out of the directory; what a kill has interrupted is done again from the start, with the same result. All is
on the disk when this returns: a machine that loses power does not come back with half of it. Blocking.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from ship_agent.files.base import FilesFailure
from ship_agent.files.place import Rooted, make_symlink, open_file, own, translated
from ship_agent.files.record import RECORD, Record
from ship_agent.files.scan import DEBRIS
from ship_agent.files.trees import Meta, joined, parent_of
from ship_agent.files.ways import unmounted
from ship_agent.protocol.snapshot import Manifest, SnapshotEntry
from ship_agent.snapshots.between import Between

Chunk = Callable[[str], bytes]
"""Gives a chunk's bytes by their SHA-256."""
_ASIDE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def restore(home: Path, manifest: Manifest, chunk: Chunk) -> None:
    """Have the attendee's changes in a directory that is at an image's content, the snapshot's or another one. Raises
    FilesFailure.

    Args:
        home: the attendee's directory, made by an image.
        manifest: what the attendee changed.
        chunk: where the bytes are had.
    """
    with translated("the attendee's files"):
        record = Record.load(home.parent / RECORD)
        if unmounted(home, record) is not None:
            raise FilesFailure("not_mounted", "the attendee's files are not mounted", retryable=True)
        between = None
        if record is not None and manifest.digest and record.digest != manifest.digest:
            between = Between(record, {entry.name: entry for entry in manifest.entries}, chunk)
        gone = {unquote_to_bytes(path) for path in manifest.gone}
        with Rooted(home, unlock=True) as root:
            for path in sorted(between.all_of(gone) if between else gone, reverse=True):
                _remove(root, path)
        # Opened anew: a directory that is gone may be made again, and would be another one.
        with Rooted(home, unlock=True) as root:
            _Restoring(root, chunk, between).run(manifest)


@dataclass(frozen=True)
class _Restoring:
    """One restore, of what there is to be placed. ``between``: None if the directory is at the snapshot's image."""

    root: Rooted
    chunk: Chunk
    between: Between | None

    def run(self, manifest: Manifest) -> None:
        """Have it all, on the disk. Raises OSError and FilesFailure."""
        entries = sorted(manifest.entries, key=lambda entry: entry.name)
        placed = [entry for entry in entries if self._placed(entry)]
        self._sync(placed)
        for entry in reversed(placed):
            if entry.kind == "dir":  # last: its mode may forbid to write in it
                opened = self.root.folder(entry.name)
                own(opened, _meta(entry))
                os.fsync(opened)

    def _placed(self, entry: SnapshotEntry) -> bool:
        """Have one entry, unless it is the image's to say what is there."""
        whose = self.between.verdict(entry) if self.between is not None else "theirs"
        if whose == "nobodys" or (whose == "images" and self._mode_alone(entry)):
            return False
        self._make_parents(entry.name)
        self._place(entry)
        return True

    def _mode_alone(self, entry: SnapshotEntry) -> bool:
        """Give the image's file the attendee's mode; False if there is none."""
        try:
            folder, name = self.root.parent(entry.name)
            opened = open_file(name, folder)
        except OSError:
            return False
        try:
            own(opened, _meta(entry))
            os.fsync(opened)
        finally:
            os.close(opened)
        return True

    def _place(self, entry: SnapshotEntry) -> None:
        path = entry.name
        there = self.root.stat(path)
        if there is not None and self.between is not None and self.between.give_way(self.root, path, entry):
            there = None
        if entry.kind == "dir":
            if there is not None and not stat.S_ISDIR(there.st_mode):
                _remove(self.root, path)
                there = None
            if there is None:
                folder, name = self.root.parent(path)
                os.mkdir(name, 0o700, dir_fd=folder)
            return
        if there is not None and stat.S_ISDIR(there.st_mode):
            _remove_tree(self.root, path)
        folder, name = self.root.parent(path)
        aside = DEBRIS + secrets.token_hex(8).encode()
        try:
            if entry.kind == "link":
                make_symlink(unquote_to_bytes(entry.target), (folder, aside), _meta(entry))
            else:
                _write(folder, aside, entry, self.chunk)
            os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside, dir_fd=folder)
            raise

    def _make_parents(self, path: bytes) -> None:
        """Directories that the image, another one by now, does not have."""
        above = parent_of(path)
        parts = above.split(b"/") if above else []
        for depth in range(1, len(parts) + 1):
            below = b"/".join(parts[:depth])
            there = self.root.stat(below)
            if there is not None and not stat.S_ISDIR(there.st_mode):
                if self.between is None or not self.between.give_way(self.root, below):
                    _remove(self.root, below)
                there = None
            if there is None:
                owner = os.fstat(self.root.folder(parent_of(below)))
                folder, name = self.root.parent(below)
                os.mkdir(name, 0o755, dir_fd=folder)
                own(self.root.folder(below), Meta(0o755, owner.st_uid, owner.st_gid))

    def _sync(self, placed: Sequence[SnapshotEntry]) -> None:
        """Have files and names on the disk; at the end: the first call brings the journal there for all of them."""
        folders = {b"": None}
        for entry in placed:
            folders[parent_of(entry.name)] = None
            if entry.kind == "file":
                folder, name = self.root.parent(entry.name)
                with contextlib.suppress(PermissionError):  # its mode forbids it to its owner, who we are
                    opened = open_file(name, folder)
                    try:
                        os.fsync(opened)
                    finally:
                        os.close(opened)
        for path in folders:
            os.fsync(self.root.folder(path))


def _write(folder: int, aside: bytes, entry: SnapshotEntry, chunk: Chunk) -> None:
    opened = os.open(aside, _ASIDE, 0o600, dir_fd=folder)
    try:
        for sha in entry.chunks:
            block = chunk(sha)
            if hashlib.sha256(block).hexdigest() != sha:
                raise FilesFailure("files_damaged", "a part of the snapshot is damaged; it is fetched anew")
            if block.count(0) == len(block):
                os.lseek(opened, len(block), os.SEEK_CUR)  # a hole stays one, as far as chunks tell
                continue
            while block:
                block = block[os.write(opened, block) :]
        if os.lseek(opened, 0, os.SEEK_CUR) != entry.size:
            raise FilesFailure("files_damaged", "a file of the snapshot has another size than its parts")
        os.ftruncate(opened, entry.size)
        own(opened, _meta(entry))
        os.utime(opened, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(opened)


def _remove(root: Rooted, path: bytes) -> None:
    """Delete one entry; a directory only if it is empty, for what is in it is not the image's."""
    try:
        there = root.stat(path)
        if there is None:
            return
        folder, name = root.parent(path)
        if stat.S_ISDIR(there.st_mode):
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    except OSError:
        return


def _remove_tree(root: Rooted, path: bytes) -> None:
    opened = root.folder(path)
    with os.scandir(opened) as items:
        found = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in items]
    for name, is_directory in found:
        if is_directory:
            _remove_tree(root, joined(path, name))
        else:
            folder = root.folder(path)
            os.unlink(name, dir_fd=folder)
    above, name = root.parent(path)
    os.rmdir(name, dir_fd=above)


def _meta(entry: SnapshotEntry) -> Meta:
    attrs = tuple((name, base64.b64decode(value)) for name, value in sorted(entry.attrs.items()))
    return Meta(entry.mode, entry.uid, entry.gid, attrs)
