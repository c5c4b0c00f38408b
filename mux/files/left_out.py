"""Which files of an attendee are too large to be kept, or locked: what their newest snapshots name and do not have.

Rules: answered from memory, since every word to an open page asks. Snapshots that came in before this start are read
once, when the page opens; one that cannot be read then names nothing until the next one comes in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Literal

from mux.core.files import shared_files
from mux.core.model import ProjectName, ProjectSpec, UserId
from mux.files.base import FilesStore, FilesStoreError, Snapshot, noted
from mux.files.changed import shown

NAME_CHARS_MAX = 120
LINK = "shared-"
"""First part of the name by which a project's files lead to a shared directory."""


class LeftOut:
    """See the module.

    Args:
        store: where the snapshots are.
    """

    def __init__(self, store: FilesStore) -> None:
        self._store = store
        self._read: dict[tuple[UserId, ProjectName], Snapshot] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, user: UserId, project: ProjectSpec) -> tuple[str, ...]:
        """What is too large: names for people, of the project's files and of what it shares; hostile until escaped."""
        return tuple(_names((self._latest(user, name), folder, "left_out") for name, folder in _parts(project)))

    def locked(self, user: UserId, project: ProjectSpec) -> tuple[str, ...]:
        """What is locked, likewise."""
        return tuple(_names((self._latest(user, name), folder, "locked") for name, folder in _parts(project)))

    def learn_soon(self, user: UserId, project: ProjectSpec) -> None:
        """As `learn`, while nobody waits: the store may be slow."""
        task = asyncio.create_task(self.learn(user, project), name="files that are too large to be kept")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def learn(self, user: UserId, project: ProjectSpec) -> None:
        """Have `of` know of snapshots that came in before this start."""
        for kept_as, _ in _parts(project):
            latest = self._store.latest(user, kept_as)
            if latest is None or latest.left_out is not None or self._read.get((user, kept_as)) == latest:
                continue
            try:
                manifest = await self._store.manifest(latest)
            except FilesStoreError:
                continue
            self._read[user, kept_as] = noted(latest, manifest)

    def _latest(self, user: UserId, kept_as: ProjectName) -> Snapshot | None:
        """The newest snapshot, with what it names where that is known."""
        latest = self._store.latest(user, kept_as)
        read = self._read.get((user, kept_as))
        return read if read == latest and latest is not None and latest.left_out is None else latest


def _names(found: Iterable[tuple[Snapshot | None, str, Literal["left_out", "locked"]]]) -> Iterator[str]:
    for snapshot, folder, what in found:
        if snapshot is not None:
            paths = snapshot.left_out if what == "left_out" else snapshot.locked
            yield from (f"{folder}{shown(path)}"[:NAME_CHARS_MAX] for path in paths or ())


def _parts(project: ProjectSpec) -> Iterator[tuple[ProjectName, str]]:
    """What the files that a project shows are kept as, and the folder in which it shows them."""
    yield project.name, ""
    for name in project.shared:
        yield shared_files(name), f"{LINK}{name}/"
