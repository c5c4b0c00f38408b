"""File calls that stay inside a directory: by descriptor, one name at a time, never through a symlink.

An attendee's directory is hostile: any part of a path may be a symlink by now. So every call names a directory by its
descriptor and one name in it, and opens with O_NOFOLLOW (openat(2)). Everything that changes a disk goes through the
functions of `os`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from ship_agent.files.attrs import set_attrs
from ship_agent.files.base import FilesFailure
from ship_agent.files.trees import Meta, joined, parent_of

BLOCK_BYTES = 1 << 20
"""What is held of a file at a time."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
NO_LINK = frozenset({errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.EACCES})
"""What a file system without hard links, one whose links are used up, or a guarded file says: then it is copied."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the errors of files into sentences for people."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise FilesFailure(
                "disk_full",
                f"the disk is full: no room for {what}; free some space; the files are as before",
                retryable=True,
            ) from error
        raise FilesFailure(
            "files_failed",
            f"{what}: {error.strerror}; look at the ship's disk; the files are as before",
            retryable=True,
        ) from error


class Rooted:
    """A directory, and what is below it by relative path. The last parent stays open, since neighbours come together.

    Args:
        path: trusted; its last part is not followed if it is a symlink.
        unlock: open directories, too, that their owner has locked; for the attendee's own.
    """

    def __init__(self, path: Path, *, unlock: bool = False) -> None:
        self._root = os.open(path, _DIRECTORY)
        self._unlock = unlock
        self._last: tuple[bytes, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        os.close(self._root)

    def _forget(self) -> None:
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    def folder(self, path: bytes) -> int:
        """A descriptor of a directory; good until the next call. Raises OSError (ELOOP or ENOTDIR at a symlink)."""
        if not path:
            return self._root
        if self._last is None or self._last[0] != path:
            opened = self._open(path)
            self._forget()
            self._last = (path, opened)
        return self._last[1]

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """The descriptor of what a path is in, good until the next call, and its last name."""
        return self.folder(parent_of(path)), path.rpartition(b"/")[2]

    def stat(self, path: bytes) -> os.stat_result | None:
        """What is at a path, not followed; None if nothing is. Raises OSError."""
        try:
            folder, name = self.parent(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _open(self, path: bytes) -> int:
        at = os.dup(self._root)
        for name in path.split(b"/"):
            try:
                below = open_directory(name, at, unlock=self._unlock)
            finally:
                os.close(at)
            at = below
        return at


def open_directory(name: bytes, at: int, *, unlock: bool = False) -> int:
    """Open a directory by its name in another. One that its owner has locked is unlocked first if ``unlock``; its
    mode is written again from what was seen before. Raises OSError.
    """
    if unlock and os.geteuid() != 0:
        seen = os.stat(name, dir_fd=at, follow_symlinks=False)
        locked = stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_IRWXU != stat.S_IRWXU
        if locked and hasattr(os, "O_PATH"):
            handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
            try:
                os.chmod(f"/proc/self/fd/{handle}", stat.S_IMODE(seen.st_mode) | stat.S_IRWXU)  # noqa: PTH101
            finally:
                os.close(handle)
    return os.open(name, _DIRECTORY, dir_fd=at)


def open_file(name: bytes, at: int) -> int:
    """Open a regular file for reading. Raises OSError, ELOOP or EINVAL for anything else."""
    opened = os.open(name, _READ, dir_fd=at)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "not a regular file any more")
    return opened


def copy_file(source: tuple[int, bytes], target: tuple[int, bytes], meta: Meta, *, durable: bool) -> None:
    """Copy a regular file to a name that is free; holes stay holes. Raises OSError.

    Args:
        source, target: descriptor of a directory, name in it.
        meta: owner and mode of the copy.
        durable: whether it must be on the disk when this returns.
    """
    reading = open_file(source[1], source[0])
    try:
        writing = os.open(target[1], _CREATE, 0o600, dir_fd=target[0])
        try:
            _copy_bytes(reading, writing)
            own(writing, meta)
            if durable:
                os.fsync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_bytes(reading: int, writing: int) -> None:
    size = os.fstat(reading).st_size
    at = 0
    while at < size:
        try:
            at = os.lseek(reading, at, os.SEEK_DATA)
            end = os.lseek(reading, at, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: nothing but a hole is left
                raise
            break
        os.lseek(reading, at, os.SEEK_SET)
        os.lseek(writing, at, os.SEEK_SET)
        while at < end and (block := os.read(reading, min(BLOCK_BYTES, end - at))):
            at += len(block)
            while block:
                block = block[os.write(writing, block) :]
    os.ftruncate(writing, size)


def own(opened: int, meta: Meta) -> None:
    """Give an open file or directory its owner, attributes and mode; the owner only where we may. Raises OSError."""
    if os.geteuid() == 0:
        os.fchown(opened, meta.uid, meta.gid)  # first: it takes the set-user-id bit and capabilities away
    set_attrs(opened, meta.attrs)
    os.fchmod(opened, meta.mode)  # after an access control list, whose mask are the group's bits


def make_symlink(target: bytes, place: tuple[int, bytes], meta: Meta) -> None:
    """Make a symlink with an owner. Raises OSError."""
    os.symlink(target, place[1], dir_fd=place[0])
    if os.geteuid() == 0:
        os.chown(place[1], meta.uid, meta.gid, dir_fd=place[0], follow_symlinks=False)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk. Raises OSError."""
    opened = os.open(path, _DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def remove_tree(path: Path) -> None:
    """Delete a file or a tree, however deep, with locked directories in it. What is gone is fine. Raises OSError."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    with Rooted(path, unlock=True) as root:
        folders = [b""]
        for folder in folders:
            opened = root.folder(folder)
            if os.geteuid() != 0:
                os.fchmod(opened, stat.S_IRWXU)  # its mode may forbid to delete what is in it
            with os.scandir(opened) as items:
                found = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in items]
            for name, is_directory in found:
                if is_directory:
                    folders.append(joined(folder, name))
                else:
                    os.unlink(name, dir_fd=opened)
        for folder in reversed(folders[1:]):
            above, name = root.parent(folder)
            os.rmdir(name, dir_fd=above)
    path.rmdir()
