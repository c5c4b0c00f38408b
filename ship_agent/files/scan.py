"""Reading a directory into a tree: hostile, large or locked as it may be.

Owns the bound of entries and which files are hashed. Rules: symlinks are read and never followed; sockets, pipes and
devices are never opened; a file is held one block at a time. Blocking.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from ship_agent.files.attrs import attrs_at
from ship_agent.files.base import FilesFailure
from ship_agent.files.place import BLOCK_BYTES, Rooted, open_file, translated
from ship_agent.files.trees import Entry, Meta, Tree, joined

ENTRIES_MAX = 500_000
"""Of one directory: some package environments, and about 300 MB of this process' memory."""
ATTRS_OF_ALL_BYTES_MAX = 32 << 20
"""Extended attributes of one directory; of what is beyond they are not kept."""
DEBRIS = b".mux-new-"
"""First part of names of what is being made inside an attendee's directory; a kill may leave one."""


def read_content(directory: Path) -> dict[bytes, Entry]:
    """An image's content with every file's hash; what is no file, directory or symlink is passed over. Raises
    FilesFailure.
    """
    with translated("the image's content"), Rooted(directory) as root:
        return {
            path: replace(entry, content=_hash(root, path)) if entry.kind == "file" else entry
            for path, entry in sorted(walk(root).items())
            if entry.kind != "other"
        }


def read_mine(directory: Path, *others: Tree) -> dict[bytes, Entry]:
    """An attendee's directory; hashed is only what can be the same as in one of ``others``. Raises FilesFailure."""
    with translated("the attendee's files"), Rooted(directory, unlock=True) as root:
        found = walk(root)
        hash_equal(root, found, others)
        return found


def hash_equal(root: Rooted, found: dict[bytes, Entry], others: tuple[Tree, ...]) -> None:
    """Hash the files that another tree has at the same path in the same size, and those in or with a copy's name.

    Raises OSError. One that cannot be read stays without a hash: it counts as edited.
    """
    sizes = {entry.size for other in others for entry in other.values() if entry.kind == "file"}
    for path, entry in found.items():
        if entry.kind == "file" and _is_candidate(path, entry, others, sizes):
            try:
                found[path] = replace(entry, content=_hash(root, path))
            except PermissionError:
                continue


def _is_candidate(path: bytes, entry: Entry, others: tuple[Tree, ...], sizes: Container[int]) -> bool:
    if b".new-" in path:
        return entry.size in sizes
    there = [other.get(path) for other in others]
    return any(one is not None and one.kind == "file" and one.size == entry.size for one in there)


def walk(root: Rooted) -> dict[bytes, Entry]:
    """Every entry below a directory, without hashes. Raises OSError, and FilesFailure beyond ENTRIES_MAX."""
    found: dict[bytes, Entry] = {}
    pending = [b""]
    room = ATTRS_OF_ALL_BYTES_MAX
    while pending:
        folder = pending.pop()
        opened = root.folder(folder)
        with os.scandir(opened) as items:
            names = [os.fsencode(item.name) for item in items]
        for name in names:
            if name.startswith(DEBRIS):
                continue
            path = joined(folder, name)
            found[path] = entry_of(name, opened, attrs=room > 0)
            room -= sum(len(key) + len(value) for key, value in found[path].meta.attrs)
            if found[path].kind == "dir":
                pending.append(path)
        if len(found) > ENTRIES_MAX:
            raise FilesFailure(
                "too_many_files", f"more than {ENTRIES_MAX} files in one directory; delete some, then try again"
            )
    return found


def entry_of(name: bytes, at: int, *, attrs: bool = True) -> Entry:
    """An entry by its name in a directory, without a hash. Raises OSError.

    Args:
        name, at: where.
        attrs: whether its extended attributes are wanted.
    """
    seen = os.stat(name, dir_fd=at, follow_symlinks=False)
    has_some = attrs and (stat.S_ISDIR(seen.st_mode) or stat.S_ISREG(seen.st_mode))
    meta = Meta(stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid, attrs_at(name, at) if has_some else ())
    if stat.S_ISDIR(seen.st_mode):
        return Entry("dir", meta)
    if stat.S_ISLNK(seen.st_mode):
        return Entry("link", meta, target=os.readlink(name, dir_fd=at))
    if stat.S_ISREG(seen.st_mode):
        return Entry("file", meta, size=seen.st_size)
    return Entry("other", meta)


def _hash(root: Rooted, path: bytes) -> str:
    folder, name = root.parent(path)
    opened = open_file(name, folder)
    try:
        digest = hashlib.sha256()
        while block := os.read(opened, BLOCK_BYTES):
            digest.update(block)
        return digest.hexdigest()
    finally:
        os.close(opened)
