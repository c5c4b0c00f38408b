"""Carrying out a plan: a directory is put together aside, complete, before it takes anybody's place.

Rules: the attendee's files are linked, never opened for writing: they are the same files in both directories, so that a
kill at any moment loses nothing. The image's are copied. A failure removes what was begun.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ship_agent.files.attrs import attrs_of
from ship_agent.files.base import Content, FilesFailure
from ship_agent.files.merge import Keep, MakeDir, Plan, Take
from ship_agent.files.place import (
    NO_LINK,
    Rooted,
    copy_file,
    make_symlink,
    own,
    remove_tree,
    sync_directory,
    translated,
)
from ship_agent.files.scan import entry_of
from ship_agent.files.trees import Meta

PASSING_MODE = 0o700
"""Of a directory that is being filled; its own mode may forbid that."""


def assemble(plan: Plan, *, mine: Path | None, content: Content, target: Path, durable: bool) -> None:
    """Make ``target`` out of a plan. Raises FilesFailure, and then it is not there.

    Args:
        plan: what it is made of.
        mine: the attendee's directory; None if there is none yet.
        content: of the image.
        target: must not be there.
        durable: whether it must be on the disk when this returns; a first directory can be made again.
    """
    try:
        with translated("the new version of the files"):
            target.mkdir(mode=PASSING_MODE)
            with Rooted(content.directory) as new, Rooted(target) as made:
                if mine is None:
                    _fill(plan, None, new, made, durable=durable)
                else:
                    with Rooted(mine, unlock=True) as kept:
                        _fill(plan, kept, new, made, durable=durable)
                own(made.folder(b""), meta_of(mine or content.directory))
            if durable:
                sync_directory(target)
    except FilesFailure:
        remove_tree(target)
        raise


def _fill(plan: Plan, kept: Rooted | None, new: Rooted, made: Rooted, *, durable: bool) -> None:
    folders: list[MakeDir] = []
    for action in plan.actions:
        place = made.parent(action.path)
        match action:
            case MakeDir():
                os.mkdir(place[1], PASSING_MODE, dir_fd=place[0])
                folders.append(action)
            case Take():
                if action.entry.kind == "link":
                    make_symlink(action.entry.target, place, action.meta)
                else:
                    copy_file(new.parent(action.source), place, action.meta, durable=durable)
            case Keep():
                if kept is None:
                    raise ValueError("a plan that keeps something of nothing")
                keep(kept.parent(action.source), place, durable=durable)
    for folder in reversed(folders):  # what is in it first: its own mode may forbid to get there
        opened = made.folder(folder.path)
        own(opened, folder.meta)
        if durable:
            os.fsync(opened)


def meta_of(directory: Path) -> Meta:
    """Whose a directory is. Raises OSError."""
    with Rooted(directory) as root:
        opened = root.folder(b"")
        top = os.fstat(opened)
        return Meta(stat.S_IMODE(top.st_mode), top.st_uid, top.st_gid, attrs_of(opened))


def keep(source: tuple[int, bytes], place: tuple[int, bytes], *, durable: bool) -> None:
    """Have the attendee's entry in another place too: linked, or copied where that cannot be. Raises OSError."""
    try:
        os.link(source[1], place[1], src_dir_fd=source[0], dst_dir_fd=place[0], follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        seen = entry_of(source[1], source[0])
        if seen.kind == "link":
            make_symlink(seen.target, place, seen.meta)
        elif seen.kind == "file":
            copy_file(source, place, seen.meta, durable=durable)
        # A pipe, socket or device that cannot be linked holds nothing: it goes.
