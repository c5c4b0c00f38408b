"""Which files of an attendee are too large to be kept: what their newest snapshots name and do not have.

Rules: answered from memory, since every word to an open page asks. Snapshots that came in before this start are read
once, when the page opens; one that cannot be read then names nothing until the next one comes in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from mux.core.files import shared_files
from mux.core.model import ProjectName, ProjectSpec, UserId
from mux.files.base import FilesStore, FilesStoreError, left_out_of
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
        self._read: dict[tuple[UserId, ProjectName], tuple[str, tuple[str, ...]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, user: UserId, project: ProjectSpec) -> tuple[str, ...]:
        """Names for people, of the project's files and of what it shares; hostile until escaped."""
        return tuple(
            f"{folder}{shown(path)}"[:NAME_CHARS_MAX]
            for kept_as, folder in _parts(project)
            for path in self._paths(user, kept_as)
        )

    def learn_soon(self, user: UserId, project: ProjectSpec) -> None:
        """As `learn`, while nobody waits: the store may be slow."""
        task = asyncio.create_task(self.learn(user, project), name="files that are too large to be kept")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def learn(self, user: UserId, project: ProjectSpec) -> None:
        """Have `of` know of snapshots that came in before this start."""
        for kept_as, _ in _parts(project):
            latest = self._store.latest(user, kept_as)
            if latest is None or latest.left_out is not None or self._known(user, kept_as, latest.id) is not None:
                continue
            try:
                manifest = await self._store.manifest(latest)
            except FilesStoreError:
                continue
            self._read[user, kept_as] = latest.id, left_out_of(manifest)

    def _paths(self, user: UserId, kept_as: ProjectName) -> tuple[str, ...]:
        latest = self._store.latest(user, kept_as)
        if latest is None:
            return ()
        return (latest.left_out if latest.left_out is not None else self._known(user, kept_as, latest.id)) or ()

    def _known(self, user: UserId, kept_as: ProjectName, identity: str) -> tuple[str, ...] | None:
        of, paths = self._read.get((user, kept_as), ("", ()))
        return paths if of == identity else None


def _parts(project: ProjectSpec) -> Iterator[tuple[ProjectName, str]]:
    """What the files that a project shows are kept as, and the folder in which it shows them."""
    yield project.name, ""
    for name in project.shared:
        yield shared_files(name), f"{LINK}{name}/"
