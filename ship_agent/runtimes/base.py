"""The runtime's protocol: what every backend does, and `tests/ship_agent/runtimes` proves of each.

A runtime holds images (by digest) and workspaces (by id). It outlives the agent: what runs goes on while no agent is
there, and `inspect` finds it again. Every call is idempotent. A workspace's files live until `remove`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ship_agent.protocol.messages import Project, RegistryLogin


class RuntimeFailure(Exception):  # noqa: N818 - "RuntimeError" is taken, and this is what reports call it
    """A runtime could not do it.

    Args:
        code: short, for machines and reports: ``image_missing``, ``image_changed``, ``hook_failed``, ``port_in_use``,
            ``disk_full``, ``exited``, ``command_missing``…
        detail: one sentence for people that says what to do next.
        retryable: whether another try may work.
    """

    def __init__(self, code: str, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class WorkspaceSpec:
    """All that a runtime needs to start a workspace.

    Args:
        id: its incarnation, safe as a file or container name.
        seat: seat index.
        project: image, command, limits, base path.
        digest: image digest to run; pulled before.
        port: port to listen on (process) or to publish (docker).
        token: secret that it demands of requests.
        secrets: further variables; never logged, redacted from log tails.
        epoch: of the assignment; 0 while warm.
        receipt: the mux's signed word for the assignment; empty while warm.
        restore: id of the snapshot that its files are to be brought to before it is of that epoch; the agent's to do.
        restore_shared: likewise of directories that it shares, by the project's names.
        ports: further ports to listen on (process) or to publish (docker), by the project's names.
        shared: workspaces with the same one share the directories that their projects name; empty for none.
    """

    id: str
    seat: int
    project: Project
    digest: str
    port: int
    token: str = field(repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    epoch: int = 0
    receipt: str = field(default="", repr=False)
    restore: str = ""
    restore_shared: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    shared: str = ""

    def run_key(self) -> str:
        """What a running workspace must be restarted for when it changes: image, port, token, secrets.

        Epoch and receipt are not in it: binding a warm workspace does not restart it unless secrets are attached.
        Command, environment, limits, further ports and what is shared are not in it either: they take effect at the
        next start, so that applying an event file never restarts under an attendee's hands.
        """
        ran = [self.digest, self.port, self.token, dict(sorted(self.secrets.items()))]
        return hashlib.sha256(json.dumps(ran, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunningWorkspace:
    """What a runtime knows of a workspace.

    Args:
        id: its incarnation.
        state: ``running`` or ``exited`` (files are there, nothing runs).
        run_key: of the specification that it was last started with.
        seat, project, digest, port, epoch: as last started or noted.
        exit_code: of the last exit; None while it runs for the first time. Killed by signal n: 128 + n.
        failure: code of the last failure (``exited``, ``hook_failed``, ``oom``…), empty if none.
        detail: one sentence for people.
        started_at: seconds since the epoch.
        starts: how often it was started.
        home: the attendee's files.
        shared: what it shares by, see `WorkspaceSpec`.
        shares: directories of ``shared`` that hold an attendee's files, by name.
        memory_kills: how many of its programs were seen to be killed for memory while it went on, in this run.
    """

    id: str
    state: Literal["running", "exited"]
    run_key: str
    seat: int
    project: str
    digest: str
    port: int
    epoch: int
    exit_code: int | None
    failure: str
    detail: str
    started_at: float
    starts: int
    home: Path | None = None
    shared: str = ""
    shares: Mapping[str, Path] = field(default_factory=dict)
    memory_kills: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in force and missing, by name: ``memory``, ``cpu``, ``pids``, ``shm``, ``files``."""

    enforced: tuple[str, ...]
    missing: tuple[str, ...]


Progress = Callable[[str], None]
"""Called with one line for people, e.g. ``pulling intro: 3 of 5 layers``."""


class Shared(Protocol):
    """What workspaces of one seat share; `ship_agent.runtimes.shared.SharedDirectories` is it.

    Blocking: call it in a thread. Calls raise :class:`RuntimeFailure`.
    """

    def vacant(self, spec: WorkspaceSpec) -> Mapping[str, Path]:
        """The directories of a workspace that hold nobody's files yet, by name; made if need be."""

    def claim(self, spec: WorkspaceSpec) -> None:
        """The directories of a workspace hold its attendee's files from now on."""


class Runtime(Protocol):
    """What every backend does. Calls raise :class:`RuntimeFailure`; none blocks the event loop."""

    name: str
    address: str
    """IPv4 address of this machine on which workspaces answer at their ports."""

    @property
    def shared(self) -> Shared:
        """What workspaces of one seat share."""

    async def open(self) -> None:
        """Find what an earlier agent left and check that the runtime works."""

    async def close(self) -> None:
        """Let go without touching what runs."""

    def limits(self) -> Limits:
        """Which limits this runtime enforces on this machine."""

    def use_logins(self, logins: Sequence[RegistryLogin]) -> None:
        """Pull with these from now on, instead of those before. Kept in memory alone."""

    async def pull(self, project: Project, digest: str, progress: Progress) -> None:
        """Have the image of that digest here, complete and verified."""

    async def images(self) -> frozenset[str]:
        """Digests that are here."""

    async def forget_image(self, digest: str) -> None:
        """Delete an image that nothing needs."""

    async def start(self, spec: WorkspaceSpec) -> None:
        """Start a workspace: fresh files from the image the first time, its own files afterwards.

        Returns when the process or container has been started, not when it is healthy.
        """

    async def note(self, spec: WorkspaceSpec) -> None:
        """Keep epoch and receipt of a running workspace on disk without restarting it."""

    async def have_files(self, spec: WorkspaceSpec) -> None:
        """Have the files of a stopped workspace where `inspect` says, as a start would: at its image, whole, and there
        even if a machine that went down has unmounted them.
        """

    async def start_over(self, spec: WorkspaceSpec, path: bytes) -> bytes | None:
        """Put the image's version of one file back, or of all (``path`` empty; the workspace is stopped then).

        Returns what is kept of the attendee's: the path of a file beside, or of a directory; None if there was nothing.
        """

    async def stop(self, workspace: str, grace_s: float) -> None:
        """Stop a workspace and everything that it started: asked, and after ``grace_s`` seconds killed. Files stay."""

    async def remove(self, workspace: str) -> None:
        """Destroy a workspace and its files. Stops it first if it runs."""

    async def inspect(self) -> Mapping[str, RunningWorkspace]:
        """Everything that is here, by workspace id."""

    async def log_tail(self, workspace: str, lines: int) -> str:
        """The last lines of its log, secrets and token replaced by ``[redacted]``, bounded in length."""

    def changes(self) -> AsyncIterator[None]:
        """Yields whenever `inspect` may have something new (an exit, an OOM kill)."""
