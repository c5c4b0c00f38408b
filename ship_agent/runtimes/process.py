"""The runtime for machines without Docker: a workspace is a process in a session of its own, under a shim.

Owns tasks, locks and watchers; the files are `workspace`'s, the images `images`', the processes the shim's. An image is
a directory. Everything outlives this object: `open` finds and adopts what runs by pid and start time.

Rules: one operation at a time on one workspace, behind its lock; the file system is touched in threads only. Before
files are started on, whatever is left of an earlier run is killed, and the shim's own lock holds them. It is no
security boundary: workspaces run as the agent's user.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from ship_agent.files.base import Content, Way, WayName
from ship_agent.files.names import label_of
from ship_agent.files.ways import Contents, holds_files, way_of
from ship_agent.protocol.messages import Project, RegistryLogin
from ship_agent.runtimes import logs, terminals
from ship_agent.runtimes.base import Limits, Progress, RunningWorkspace, RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.cgroups import Cgroups
from ship_agent.runtimes.images import TEMPORARY, ImageStore, remove_tree, translated
from ship_agent.runtimes.ports import check_port
from ship_agent.runtimes.shared import SharedDirectories
from ship_agent.runtimes.shim import KILL_MAX_S, process_mark
from ship_agent.runtimes.tasks import finish
from ship_agent.runtimes.workspace import (
    NOTHING_KEPT,
    SHIM_LOST,
    Exit,
    Kept,
    bring_files,
    clear_groups,
    live_shim,
    prepare_run,
    read_exit,
    spawn_shim,
    sweep,
    write_launch,
)

log = structlog.get_logger(__name__)

POLL_S = 1.0
"""How often a shim is looked at where the kernel has no pidfd."""
REMOVE_GRACE_S = 2.0
"""What is destroyed has nothing to save: time enough to close files."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ALL_LIMITS = ("cpu", "files", "memory", "pids", "shm")


@dataclass
class _Held:
    """A workspace as this runtime holds it. ``pid`` is None when no shim runs; ``exit`` None while one runs."""

    directory: Path
    kept: Kept
    pid: int | None = None
    mark: str = ""
    exit: Exit | None = None
    process: subprocess.Popen[bytes] | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class ProcessRuntime:
    """Workspaces as processes of this machine.

    Args:
        directory: the ship's directory; ``images`` and ``workspaces`` are made in it.
        address: IPv4 address of this machine, of loopback, on which JupyterLab listens.
        cgroups: where control groups may be made; found out by `open` if None.
        files: how the files of new workspaces are kept.
    """

    name = "process"

    def __init__(
        self,
        directory: Path,
        *,
        address: str = "127.0.0.1",
        cgroups: Cgroups | None = None,
        files: WayName = "sync",
    ) -> None:
        self.address = address
        self._directory = directory.resolve()
        self._workspaces = self._directory / "workspaces"
        self._images = ImageStore(self._directory / "images")
        self.shared = SharedDirectories(self._directory / "shared")
        self._cgroups = cgroups
        self._files = files
        self._contents = Contents()
        self._held: dict[str, _Held] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._pulls: dict[str, asyncio.Lock] = {}

    async def open(self) -> None:
        """Find what an earlier agent left. Raises RuntimeFailure when the directory cannot be used."""
        if self._cgroups is None:
            # Two agents on one machine (as in the demo) keep their groups apart by the directory.
            prefix = f"mux-{hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:10]}"
            self._cgroups = await asyncio.to_thread(Cgroups.detect, prefix)
        for identity, held in (await asyncio.to_thread(self._find)).items():
            self._held[identity] = held
            if held.pid is not None:
                self._watch(identity, held)
                log.info("workspace adopted", workspace=identity, pid=held.pid)
        await asyncio.to_thread(self.shared.open, {name: held.kept.shared for name, held in self._held.items()})

    def _find(self) -> dict[str, _Held]:
        found: dict[str, _Held] = {}
        with translated("the workspaces"):
            self._images.open(process_mark(os.getpid()).partition(":")[0])
            self._workspaces.mkdir(parents=True, exist_ok=True, mode=0o700)
            for directory in self._workspaces.iterdir():
                kept = Kept.load(directory)
                if directory.name.startswith(TEMPORARY):
                    remove_tree(directory)
                elif not _ID.fullmatch(directory.name):
                    log.warning("neither a workspace nor ours", name=directory.name[:128])
                elif kept is None and not holds_files(directory):
                    remove_tree(directory)  # made, but never started: no file of anybody's is in it
                else:
                    found[directory.name] = _adopt(directory, kept or NOTHING_KEPT)
        return found

    async def close(self) -> None:
        """Let go without touching what runs."""
        for watcher in self._watchers.values():
            watcher.cancel()
        await asyncio.gather(*self._watchers.values(), return_exceptions=True)
        self._watchers.clear()

    def limits(self) -> Limits:
        """Which limits are in force for workspaces of this machine."""
        groups = self._cgroups.enforced if self._cgroups else ()
        enforced = tuple(sorted({*groups, "files"}))
        return Limits(enforced, tuple(name for name in ALL_LIMITS if name not in enforced))

    def use_logins(self, logins: Sequence[RegistryLogin]) -> None:
        """Images are directories here: there is no registry to log in to."""

    async def pull(self, project: Project, digest: str, progress: Progress) -> None:
        """Copy an image here and verify it."""
        async with self._pulls.setdefault(digest, asyncio.Lock()):
            progress(f"copying the image of {project.name}")
            await finish(asyncio.to_thread(self._images.pull, project, digest))

    async def images(self) -> frozenset[str]:
        """Digests that are here."""
        return await asyncio.to_thread(self._images.digests)

    async def forget_image(self, digest: str) -> None:
        """Delete an image that nothing needs."""
        await finish(asyncio.to_thread(self._images.forget, digest))

    async def start(self, spec: WorkspaceSpec) -> None:
        """Start a workspace on its files. One that runs with the same specification is left alone."""
        async with self._lock(spec.id):
            held = self._held.get(spec.id)
            if held is not None and held.pid is not None:
                if held.kept.run_key == spec.run_key():
                    return
                raise RuntimeFailure("files_in_use", "it still runs with another specification; stop it first")
            await finish(self._start(spec, held))
        self._changed.set()

    async def _start(self, spec: WorkspaceSpec, held: _Held | None) -> None:
        if self._cgroups is None:
            raise RuntimeError("open() comes first")
        image = self._images.path(spec.digest)
        if spec.digest not in await self.images():
            raise RuntimeFailure("image_missing", f"the image of {spec.project.name} is not here; pull it first")
        directory = held.directory if held else self._workspaces / spec.id
        await asyncio.to_thread(sweep, directory, held.kept.cgroups if held else ())
        for port in (spec.port, *spec.ports.values()):
            check_port(self.address, port)
        shared = await asyncio.to_thread(self._prepare, spec, directory)
        kept = await asyncio.to_thread(
            write_launch, spec, directory, image, self._cgroups, shared, address=self.address
        )
        # Until its shim runs, this start is not shown: an end that is none would be counted as a failed start. Were the
        # shim not to start, the files are still there to be found and removed.
        ended = SHIM_LOST
        try:
            process = await asyncio.to_thread(spawn_shim, directory)
            with translated("the workspace's shim"):
                mark = process_mark(process.pid)
        except BaseException as failure:
            if isinstance(failure, RuntimeFailure):
                ended = Exit(127, failure.code, failure.detail)
            self._held[spec.id] = _Held(directory, kept, exit=ended)
            raise
        held = _Held(directory, kept, pid=process.pid, mark=mark, process=process)
        self._held[spec.id] = held
        self._watch(spec.id, held)

    def _content(self, spec: WorkspaceSpec) -> Content:
        label = label_of(spec.project.image, spec.digest)
        return self._contents.get(self._images.path(spec.digest) / "home", spec.digest, label)

    def _prepare(self, spec: WorkspaceSpec, directory: Path) -> dict[str, str]:
        """Have its files and what it shares; where that is, by name."""
        self._bring_files(spec, directory)
        prepare_run(directory)
        return self.shared.give(spec, directory / "home")

    def _bring_files(self, spec: WorkspaceSpec, directory: Path) -> None:
        brought = bring_files(directory, way_of(directory, self._files), lambda: self._content(spec))
        if brought.besides:
            log.info("files changed by both, the image's put beside", workspace=spec.id, files=len(brought.besides))

    async def note(self, spec: WorkspaceSpec) -> None:
        """Keep epoch and receipt on disk without a restart."""
        async with self._lock(spec.id):
            held = self._held.get(spec.id)
            if held is None:
                raise RuntimeFailure("workspace_missing", "there is no such workspace; start it first")
            kept = replace(held.kept, epoch=spec.epoch, receipt=spec.receipt)
            await finish(asyncio.to_thread(kept.save, held.directory))
            held.kept = kept
        self._changed.set()

    async def have_files(self, spec: WorkspaceSpec) -> None:
        """Have the files of a stopped workspace, at its image and mounted."""
        async with self._lock(spec.id):
            await finish(asyncio.to_thread(self._bring_files, spec, self._resting(spec).directory))

    async def start_over(self, spec: WorkspaceSpec, path: bytes) -> bytes | None:
        """Put the image's version of one file back, or of all."""
        async with self._lock(spec.id):
            held = self._resting(spec, may_run=bool(path))
            return await finish(asyncio.to_thread(self._start_over, spec, held.directory, path))

    def _resting(self, spec: WorkspaceSpec, *, may_run: bool = False) -> _Held:
        held = self._held.get(spec.id)
        if held is None or (held.pid is not None and not may_run):
            raise RuntimeFailure("files_in_use", "it runs, or was never started")
        return held

    def _start_over(self, spec: WorkspaceSpec, directory: Path, path: bytes) -> bytes | None:
        way = way_of(directory, self._files)
        with translated("the attendee's files"):
            content = self._content(spec)
            return way.start_over(path, content) if path else way.reset(content)

    async def stop(self, workspace: str, grace_s: float) -> None:
        """Stop a workspace and everything that it started. Files stay."""
        async with self._lock(workspace):
            held = self._held.get(workspace)
            if held is not None:
                await finish(self._stop(held, grace_s))
        self._changed.set()

    async def _stop(self, held: _Held, grace_s: float) -> None:
        """Asked; after the grace asked again, which kills; at last the shim is killed, and what it had swept up."""
        if held.pid is not None:
            await terminals.hang_up(held.pid, grace_s)
        for number, patience_s in (
            (signal.SIGTERM, grace_s),
            (signal.SIGTERM, KILL_MAX_S + 2.0),
            (signal.SIGKILL, KILL_MAX_S),
        ):
            if held.pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(held.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await held.gone.wait()
        if held.pid is not None:
            raise RuntimeFailure("not_stopped", "its processes hang in the kernel and cannot be killed", retryable=True)
        await asyncio.to_thread(clear_groups, held.kept.cgroups)
        # Whatever its shim had to say of the end: it was asked for, so it is no failure.
        held.exit = replace(held.exit or SHIM_LOST, reason="stopped")

    async def remove(self, workspace: str) -> None:
        """Destroy a workspace and its files."""
        async with self._lock(workspace):
            held = self._held.get(workspace)
            if held is not None:
                await finish(self._remove(workspace, held))
        self._locks.pop(workspace, None)
        self._changed.set()

    async def _remove(self, workspace: str, held: _Held) -> None:
        await self._stop(held, REMOVE_GRACE_S)
        await asyncio.to_thread(_delete, held.directory, way_of(held.directory, self._files))
        await asyncio.to_thread(self.shared.release, workspace)
        del self._held[workspace]

    async def inspect(self) -> Mapping[str, RunningWorkspace]:
        """Everything that is here."""
        return {
            identity: _running(identity, held, self.shared.bound(held.kept.shared))
            for identity, held in self._held.items()
        }

    async def log_tail(self, workspace: str, lines: int) -> str:
        """The last lines of a workspace's log, redacted; empty if there is none."""
        held = self._held.get(workspace)
        if held is None:
            return ""
        return await asyncio.to_thread(
            lambda: logs.tail(logs.read_end(held.directory / "log"), lines, held.kept.secrets)
        )

    async def changes(self) -> AsyncIterator[None]:
        """Yields after exits, starts, stops and removals; several at once make one."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield

    def _lock(self, workspace: str) -> asyncio.Lock:
        return self._locks.setdefault(workspace, asyncio.Lock())

    def _watch(self, workspace: str, held: _Held) -> None:
        task = asyncio.create_task(self._watch_shim(workspace, held), name=f"shim of {workspace}")
        self._watchers[workspace] = task

    async def _watch_shim(self, workspace: str, held: _Held) -> None:
        """Wait for the end of a shim, clear what it could not, and say that something changed."""
        if held.pid is None:
            return
        await _ended(held.pid, held.mark)
        if held.process is not None:
            held.process.poll()  # it is our child: collect it
        ended = await asyncio.to_thread(read_exit, held.directory)
        if ended == SHIM_LOST:
            # Its workspace may still run, and listen on its port, with nobody there to stop it.
            await asyncio.to_thread(sweep, held.directory, held.kept.cgroups)
        held.pid, held.exit = None, ended
        self._watchers.pop(workspace, None)
        log.info("workspace ended", workspace=workspace, code=ended.code, reason=ended.reason)
        held.gone.set()
        self._changed.set()


def _adopt(directory: Path, kept: Kept) -> _Held:
    pid = live_shim(directory)
    if pid is not None:
        return _Held(directory, kept, pid=pid, mark=process_mark(pid))
    ended = read_exit(directory)
    if ended == SHIM_LOST:
        sweep(directory, kept.cgroups)
    return _Held(directory, kept, exit=ended)


async def _ended(pid: int, mark: str) -> None:
    """Returns when a process has ended: by pidfd_open(2), or by looking every POLL_S seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        while _lives(pid, mark):  # noqa: ASYNC110 - nobody tells us: that is why it is polled
            await asyncio.sleep(POLL_S)
        return
    try:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            # Looked at after the pidfd is there: before, the pid may have gone to somebody else.
            if _lives(pid, mark):
                await ended.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def _lives(pid: int, mark: str) -> bool:
    """Whether a process is still there. One that cannot be looked at now counts as alive: it is not swept up."""
    try:
        return bool(mark) and process_mark(pid) == mark
    except OSError:
        return True


def _delete(directory: Path, way: Way) -> None:
    """Delete a workspace's files; it is gone with the rename, whatever happens afterwards."""
    with translated("the workspace's files"):
        way.release()
        debris = directory.with_name(f"{TEMPORARY}{directory.name}")
        remove_tree(debris)
        with contextlib.suppress(FileNotFoundError):
            directory.rename(debris)
        remove_tree(debris)


def _running(identity: str, held: _Held, shares: Mapping[str, Path]) -> RunningWorkspace:
    ended = held.exit
    failed = ended is not None and ended.reason != "stopped"
    return RunningWorkspace(
        id=identity,
        state="exited" if held.pid is None else "running",
        run_key=held.kept.run_key,
        seat=held.kept.seat,
        project=held.kept.project,
        digest=held.kept.digest,
        port=held.kept.port,
        epoch=held.kept.epoch,
        exit_code=ended.code if ended else None,
        failure=ended.reason if ended and failed else "",
        detail=ended.detail if ended and failed else "",
        started_at=held.kept.started_at,
        starts=held.kept.starts,
        home=held.directory / "home",
        shared=held.kept.shared or "",
        shares=shares,
    )
