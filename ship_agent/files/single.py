"""Starting one file over while its workspace may run: the image's version comes back, the attendee's is kept beside.

Rules: the path comes from an attendee's page, and the directory is in use and hostile: nothing is followed out of it.
At no moment is the attendee's version nowhere: it has its second name before the first is taken from it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from ship_agent.files.assemble import keep
from ship_agent.files.base import Content, FilesFailure
from ship_agent.files.names import beside
from ship_agent.files.place import Rooted, copy_file, make_symlink, own, translated
from ship_agent.files.scan import DEBRIS, entry_of, hash_equal
from ship_agent.files.trees import Entry, joined, parent_of, same

MARK = "before-start-over"
TRIES_MAX = 100
"""A name beside that is free may be taken the next moment, by a workspace that runs; not this often."""


def start_over(home: Path, path: bytes, content: Content) -> bytes | None:
    """Put the image's version of one file back; see `base.Way`."""
    new = _wanted(path, content)
    try:
        with translated("the image's version of the file"), Rooted(home) as root, Rooted(content.directory) as source:
            _make_parents(root, path, content)
            mine = _mine(root, path, new)
            if same(mine, new):
                return None
            folder, name = root.parent(path)
            aside = DEBRIS + secrets.token_hex(8).encode()
            try:
                _copy(source, path, (folder, aside), new)
                kept = _keep_beside(folder, name, mine) if mine is not None else None
                os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _unlink(folder, aside)
                raise
    except FilesFailure as failure:
        if isinstance(failure.__cause__, OSError) and failure.__cause__.errno in (errno.ELOOP, errno.ENOTDIR):
            raise FilesFailure(
                "path_refused", "a part of the path is no directory any more; start that part over first"
            ) from failure
        raise
    return joined(parent_of(path), kept) if kept is not None else None


def _wanted(path: bytes, content: Content) -> Entry:
    parts = path.split(b"/")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise FilesFailure("path_refused", "that is no path of a file; name it as the file browser shows it")
    new = content.tree.get(path)
    if new is None or new.kind not in ("file", "link"):
        raise FilesFailure("not_in_image", "the image has no such file; only files that came with it can start over")
    return new


def _make_parents(root: Rooted, path: bytes, content: Content) -> None:
    """Make the directories of the image that the attendee has deleted."""
    above = parent_of(path)
    parts = above.split(b"/") if above else []
    for depth in range(1, len(parts) + 1):
        folder = b"/".join(parts[:depth])
        if root.stat(folder) is None:
            at, name = root.parent(folder)
            os.mkdir(name, 0o700, dir_fd=at)
            own(root.folder(folder), content.tree[folder].meta)


def _mine(root: Rooted, path: bytes, new: Entry) -> Entry | None:
    if root.stat(path) is None:
        return None
    folder, name = root.parent(path)
    found = {path: entry_of(name, folder)}
    hash_equal(root, found, ({path: new},))
    return found[path]


def _copy(source: Rooted, path: bytes, place: tuple[int, bytes], new: Entry) -> None:
    if new.kind == "link":
        make_symlink(new.target, place, new.meta)
    else:
        copy_file(source.parent(path), place, new.meta, durable=True)


def _keep_beside(folder: int, name: bytes, mine: Entry) -> bytes:
    for _ in range(TRIES_MAX):
        kept = beside(name, MARK, lambda candidate: _exists(folder, candidate))
        try:
            if mine.kind == "dir":
                os.rename(name, kept, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                keep((folder, name), (folder, kept), durable=True)
        except FileExistsError:
            continue
        return kept
    raise FilesFailure("files_failed", "no name is free for the copy of the file; try again", retryable=True)


def _exists(folder: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _unlink(folder: int, name: bytes) -> None:
    try:
        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return
    if not stat.S_ISDIR(seen.st_mode):
        os.unlink(name, dir_fd=folder)
