"""What is kept beside an attendee's directory: which image it is at, and what that image's content was.

The tree is kept whole: the image itself may be gone when the next one comes. Written whole or not at all.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from ship_agent.files.base import Content
from ship_agent.files.merge import Plan
from ship_agent.files.place import translated
from ship_agent.files.trees import Tree, from_json, to_json

RECORD_BYTES_MAX = 256 << 20
"""Bound of a record that is read: an image's entries at most, with long names."""
VERSION = 1
RECORD = "files.json"
"""Its name, beside the directory."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a directory was last brought to.

    Args:
        digest: of the image.
        tree: the content of the image, as far as later merges go (`merge.Plan.base`).
        upper: overlay only: name of the directory with what the attendee changed.
        label: what the image is called in names of files; empty in records of agents that did not note it.
    """

    digest: str
    tree: Tree = field(repr=False)
    upper: str = ""
    label: str = ""

    @classmethod
    def of(cls, content: Content, plan: Plan, upper: str = "") -> Record:
        """The record of a directory that a plan brought to some content."""
        return cls(content.digest, plan.base, upper, content.label)

    @classmethod
    def load(cls, path: Path) -> Record | None:
        """Read it; None if it is not there or damaged: then everything in the directory is the attendee's.

        Raises FilesFailure: it cannot be read now, which says nothing about what is in it.
        """
        with translated("the record of the files"):
            try:
                with path.open("rb") as file:
                    content = file.read(RECORD_BYTES_MAX)
            except FileNotFoundError:
                return None
        try:
            raw = json.loads(content)
            if raw["version"] != VERSION:
                return None
            return cls(str(raw["digest"]), from_json(raw["tree"]), str(raw["upper"]), str(raw.get("label", "")))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            return None

    def save(self, path: Path) -> None:
        """Write it. Raises OSError."""
        content = {
            "version": VERSION,
            "digest": self.digest,
            "label": self.label,
            "upper": self.upper,
            "tree": to_json(self.tree),
        }
        aside = _aside(path)
        self.clear(path)
        opened = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            block = json.dumps(content).encode()
            while block:
                block = block[os.write(opened, block) :]
            os.fsync(opened)
        except OSError:
            self.clear(path)
            raise
        finally:
            os.close(opened)
        aside.rename(path)

    @staticmethod
    def clear(path: Path) -> None:
        """Remove what a kill in the middle of `save` has left. Raises OSError."""
        _aside(path).unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".new-{path.name}")
