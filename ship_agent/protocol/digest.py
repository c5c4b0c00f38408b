"""The digest of a directory image: one pure function that the mux and the ship both compute.

Owns what counts as content of a tree (paths, kinds, the executable bit, symlink targets, bytes) and what is passed
over. Reads nothing itself: each side walks its own directory and hands the entries in.

Rules: the order of the entries does not matter. Owners, times and other permission bits do not count, so that a copy
and a fresh clone have the digest of their origin. The encoding is prefix-free: no two trees have the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

TREE_ENTRIES_MAX = 200_000
"""Entries of one image: a tree beyond it is a mistake (a whole disk, a package cache), not a tutorial."""

IGNORED_NAMES = frozenset({"__pycache__", ".ipynb_checkpoints", ".git", ".DS_Store"})
"""Files and directories that programs leave behind; no part of an image at any depth."""

IGNORED_SUFFIXES = (".swp", ".swo", ".swx", "~")
"""What editors leave beside a file that is open (vim) or was saved (emacs and others)."""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry below the root of a tree; the root itself is none.

    Args:
        path: relative, parts joined by ``/``; bytes that are not UTF-8 as surrogate escapes (PEP 383).
        kind: directory, file or symlink.
        executable: whether a file's owner may execute it; False for the other kinds.
        target: where a symlink points, as written; empty for the other kinds.
        content: SHA-256 of a file's bytes, 64 hex digits; empty for the other kinds.
    """

    path: str
    kind: Literal["dir", "file", "link"]
    executable: bool = False
    target: str = ""
    content: str = ""


def is_ignored(name: str) -> bool:
    """Whether an entry of that name (one part of a path) is no part of an image, nor anything below it."""
    return name in IGNORED_NAMES or name.endswith(IGNORED_SUFFIXES) or (name.startswith(".#"))


def link_leaves_tree(path: str, target: str) -> bool:
    """Whether the symlink at ``path`` may lead out of the tree. Such a link is refused, never followed.

    ``..`` is accepted only at the front: behind another link, it would not mean what it says.
    """
    if not target or target.startswith("/"):
        return True
    depth = path.count("/")
    climbing = True
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if not climbing or depth < 0:
                return True
        elif part not in ("", "."):
            climbing = False
    return False


def tree_digest(entries: Iterable[TreeEntry]) -> str:
    """The digest of a tree, ``sha256:`` and 64 hex digits, whatever the order of ``entries``."""
    digest = hashlib.sha256(b"mux-tree-1\n")
    ordered = sorted(
        ((entry.path.encode("utf-8", "surrogateescape"), entry) for entry in entries), key=lambda pair: pair[0]
    )
    for path, entry in ordered:
        kind = "exec" if entry.kind == "file" and entry.executable else entry.kind
        for field in (kind.encode(), path, entry.target.encode("utf-8", "surrogateescape"), entry.content.encode()):
            digest.update(len(field).to_bytes(8, "big"))
            digest.update(field)
    return f"sha256:{digest.hexdigest()}"
