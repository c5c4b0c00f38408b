"""What the agent does for attendees' files: which directories are kept safe elsewhere, and what is restored when.

Directories are named as the mux's file endpoint has them: a home by its workspace's id, what the workspaces of a seat
share by ``<shared>/shared/<name>``.

Rules: a home is restored while its workspace is stopped, before that is of the epoch. A shared directory is restored
before the first workspace that shares it is of an epoch, and never again: from then on it holds what is newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol
from weakref import WeakValueDictionary

from ship_agent.files.base import FilesFailure
from ship_agent.runtimes.base import RunningWorkspace, Runtime, RuntimeFailure, WorkspaceSpec
from ship_agent.snapshots.client import FilesError
from ship_agent.step import Target, View, Wanted

BEHIND_S = 5.0
"""How often it is told how old snapshots of files are, while that changes: as often as heartbeats go."""


class Files(Protocol):
    """Keeps attendees' files safe elsewhere; `ship_agent.snapshots.keeper.SnapshotKeeper` is one."""

    async def run(self, told: Callable[[], None]) -> None:
        """Take snapshots until cancelled. ``told`` is called when `saved` has become more."""

    def watch(self, directories: Mapping[str, Path], held: frozenset[str], still: frozenset[str]) -> None:
        """These directories from now on. The agent changes those of ``held``, nobody those of ``still``."""

    def saved(self) -> frozenset[str]:
        """Of those where all is still: what is in the newest snapshot as it is."""

    def behind(self) -> Mapping[str, float]:
        """Where the newest snapshot is older than the last change that was seen: by how many seconds."""

    def unkept(self) -> Mapping[str, str]:
        """What could not be sent at the last try, and why."""

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
        self._watched = False
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def watch(self, target: Target | None, view: View) -> None:
        """Have what is there now kept safe."""
        if self._files is not None and target is not None:
            self._files.watch(directories(target, view), view.busy, still(target, view))
        self._watched = target is not None

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

    def unkept(self, target: Target | None, view: View) -> dict[str, str]:
        """Why what a workspace sees could not be sent at the last try, by id."""
        troubles = self._files.unkept() if self._files is not None else {}
        if target is None or not troubles:
            return {}
        found = {}
        for identity, here in view.workspaces.items():
            names = (identity, *(name for name, _ in _shares(here, target)))
            if why := next((troubles[name] for name in names if name in troubles), ""):
                found[identity] = why
        return found

    def saved(self, target: Target | None, view: View) -> frozenset[str]:
        """Workspaces that are stopped since their attendees are leaving, and have left nothing that is not kept."""
        if target is None or not self._watched:
            return frozenset()
        named, kept = directories(target, view), self._files.saved() if self._files is not None else frozenset()
        found = set()
        for identity, wanted in target.workspaces.items():
            here = view.workspaces.get(identity)
            if wanted.wanted != "suspended" or identity in view.busy or (here is not None and here.state == "running"):
                continue
            names = {identity, *(name for name, _ in _shares(here, target))} if here is not None else set()
            if self._files is None or (names & named.keys()) <= kept:
                found.add(identity)
        return frozenset(found)

    async def tell_behind(self, report_soon: Callable[[], None]) -> None:
        """Have the mux know how old snapshots are, in case this machine is lost, and what it does not get."""
        told: tuple[Mapping[str, float], Mapping[str, str]] = {}, {}
        while self._files is not None:
            await asyncio.sleep(BEHIND_S)
            before, told = told, (self._files.behind(), self._files.unkept())
            if told != before:
                report_soon()

    async def have(self, spec: WorkspaceSpec) -> None:
        """Have the attendee's files where a workspace is about to be theirs. Raises RuntimeFailure."""
        here = (await self._runtime.inspect()).get(spec.id)
        if spec.restore and here is not None and here.home is not None and here.epoch != spec.epoch:
            await self._runtime.have_files(spec)
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
        sits = wanted is not None and wanted.wanted != "warm" and _theirs(wanted, here)
        kept = identity in target.kept and here.state != "running"
        if here.home is not None and (sits or kept):
            found[identity] = here.home
        if sits or (kept and here.shared not in running):
            found.update(_shares(here, target))
    return found


def still(target: Target, view: View) -> frozenset[str]:
    """What nobody writes to any more, since who sat there is leaving."""
    stopped: set[str] = set()
    written: set[str] = set()
    for identity, here in view.workspaces.items():
        wanted = target.workspaces.get(identity)
        leaves = wanted is not None and wanted.wanted == "suspended"
        rests = leaves and here.state != "running" and identity not in view.busy
        (stopped if rests else written).update((identity, *(name for name, _ in _shares(here, target))))
    return frozenset(stopped - written)


def _theirs(wanted: Wanted, here: RunningWorkspace) -> bool:
    """Whether a workspace holds its attendee's files, and not what it will be given.

    Whoever came to their first seat is led there at once: they may have worked, and leave, before the ship is told.
    """
    first = not (wanted.spec.restore or wanted.spec.restore_shared)
    return here.epoch == wanted.spec.epoch or (wanted.wanted == "suspended" and first)


def _shares(here: RunningWorkspace, target: Target) -> Iterator[tuple[str, Path]]:
    """What a workspace shares: of one that is wanted, what its project has now; of another one, all that is there."""
    wanted = target.workspaces.get(here.id)
    for name, directory in here.shares.items():
        if wanted is None or name in wanted.spec.project.shared:
            yield shared_name(here.shared, name), directory
