"""A snapshot that is put onto another image's content than it was taken over: what becomes of both versions.

Follows `ship_agent.files.merge`, as far as a manifest tells what the image of its time had: what the attendee alone
changed is theirs, what the image alone changed is the image's, and what both changed is the attendee's, with the
image's beside. Rules: what lies beside is renamed, never written; done again after a kill, it gives the same. Blocking.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from ship_agent.files.names import beside
from ship_agent.files.place import Rooted
from ship_agent.files.record import Record
from ship_agent.files.scan import entry_of, hash_equal
from ship_agent.files.trees import Entry, Meta, joined, mark_of, parent_of, same
from ship_agent.protocol.snapshot import SnapshotEntry

LABEL_CHARS = 8
"""Of the digest of an image, where its label was not noted."""


@dataclass(frozen=True, slots=True)
class Between:
    """Two images: the snapshot's, and the one that the directory is at.

    Args:
        record: of the directory.
        entries: of the snapshot, by path.
        chunk: gives a chunk's bytes.
    """

    record: Record
    entries: Mapping[bytes, SnapshotEntry]
    chunk: Callable[[str], bytes]

    def all_of(self, gone: Collection[bytes]) -> set[bytes]:
        """What the attendee deleted: of a directory, what this image has in it, too."""
        found = set(gone)
        for path in self.record.tree:
            above = path
            while above := parent_of(above):
                if above in gone:
                    found.add(path)
        return found

    def verdict(self, entry: SnapshotEntry) -> Literal["theirs", "images", "nobodys"]:
        """Whose version of a file or symlink there is to be."""
        if not entry.of_image or not entry.image or entry.kind == "dir" or self._mark(entry) != entry.image:
            return "theirs"
        # What they changed is its mode alone.
        image = self.record.tree.get(entry.name)
        if image is None:
            return "nobodys"
        return "theirs" if mark_of(image) == entry.image or image.kind != entry.kind else "images"

    def give_way(self, root: Rooted, path: bytes, entry: SnapshotEntry | None = None) -> bool:
        """Put what the image has at a path beside it, if both sides changed it. Returns whether it did. Raises OSError.

        Args:
            root: the directory.
            path: in it.
            entry: what the attendee has there; None for a directory that something of theirs is in.
        """
        image = self.record.tree.get(path)
        if image is None or (entry is not None and self._is_known_to(entry, image)):
            return False
        if not same(_here(root, path, image), image):
            return False  # it is the attendee's by now
        label = self.record.label or self.record.digest.removeprefix("sha256:")[:LABEL_CHARS]
        above, _, name = path.rpartition(b"/")
        place = beside(name, f"new-{label}", lambda each: self._is_taken(root, joined(above, each), image))
        if root.stat(joined(above, place)) is not None:
            return False  # it is there already
        folder, name = root.parent(path)
        os.rename(name, place, src_dir_fd=folder, dst_dir_fd=folder)
        return True

    def _is_taken(self, root: Rooted, path: bytes, image: Entry) -> bool:
        """Whether there is, or will be, anything but the image's version. Raises OSError."""
        if path in self.entries:
            return image.kind == "dir" or self._mark(self.entries[path]) != mark_of(image)
        return root.stat(path) is not None and (image.kind == "dir" or not same(_here(root, path, image), image))

    def _is_known_to(self, entry: SnapshotEntry, image: Entry) -> bool:
        """Whether the attendee's version was made from the image's, or is the same."""
        unknown = entry.of_image and not entry.image
        return unknown or mark_of(image) in (entry.image, self._mark(entry))

    def _mark(self, entry: SnapshotEntry) -> str:
        meta = Meta(entry.mode, entry.uid, entry.gid)
        if entry.kind == "link":
            return mark_of(Entry("link", meta, target=unquote_to_bytes(entry.target)))
        if entry.kind == "dir":
            return mark_of(Entry("dir", meta))
        whole = hashlib.sha256()
        for chunk in entry.chunks:
            whole.update(self.chunk(chunk))
        return whole.hexdigest()


def _here(root: Rooted, path: bytes, image: Entry) -> Entry | None:
    if root.stat(path) is None:
        return None
    folder, name = root.parent(path)
    found = {path: entry_of(name, folder)}
    hash_equal(root, found, ({path: image},))
    return found[path]
