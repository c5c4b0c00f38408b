"""The walk over a directory image on the ship's side. What counts, `ship_agent.protocol.digest` decides.

Rules: symlinks are never followed. Sockets, devices, pipes and links that lead out of the tree are refused with the
path, since a copy of them would not be what the author sees. Blocking: call it in a thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from ship_agent.protocol.digest import TREE_ENTRIES_MAX, TreeEntry, is_ignored, link_leaves_tree

READ_BYTES = 1 << 20
"""Bytes hashed at a time: large enough for speed, small beside a workspace."""


class TreeError(Exception):
    """The tree cannot be an image; the message names the path and says why."""


def walk(root: Path, *, hashed: bool = True) -> list[TreeEntry]:
    """Every entry below ``root`` that counts. Raises TreeError, and OSError when something cannot be read.

    Args:
        root: the tree's own directory; it is no entry.
        hashed: whether files are read for their content's hash; without it `TreeEntry.content` is empty.
    """
    entries: list[TreeEntry] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder if folder else root) as found:
            for item in found:
                if is_ignored(item.name):
                    continue
                path = f"{folder}/{item.name}" if folder else item.name
                entries.append(_entry(item, path, hashed=hashed))
                if len(entries) > TREE_ENTRIES_MAX:
                    raise TreeError(f"{root} has more than {TREE_ENTRIES_MAX} entries; an image holds a tutorial only")
                if entries[-1].kind == "dir":
                    pending.append(path)
    return entries


def _entry(item: os.DirEntry[str], path: str, *, hashed: bool) -> TreeEntry:
    if item.is_symlink():
        target = os.readlink(item.path)  # noqa: PTH115 - Path.readlink would normalise the target
        if link_leaves_tree(path, target):
            raise TreeError(f"{item.path}: the symlink leads out of the image; put the file itself there")
        return TreeEntry(path, "link", target=target)
    mode = item.stat(follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        return TreeEntry(path, "dir")
    if not stat.S_ISREG(mode):
        raise TreeError(f"{item.path}: neither file, directory nor symlink; remove it from the image")
    executable = bool(mode & stat.S_IXUSR)
    if not hashed:
        return TreeEntry(path, "file", executable=executable)
    digest = hashlib.sha256()
    with open(item.path, "rb") as file:  # noqa: PTH123 - item.path is a string already
        while block := file.read(READ_BYTES):
            digest.update(block)
    return TreeEntry(path, "file", executable=executable, content=digest.hexdigest())
