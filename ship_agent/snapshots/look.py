"""Looking at an attendee's directory, hostile and in use, without opening a file: what a snapshot is decided by.

Owns what is left out of snapshots whatever it holds. Rules: symlinks are read and never followed, special files passed
over. What was deleted or exchanged meanwhile is not there; what its owner has locked is said to be; what the ship's
disk or kernel does not tell is an error, and never taken for deleted. Blocking.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ship_agent.files.base import FilesFailure
from ship_agent.files.place import Rooted, translated
from ship_agent.files.scan import DEBRIS
from ship_agent.files.trees import Meta, joined, parent_of

LEFT_OUT = frozenset({b".cache", b".local/share/jupyter/runtime"})
"""What programs make again by themselves. The second holds the keys of running kernels."""
WALKED_MAX = 200_000
"""Entries of one directory that are looked at; about a second of one core."""
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO})
"""What is said of a name that was deleted or exchanged meanwhile; of one that is locked, PermissionError. All else is
the ship's trouble."""


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


def look(home: Path) -> Look:
    """See every entry of a directory. Raises FilesFailure."""
    with translated("the attendee's files"), Rooted(home) as root:
        return walk(root)


def walk(root: Rooted, locked: set[bytes] | None = None) -> Look:
    """As `look`. Raises OSError for what is not told, and FilesFailure beyond WALKED_MAX.

    Args:
        root: the directory.
        locked: gets the directories in which not everything could be seen, as their modes forbid it.
    """
    found: Look = {}
    locked = set() if locked is None else locked
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            opened = root.folder(folder)
            with os.scandir(opened) as items:
                names = [os.fsencode(item.name) for item in items]
        except OSError as error:
            if not folder or not (isinstance(error, PermissionError) or error.errno in GONE):
                raise
            if isinstance(error, PermissionError):
                locked.add(folder)
            continue
        for name in names:
            path = joined(folder, name)
            if name.startswith(DEBRIS) or path in LEFT_OUT:
                continue
            try:
                there = _see(name, opened)
            except PermissionError:
                if not folder:
                    raise
                locked.add(folder)
                continue
            if there is not None:
                found[path] = there
                if there.kind == "dir":
                    pending.append(path)
        if len(found) > WALKED_MAX:
            raise FilesFailure(
                "too_many_files", f"more than {WALKED_MAX} files in one directory; they are not kept elsewhere"
            )
    return found


def seen_file(status: os.stat_result) -> Seen:
    """A regular file, as its status tells."""
    return Seen("file", _meta(status), status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def is_left_out(path: bytes) -> bool:
    """Whether a path is, or is in, what is left out."""
    while path:
        if path in LEFT_OUT:
            return True
        path = parent_of(path)
    return False


def is_locked(path: bytes, locked: Container[bytes]) -> bool:
    """Whether a path is, or is in, what its owner has locked, and is therefore not seen."""
    while path:
        if path in locked:
            return True
        path = parent_of(path)
    return False


def _see(name: bytes, at: int) -> Seen | None:
    try:
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
        target = os.readlink(name, dir_fd=at) if stat.S_ISLNK(status.st_mode) else b""
    except OSError as error:
        if error.errno not in GONE:
            raise
        return None
    if stat.S_ISDIR(status.st_mode):
        # Not its times: they say what its entries say, too.
        return Seen("dir", _meta(status), 0, 0, 0, status.st_ino)
    if stat.S_ISLNK(status.st_mode):
        return Seen("link", _meta(status), status.st_mtime_ns, status.st_ctime_ns, 0, status.st_ino, target)
    return seen_file(status) if stat.S_ISREG(status.st_mode) else None


def _meta(status: os.stat_result) -> Meta:
    return Meta(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
