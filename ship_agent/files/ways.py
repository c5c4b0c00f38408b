"""Which way a workspace's files are kept, and the contents of a ship's images, read once each.

Rules: a workspace keeps the way in which it was begun, whatever is asked for since. Safe to call from several threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from ship_agent.files.base import Content, Way, WayName
from ship_agent.files.mounts import upper_at
from ship_agent.files.overlay import OverlayFiles, damaged
from ship_agent.files.record import RECORD, Record
from ship_agent.files.scan import read_content
from ship_agent.files.sync import SyncFiles
from ship_agent.files.trees import Tree

CONTENTS_MAX = 16
"""Trees held in memory: a ship's projects, before and after a new image."""
_OF_SYNC = ("home", "home.next", "home.last")


def way_of(directory: Path, wanted: WayName) -> Way:
    """The way of a workspace's files: the one that they are kept in, else the one that is wanted."""
    if any(directory.glob("upper-*")):
        return OverlayFiles(directory)
    if wanted == "sync" or any((directory / name).is_dir() for name in _OF_SYNC):
        return SyncFiles(directory)
    return OverlayFiles(directory)


def holds_files(directory: Path) -> bool:
    """Whether files of an attendee's may be in a workspace's directory, in the middle of a change, too."""
    return any((directory / name).exists() for name in _OF_SYNC) or any(directory.glob("upper-*"))


def unmounted(home: Path, record: Record | None) -> Path | None:
    """Where the changes lie if a directory is an overlay's that is not mounted, and what is in it now is nobody's; None
    if it is as it should be. Raises OSError.

    Args:
        home: the attendee's directory.
        record: what it is at; None if that is not there or damaged.
    """
    if record is None:
        record = damaged(home.parent) if (home.parent / RECORD).exists() else None
    if record is None or not record.upper or upper_at(home) is not None:
        return None
    return home.parent / record.upper


class Contents:
    """What is in the images of a ship. A content never changes, so that it is read once."""

    def __init__(self) -> None:
        self._trees: OrderedDict[Path, Tree] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, directory: Path, digest: str, label: str) -> Content:
        """The content of an image. Raises FilesFailure.

        Args:
            directory: where it lies.
            digest: of the image.
            label: what the image is called in names of files.
        """
        with self._lock:  # one thread reads, those who want the same wait for it
            if directory not in self._trees:
                self._trees[directory] = read_content(directory)
            self._trees.move_to_end(directory)
            while len(self._trees) > CONTENTS_MAX:
                self._trees.popitem(last=False)
            return Content(directory, digest, label, self._trees[directory])
