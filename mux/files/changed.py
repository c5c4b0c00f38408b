"""What an attendee changed of the files that came with an image: what can start over, from their newest snapshot.

Rules: names are an attendee's; whoever shows them escapes them.
"""

from __future__ import annotations

import asyncio
import unicodedata
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from mux.core.model import ProjectName, UserId
from mux.files.base import FilesStore, Snapshot
from ship_agent.protocol.snapshot import Manifest


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """One file of the image that is not as the image has it.

    Args:
        path: percent-encoded, as the ship knows it.
        name: for people.
        change: what the attendee did to it.
    """

    path: str
    name: str
    change: Literal["edited", "deleted"]


@dataclass(frozen=True, slots=True)
class Work:
    """An attendee's work on a project, as of the newest snapshot.

    Args:
        snapshot: which.
        files: of theirs in it, of the image or not.
        changed: those of the image, by name.
    """

    snapshot: Snapshot
    files: int
    changed: tuple[ChangedFile, ...]


async def work(store: FilesStore, user: UserId, project: ProjectName) -> Work | None:
    """What is kept of an attendee's work; None if nothing is. Raises FilesStoreError."""
    snapshot = store.latest(user, project)
    if snapshot is None:
        return None
    manifest = await store.manifest(snapshot)
    files = sum(entry.kind != "dir" and not _is_hidden(entry.path) for entry in manifest.entries)
    return Work(snapshot, files, await asyncio.to_thread(changed_files, manifest))


def changed_files(manifest: Manifest) -> tuple[ChangedFile, ...]:
    """The files of the image that were edited or deleted, by name."""
    above = {parent for path in manifest.gone for parent in _parents(path)}
    gone = [path for path in manifest.gone if path not in above]  # of a directory, what was in it
    edited = [entry.path for entry in manifest.entries if entry.of_image and entry.kind != "dir"]
    found = [ChangedFile(path, shown(path), "edited") for path in edited]
    found += [ChangedFile(path, shown(path), "deleted") for path in gone]
    return tuple(sorted(found, key=lambda each: each.path))


def shown(path: str) -> str:
    """A percent-encoded path for people: what is no text, or turns the direction of what follows, is replaced."""
    text = unquote_to_bytes(path).decode("utf-8", "replace")
    return "".join("\ufffd" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char for char in text)


def _is_hidden(path: str) -> bool:
    """Whether it is hidden, or lies in something hidden: what programs keep for themselves."""
    return any(part.startswith(".") for part in path.split("/"))


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
