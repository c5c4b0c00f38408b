"""Putting a snapshot onto an attendee's directory, whose workspace is stopped.

Rules: every chunk is verified before the first file is touched; each file is written aside and renamed, nothing is
followed out of the directory; what a kill has interrupted is done again from the start, with the same result. All is
on the disk when this returns: a machine that loses power does not come back with half of it. Blocking.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes

from ship_agent.files.base import FilesFailure
from ship_agent.files.place import Rooted, make_symlink, open_file, own, translated
from ship_agent.files.scan import DEBRIS
from ship_agent.files.trees import Meta, joined, parent_of
from ship_agent.protocol.snapshot import Manifest, SnapshotEntry

Chunk = Callable[[str], bytes]
"""Gives a chunk's bytes by their SHA-256."""
_ASIDE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def restore(home: Path, manifest: Manifest, chunk: Chunk) -> None:
    """Have the attendee's changes in a directory that is at an image's content. Raises FilesFailure.

    Args:
        home: the attendee's directory, made by an image.
        manifest: what the attendee changed.
        chunk: where the bytes are had.
    """
    with translated("the attendee's files"), Rooted(home, unlock=True) as root:
        for gone in sorted(map(unquote_to_bytes, manifest.gone), reverse=True):
            _remove(root, gone)
    # Opened anew: a directory that is gone may be made again, and would be another one.
    with translated("the attendee's files"), Rooted(home, unlock=True) as root:
        for entry in sorted(manifest.entries, key=lambda entry: entry.name):
            _make_parents(root, entry.name)
            _place(root, entry, chunk)
        _sync(root, manifest)
        for entry in sorted(manifest.entries, key=lambda entry: entry.name, reverse=True):
            if entry.kind == "dir":  # last: its mode may forbid to write in it
                opened = root.folder(entry.name)
                own(opened, _meta(entry))
                os.fsync(opened)


def _sync(root: Rooted, manifest: Manifest) -> None:
    """Have files and names on the disk; at the end, when the first call brings the journal there for all of them."""
    folders = {b"": None}
    for entry in manifest.entries:
        folders[parent_of(entry.name)] = None
        if entry.kind == "file":
            folder, name = root.parent(entry.name)
            with contextlib.suppress(PermissionError):  # its mode forbids it to its owner, who we are
                opened = open_file(name, folder)
                try:
                    os.fsync(opened)
                finally:
                    os.close(opened)
    for path in folders:
        os.fsync(root.folder(path))


def _place(root: Rooted, entry: SnapshotEntry, chunk: Chunk) -> None:
    path = entry.name
    there = root.stat(path)
    if entry.kind == "dir":
        if there is not None and not stat.S_ISDIR(there.st_mode):
            _remove(root, path)
            there = None
        if there is None:
            folder, name = root.parent(path)
            os.mkdir(name, 0o700, dir_fd=folder)
        return
    if there is not None and stat.S_ISDIR(there.st_mode):
        _remove_tree(root, path)
    folder, name = root.parent(path)
    aside = DEBRIS + secrets.token_hex(8).encode()
    try:
        if entry.kind == "link":
            make_symlink(unquote_to_bytes(entry.target), (folder, aside), _meta(entry))
        else:
            _write(folder, aside, entry, chunk)
        os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside, dir_fd=folder)
        raise


def _write(folder: int, aside: bytes, entry: SnapshotEntry, chunk: Chunk) -> None:
    opened = os.open(aside, _ASIDE, 0o600, dir_fd=folder)
    try:
        for sha in entry.chunks:
            block = chunk(sha)
            if hashlib.sha256(block).hexdigest() != sha:
                raise FilesFailure("files_damaged", "a part of the snapshot is damaged; it is fetched anew")
            while block:
                block = block[os.write(opened, block) :]
        if os.fstat(opened).st_size != entry.size:
            raise FilesFailure("files_damaged", "a file of the snapshot has another size than its parts")
        own(opened, _meta(entry))
        os.utime(opened, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(opened)


def _make_parents(root: Rooted, path: bytes) -> None:
    """Directories that the image, another one by now, does not have."""
    above = parent_of(path)
    parts = above.split(b"/") if above else []
    for depth in range(1, len(parts) + 1):
        below = b"/".join(parts[:depth])
        there = root.stat(below)
        if there is not None and not stat.S_ISDIR(there.st_mode):
            _remove(root, below)
            there = None
        if there is None:
            owner = os.fstat(root.folder(parent_of(below)))
            folder, name = root.parent(below)
            os.mkdir(name, 0o755, dir_fd=folder)
            own(root.folder(below), Meta(0o755, owner.st_uid, owner.st_gid))


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
    return Meta(entry.mode, entry.uid, entry.gid)
