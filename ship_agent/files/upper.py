"""The directory that an overlay keeps an attendee's changes in: read as a tree, and written from a plan.

Owns overlay's marks: a character device 0:0 hides what is below it, ``user.overlay.opaque`` hides what a directory lies
over (Documentation/filesystems/overlayfs). Rules: an upper is written anew for each image, out of links, so that the
one before stays whole until the record names the other. It is never written while it is mounted.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ship_agent.files.assemble import PASSING_MODE, keep, meta_of
from ship_agent.files.base import Content, FilesFailure
from ship_agent.files.merge import Keep, MakeDir, Plan, Take
from ship_agent.files.place import Rooted, copy_file, make_symlink, open_file, own, remove_tree, translated
from ship_agent.files.scan import hash_equal, walk
from ship_agent.files.trees import Entry, Tree, parent_of

OPAQUE = "user.overlay.opaque"
ORIGIN = "user.overlay.origin"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attendee sees in an overlay.

    Args:
        tree: all of it.
        upper: the paths that are in the upper directory.
    """

    tree: Tree
    upper: frozenset[bytes]


def read_seen(upper: Path, lower: Tree, new: Tree) -> Seen:
    """What an overlay of ``upper`` on ``lower`` shows; it need not be mounted. Raises FilesFailure.

    Args:
        upper: its directory.
        lower: the content that it was mounted over.
        new: the content that it will be compared with.
    """
    with translated("the attendee's files"), Rooted(upper) as root:
        entries = walk(root)
        hash_equal(root, entries, (lower, new))
        tree = _shown(root, entries, lower)
        return Seen(tree, frozenset(entries.keys() & tree.keys()))


def hidden_in(root: Rooted, lower: Tree) -> frozenset[bytes]:
    """What an overlay hides of the content below it. Raises OSError and FilesFailure.

    Args:
        root: its upper directory.
        lower: the content.
    """
    return frozenset(lower.keys() - _shown(root, walk(root), lower).keys())


def _shown(root: Rooted, entries: Tree, lower: Tree) -> dict[bytes, Entry]:
    tree: dict[bytes, Entry] = {}
    through = {b""}
    for path in sorted(entries.keys() | lower.keys()):
        over = entries.get(path)
        below = lower.get(path) if parent_of(path) in through else None
        if over is not None and over.kind == "other" and _is_whiteout(root, path):
            continue
        shown = over or below
        if shown is None:
            continue
        tree[path] = shown
        if below is not None and shown.kind == below.kind == "dir" and not (over and _is_opaque(root, path)):
            through.add(path)
    return tree


def _is_whiteout(root: Rooted, path: bytes) -> bool:
    seen = root.stat(path)
    return seen is not None and stat.S_ISCHR(seen.st_mode) and seen.st_rdev == 0


def _is_opaque(root: Rooted, path: bytes) -> bool:
    try:
        return os.getxattr(root.folder(path), OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return False
        raise


def write_upper(plan: Plan, *, before: Path | None, in_upper: frozenset[bytes], content: Content, target: Path) -> None:
    """Write the upper directory that makes a plan's directory of the new content. Raises FilesFailure, and then
    ``target`` is not there.

    Args:
        plan: what is to be seen.
        before: the upper directory before; None if there is none yet.
        in_upper: the paths of the attendee's that are in it.
        content: what it will be mounted over.
        target: must not be there.
    """
    try:
        with translated("the new version of the files"):
            target.mkdir(mode=PASSING_MODE)
            with Rooted(content.directory) as new, Rooted(target) as made:
                if before is None:
                    _Writing(plan, in_upper, content.tree, new, None, made).run()
                else:
                    with Rooted(before) as kept:
                        _Writing(plan, in_upper, content.tree, new, kept, made).run()
                own(made.folder(b""), meta_of(before or content.directory))
    except FilesFailure:
        remove_tree(target)
        raise


@dataclass
class _Writing:
    """One upper directory. ``through``: directories that the new content is seen through."""

    plan: Plan
    in_upper: frozenset[bytes]
    tree: Tree
    new: Rooted
    kept: Rooted | None
    made: Rooted
    through: set[bytes] = field(default_factory=lambda: {b""})
    there: set[bytes] = field(default_factory=lambda: {b""})
    wanted: dict[bytes, MakeDir] = field(default_factory=dict)

    def run(self) -> None:
        shown: set[bytes] = set()
        for action in self.plan.actions:
            shown.add(action.path)
            if isinstance(action, MakeDir):
                self._directory(action)
            elif not self._is_below(action):
                self._write(action)
        for path in self.tree:
            if path not in shown and parent_of(path) in self.through:
                self._make(parent_of(path))
                folder, name = self.made.parent(path)
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder)
        for path in sorted(self.there - {b""}, reverse=True):
            own(self.made.folder(path), self.wanted[path].meta)

    def _directory(self, action: MakeDir) -> None:
        self.wanted[action.path] = action
        below = self.tree.get(action.path)
        if below is not None and below.kind == "dir" and parent_of(action.path) in self.through:
            self.through.add(action.path)
            if below.meta == action.meta:
                return
        self._make(action.path)

    def _is_below(self, action: Keep | Take) -> bool:
        """Whether the content below shows it already."""
        if parent_of(action.path) not in self.through:
            return False
        if isinstance(action, Keep):
            return action.source not in self.in_upper
        below = self.tree.get(action.path)
        return action.path == action.source and below is not None and below.meta == action.meta

    def _write(self, action: Keep | Take) -> None:
        self._make(parent_of(action.path))
        place = self.made.parent(action.path)
        if isinstance(action, Take):
            if action.entry.kind == "link":
                make_symlink(action.entry.target, place, action.meta)
            else:
                copy_file(self.new.parent(action.source), place, action.meta, durable=True)
            return
        if self.kept is None:
            raise ValueError("a plan that keeps something of nothing")
        keep(self.kept.parent(action.source), place, durable=True)
        _forget_origin(place)

    def _make(self, path: bytes) -> None:
        """Have a directory in the upper one, and those above it."""
        missing = []
        while path not in self.there:
            missing.append(path)
            path = parent_of(path)
        for folder in reversed(missing):
            at, name = self.made.parent(folder)
            os.mkdir(name, PASSING_MODE, dir_fd=at)
            self.there.add(folder)


def _forget_origin(place: tuple[int, bytes]) -> None:
    """Take overlay's note of the file below off one that was changed: over another content it would be ESTALE."""
    seen = os.stat(place[1], dir_fd=place[0], follow_symlinks=False)
    if not stat.S_ISREG(seen.st_mode):
        return
    opened = open_file(place[1], place[0])
    try:
        os.removexattr(opened, ORIGIN)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(opened)
