"""One process workspace on disk: its files, what is kept of it, how its shim is started, found and cleared away.

Owns the layout of ``DIR/workspaces/<id>``:

    home/           the attendee's files; how they get there is `ship_agent.files`'
    files.json      which image they are at
    workspace.json  what it was last started with, epoch and receipt (0600)
    launch.json     what the shim is to run; holds token and secrets (0600)
    shim.json       pid and mark of the shim
    exit.json       how the last run ended
    log, log.1      output, bounded by the shim
    run/, tmp/      of one run; emptied at a start

Blocking: call it in a thread. Knows nothing of tasks, locks or the agent.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from ship_agent.files.base import Brought, Content, Way
from ship_agent.runtimes import launch, shim
from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.cgroups import Cgroups, Wanted, kill_groups, remove_groups
from ship_agent.runtimes.images import TEMPORARY, remove_tree, translated
from ship_agent.runtimes.shared import variables

FILES_MAX = 8192
"""Open files of one workspace's process: far above a notebook's need, far below what starves the machine."""
SHIM_START_MAX_S = 30.0
"""How long a shim may take to say that it is there: milliseconds, but machines stall."""
SWEEP_MAX_S = 5.0
"""How long leftovers are killed and looked for again."""
SECRETS_KEPT_MAX = 256
"""Values redacted from a log that outlives them; the oldest go first."""

REASONS = frozenset({"stopped", "exited", "hook_failed", "command_missing", "oom"})
"""How a run may end, in a shim's words."""
DETAIL_CHARS_MAX = 500
"""The protocol's bound of a line."""
RECORD_BYTES_MAX = 8 * 1024 * 1024
"""Bound of a file that is read back: SECRETS_KEPT_MAX values of the protocol's longest, and some."""
PORT_MAX = 65_535
SEATS_MAX = 1024
"""The protocol's bound of seats."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_SHIM = str(Path(shim.__file__).resolve())


@dataclass(frozen=True, slots=True)
class Kept:
    """What is on disk of a workspace: ``workspace.json``.

    Args:
        run_key, seat, project, digest, port: of the specification it was last started with.
        epoch, receipt: as last started or noted.
        starts: how often it was started.
        started_at: seconds since the epoch.
        cgroups: directories of its control groups.
        secrets: values that may be in its log.
        shared: what it shares by, see `WorkspaceSpec`; None where that is not known.
    """

    run_key: str
    seat: int
    project: str
    digest: str
    port: int
    epoch: int
    starts: int
    started_at: float
    receipt: str = field(default="", repr=False)
    cgroups: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    shared: str | None = ""

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Read it; None if it is not there or damaged. A workspace's own program may have written anything there."""
        raw = _read_json(directory / "workspace.json")
        try:
            kept = cls(**{**raw, "cgroups": tuple(raw["cgroups"]), "secrets": tuple(raw["secrets"])}) if raw else None
        except (TypeError, KeyError):
            return None
        return kept if kept is not None and kept._is_sound() else None

    def _is_sound(self) -> bool:
        numbers = (self.seat, self.port, self.epoch, self.starts)
        texts = (self.run_key, self.receipt, "" if self.shared is None else self.shared, *self.cgroups, *self.secrets)
        return (
            all(type(number) is int and number >= 0 for number in numbers)
            and all(isinstance(text, str) for text in texts)
            and isinstance(self.started_at, float)
            and _DIGEST.fullmatch(str(self.digest)) is not None
            and _NAME.fullmatch(str(self.project)) is not None
            and 1 <= self.port <= PORT_MAX
            and self.seat < SEATS_MAX
        )

    def save(self, directory: Path) -> None:
        """Write it, whole or not at all. Raises RuntimeFailure."""
        with translated("the workspace's files"):
            shim.write_json(str(directory / "workspace.json"), asdict(self))


NOTHING_KEPT = Kept(
    run_key="",
    seat=0,
    project="unknown",
    digest=f"sha256:{'0' * 64}",
    port=1,
    epoch=0,
    starts=0,
    started_at=0.0,
    shared=None,
)
"""Stands for a ``workspace.json`` that a crash has damaged: files are there, and are started on or removed like any."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended: ``exit.json``. ``reason`` is ``stopped`` when it was asked to, else the code of a failure."""

    code: int
    reason: str
    detail: str


SHIM_LOST = Exit(137, "exited", "its shim was killed, or the machine went down")
"""How a run ended whose shim could not say it."""


def read_exit(directory: Path) -> Exit:
    """How the last run ended. Only what a shim would write is believed."""
    raw = _read_json(directory / "exit.json")
    if raw is None or type(raw.get("code")) is not int or raw.get("reason") not in REASONS:
        return SHIM_LOST
    return Exit(max(0, min(raw["code"], 255)), raw["reason"], str(raw.get("detail", ""))[:DETAIL_CHARS_MAX])


def live_shim(directory: Path) -> int | None:
    """The pid of the workspace's shim, if it lives and is the one that wrote ``shim.json``."""
    raw = _read_json(directory / "shim.json")
    if raw is None or type(raw.get("pid")) is not int or not isinstance(raw.get("mark"), str):
        return None
    return raw["pid"] if raw["mark"] and shim.process_mark(raw["pid"]) == raw["mark"] else None


def bring_files(directory: Path, way: Way, content: Callable[[], Content]) -> Brought:
    """Have the attendee's files: the image's the first time, afterwards merged with theirs. Raises RuntimeFailure.

    Args:
        directory: the workspace's.
        way: how its files are kept.
        content: what the image gives.
    """
    with translated("the workspace's files"):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for debris in directory.glob(f"{TEMPORARY}*"):
            remove_tree(debris)
        return way.bring_to(content())


def prepare_run(directory: Path) -> None:
    """Clear what an earlier run has left, for the next one. Raises RuntimeFailure."""
    with translated("the workspace's files"):
        for name in ("run", "tmp"):
            remove_tree(directory / name)
            (directory / name).mkdir(mode=0o700)
        for name in ("exit.json", "shim.json"):
            (directory / name).unlink(missing_ok=True)


def write_launch(
    spec: WorkspaceSpec, directory: Path, image: Path, cgroups: Cgroups, shared: Mapping[str, str], *, address: str
) -> Kept:
    """Write what the shim is to run, make the control groups, and keep what was started. Raises RuntimeFailure."""
    before = Kept.load(directory)
    command = launch.command(spec, directory / "home", address)
    if before is not None:
        remove_groups(map(Path, before.cgroups))  # counts of an earlier run go with them
    with translated("the workspace's files"):
        wanted = Wanted(spec.project.memory_bytes, spec.project.pids, spec.project.cpus)
        groups = tuple(str(group) for group in cgroups.create(spec.id, wanted))
        content: dict[str, Any] = {
            "home": str(directory / "home"),
            "command": command,
            "hooks": launch.hooks(image),
            "environment": launch.environment(spec, directory) | variables(shared),
            "cgroups": groups,
            "memory_cgroup": cgroups.memory_group(spec.id),
            "files_max": files_max(),
        }
        shim.write_json(str(directory / "launch.json"), content)
    secrets = dict.fromkeys((*(before.secrets if before else ()), *spec.secrets.values(), spec.token))
    kept = Kept(
        run_key=spec.run_key(),
        seat=spec.seat,
        project=spec.project.name,
        digest=spec.digest,
        port=spec.port,
        epoch=spec.epoch,
        receipt=spec.receipt,
        starts=(before.starts if before else 0) + 1,
        started_at=time.time(),
        cgroups=groups,
        secrets=tuple(secrets)[-SECRETS_KEPT_MAX:],
        shared=spec.shared,
    )
    kept.save(directory)
    return kept


def spawn_shim(directory: Path) -> subprocess.Popen[bytes]:
    """Start the shim in a session of its own, and wait until it is there. Raises RuntimeFailure."""
    with translated("the workspace's files"), (directory / "shim.err").open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own program, on a path of ours
            [sys.executable, "-I", "-S", _SHIM, str(directory)],
            cwd="/",
            # The marker is here too: a shim that is lost without its shim.json is found like any leftover.
            env={"PATH": launch.SYSTEM_PATH, "LANG": "C.UTF-8", launch.MARKER: str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    deadline = time.monotonic() + SHIM_START_MAX_S
    while not (directory / "shim.json").exists():
        if process.poll() is not None and not (directory / "shim.json").exists():
            raise _shim_failure(directory, process.returncode)
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeFailure("shim_failed", "the shim did not start in time; the machine is overloaded")
        time.sleep(0.005)
    return process


def _shim_failure(directory: Path, code: int) -> RuntimeFailure:
    if code == shim.LOCKED_EXIT:
        return RuntimeFailure("files_in_use", "another shim runs on these files; stop it first", retryable=True)
    with contextlib.suppress(OSError):
        said = (directory / "shim.err").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if said and "No space left" in said[-1]:
            return RuntimeFailure("disk_full", "the disk is full: free some space", retryable=True)
        if said:
            return RuntimeFailure("shim_failed", f"the shim ended at once: {said[-1][:200]}", retryable=True)
    return RuntimeFailure("shim_failed", f"the shim ended at once with exit code {code}", retryable=True)


def clear_groups(cgroups: tuple[str, ...]) -> None:
    """Remove the control groups of a workspace whose shim has ended in order; it has left nobody in them."""
    groups = [Path(group) for group in cgroups]
    kill_groups(groups)
    remove_groups(groups)


def sweep(directory: Path, cgroups: tuple[str, ...]) -> None:
    """Kill whatever is left of a workspace whose shim is gone, and remove its control groups."""
    deadline = time.monotonic() + SWEEP_MAX_S
    groups = [Path(group) for group in cgroups]
    while True:
        kill_groups(groups)
        left = leftovers(directory)
        if not left or time.monotonic() > deadline:
            break
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    remove_groups(groups)


def leftovers(directory: Path) -> list[int]:
    """Processes that bear the marker of a workspace, found in ``/proc/<pid>/environ``; with Linux only."""
    marker = f"{launch.MARKER}={directory}".encode()
    found = []
    for pid in shim.processes():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - no Path each
            if marker in file.read().split(b"\0"):
                found.append(pid)
    return found


def files_max() -> int:
    """The bound of open files that a workspace gets: FILES_MAX, or less if the machine allows no more."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            raw = json.loads(file.read(RECORD_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None
