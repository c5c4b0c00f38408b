"""What the agent does for attendees' files: which directories are kept safe elsewhere, and what is restored when.

Directories are named as the mux's file endpoint has them: a home by its workspace's id, what the workspaces of a seat
share by ``<shared>/shared/<name>``.

Rules: a home is restored while its workspace is stopped, before that is of the epoch. A shared directory is restored
before the first workspace that shares it is of an epoch, and never again: from then on it holds what is newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from ship_agent.files.base import FilesFailure
from ship_agent.runtimes.base import RunningWorkspace, Runtime, RuntimeFailure, WorkspaceSpec
from ship_agent.snapshots.client import FilesError
from ship_agent.step import Target, View


class Files(Protocol):
    """Keeps attendees' files safe elsewhere; `ship_agent.snapshots.keeper.SnapshotKeeper` is one."""

    async def run(self) -> None:
        """Take snapshots until cancelled."""

    def watch(self, directories: Mapping[str, Path], held: frozenset[str]) -> None:
        """These directories from now on; those of ``held`` are being changed by the agent."""

    def behind(self) -> Mapping[str, float]:
        """Where the newest snapshot is older than the last change that was seen: by how many seconds."""

    async def restore(self, name: str, directory: Path, snapshot: str) -> None:
        """Have a snapshot's files in a directory. Raises FilesFailure or FilesError."""


class Keeping:
    """Attendees' files on one ship.

    Args:
        runtime: whose workspaces they are in.
        files: keeps them safe; None for nobody, and then nothing is restored either.
    """

    def __init__(self, runtime: Runtime, files: Files | None) -> None:
        self._runtime = runtime
        self._files = files
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def watch(self, target: Target | None, view: View) -> None:
        """Have what is there now kept safe."""
        if self._files is not None and target is not None:
            self._files.watch(directories(target, view), view.busy)

    def behind(self, target: Target | None, view: View) -> dict[str, float]:
        """By how many seconds the newest snapshot of what a workspace sees is older than its last change, by id."""
        if self._files is None or target is None:
            return {}
        ages = self._files.behind()
        found = {}
        for identity, here in view.workspaces.items():
            names = (identity, *(name for name, _ in _shares(here, target)))
            if age := max(ages.get(name, 0.0) for name in names):
                found[identity] = age
        return found

    async def have(self, spec: WorkspaceSpec) -> None:
        """Have the attendee's files where a workspace is about to be theirs. Raises RuntimeFailure."""
        here = (await self._runtime.inspect()).get(spec.id)
        if spec.restore and here is not None and here.home is not None and here.epoch != spec.epoch:
            await self._restore(spec.id, here.home, spec.restore)
        if spec.epoch and spec.project.shared:
            await self._have_shared(spec)

    async def _have_shared(self, spec: WorkspaceSpec) -> None:
        """One workspace of a seat after the other: the second finds that the first has it."""
        turn = self._turns.setdefault(spec.shared, asyncio.Lock())
        async with turn:
            vacant = await asyncio.to_thread(self._runtime.shared.vacant, spec)
            for name, directory in vacant.items():
                if snapshot := spec.restore_shared.get(name):
                    await self._restore(shared_name(spec.shared, name), directory, snapshot)
            await asyncio.to_thread(self._runtime.shared.claim, spec)

    async def _restore(self, name: str, directory: Path, snapshot: str) -> None:
        if self._files is None:
            return
        try:
            await self._files.restore(name, directory, snapshot)
        except FilesFailure as failure:
            raise RuntimeFailure(failure.code, failure.detail, retryable=failure.retryable) from failure
        except FilesError as error:
            raise RuntimeFailure("restore_failed", f"the files cannot be had: {error}", retryable=True) from error


def shared_name(shared: str, name: str) -> str:
    """What a directory is called that the workspaces of a seat share.

    Args:
        shared: what they share by.
        name: of the directory, as projects have it.
    """
    return f"{shared}/shared/{name}"


def directories(target: Target, view: View) -> dict[str, Path]:
    """The files of whoever sits here, and of those who were moved away, by name."""
    found: dict[str, Path] = {}
    running = {here.shared for here in view.workspaces.values() if here.state == "running"}
    for identity, here in view.workspaces.items():
        wanted = target.workspaces.get(identity)
        sits = wanted is not None and wanted.wanted != "warm" and here.epoch == wanted.spec.epoch
        kept = identity in target.kept and here.state != "running"
        if here.home is not None and (sits or kept):
            found[identity] = here.home
        if sits or (kept and here.shared not in running):
            found.update(_shares(here, target))
    return found


def _shares(here: RunningWorkspace, target: Target) -> Iterator[tuple[str, Path]]:
    """What a workspace shares: of one that is wanted, what its project has now; of another one, all that is there."""
    wanted = target.workspaces.get(here.id)
    for name, directory in here.shares.items():
        if wanted is None or name in wanted.spec.project.shared:
            yield shared_name(here.shared, name), directory
