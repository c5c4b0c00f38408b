"""One container workspace on disk: its files and what is kept of it.

Owns the layout of ``DIR/containers/<id>``:

    home/           the attendee's files, mounted into the container; how they get there is `ship_agent.files`'
    files.json      which image they are at
    workspace.json  what it was last started with, epoch and receipt, how it ended (0600)
    log             end of the output of a run whose container is gone

Blocking: call it in a thread. Knows nothing of the engine.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import structlog

from ship_agent.files.ways import holds_files
from ship_agent.runtimes.base import RunningWorkspace, RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.images import TEMPORARY, remove_tree, translated
from ship_agent.runtimes.shim import write_json

log = structlog.get_logger(__name__)

RECORD_BYTES_MAX = 8 << 20
"""Bound of ``workspace.json``: SECRETS_KEPT_MAX values of the protocol's longest, and some."""
SECRETS_KEPT_MAX = 256
"""Values redacted from a log that outlives them; the oldest go first."""
LOG_BYTES_MAX = 256 * 1024
"""Of a log that is kept after its container: sixteen times what is shown."""
MEMORY_KILL_FRESH_S = 5.0
"""Between the word that a process was killed for memory and the end of the container that follows from it."""
OUTLIVED_S = 1.0
"""A container that still runs so long after that word goes on."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Record:
    """What is on disk of a workspace.

    Args:
        run_key, seat, project, digest, port: of the specification that it was last started with.
        epoch, receipt: as last started or noted.
        starts: how often it was started.
        started_at: seconds since the epoch.
        began: the engine's own word for when this run began; empty until it is known.
        address: its address in the seat's network; empty in the ship's own.
        egress: its rules: ``open``, ``none``, or destinations as networks with ports.
        program: first word of its command; empty for the image's own.
        exit_code: of the last end; None while it runs for the first time.
        failure, detail: why the last run ended; empty if it was asked to.
        ended: whether its last run has ended.
        secrets: values that may be in its log.
        shared: what it shares by, see `WorkspaceSpec`; None where that is not known.
        home: where in its container its files are; empty where that is not known, as of an older agent.
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
    began: str = ""
    address: str = ""
    egress: tuple[str, ...] = ()
    program: str = ""
    exit_code: int | None = None
    failure: str = ""
    detail: str = ""
    ended: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)
    shared: str | None = ""
    home: str = ""

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Read it; None if it is not there or damaged."""
        try:
            with (directory / "workspace.json").open("rb") as file:
                raw = json.loads(file.read(RECORD_BYTES_MAX))
            return cls(**{**raw, "secrets": tuple(raw["secrets"]), "egress": tuple(raw["egress"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self, directory: Path) -> None:
        """Write it, whole or not at all. Raises RuntimeFailure."""
        with translated("the workspace's files"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(str(directory / "workspace.json"), asdict(self))


NOTHING_KEPT = Record(
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


@dataclass
class Held:
    """A workspace as the runtime holds it.

    ``container`` is None when there is none; ``bad_hook``: a hook that was seen to fail while the container went on;
    ``memory_kills``: how often the engine told of a process of the container that was killed for memory, in this run;
    ``memory_killed_at``: when it did last, by the monotonic clock; ``outlived_before``: those of them that it had
    outlived by then; ``shared``: what it shares.
    """

    directory: Path
    record: Record
    container: str | None = None
    running: bool = False
    bad_hook: str = ""
    memory_kills: int = 0
    memory_killed_at: float = -math.inf
    outlived_before: int = 0
    shared: Mapping[str, str] = field(default_factory=dict)

    def lost_to_memory(self) -> None:
        """The engine says that a process of the container was killed for memory: the main one, or a kernel."""
        self.outlived_before = self.memory_kills_outlived()
        self.memory_kills += 1
        self.memory_killed_at = time.monotonic()

    def memory_kills_outlived(self) -> int:
        """How many such processes were not the main one: the engine tells of both in the same words, before it tells
        that the container has ended."""
        if not self.running:
            return 0
        settled = time.monotonic() - self.memory_killed_at >= OUTLIVED_S
        return self.memory_kills if settled else self.outlived_before

    def just_lost_to_memory(self) -> bool:
        """Whether it said so a moment ago. A kernel that was lost an hour ago says nothing of an end now."""
        return time.monotonic() - self.memory_killed_at < MEMORY_KILL_FRESH_S


def starting(spec: WorkspaceSpec, last: Record | None, egress: tuple[str, ...], program: str, home: str) -> Record:
    """What is kept of a start that is about to be made.

    Should the agent be killed now, it reads as an end that was asked for: it is no word on the workspace or its image.
    """
    secrets = dict.fromkeys((*(last.secrets if last else ()), *spec.secrets.values(), spec.token))
    return Record(
        run_key=spec.run_key(),
        seat=spec.seat,
        project=spec.project.name,
        digest=spec.digest,
        port=spec.port,
        epoch=spec.epoch,
        receipt=spec.receipt,
        starts=(last.starts if last else 0) + 1,
        started_at=time.time(),
        egress=egress,
        program=program,
        exit_code=last.exit_code if last else None,
        ended=True,
        secrets=tuple(secrets)[-SECRETS_KEPT_MAX:],
        shared=spec.shared,
        home=home,
    )


def resting(held: Held | None, *, may_run: bool = False) -> Held:
    """A workspace whose files may be changed now. Raises RuntimeFailure."""
    if held is None or (held.running and not may_run):
        raise RuntimeFailure("files_in_use", "it runs, or was never started")
    return held


def kept_home(held: Held | None, digest: str) -> str:
    """Where a workspace that was begun on an image goes on having its files; empty if nothing says so."""
    return held.record.home if held is not None and held.record.digest == digest else ""


def mounted_at(container: Mapping[str, Any], held: Held) -> str:
    """Where a container has its workspace's files, as the engine lists it; empty if nowhere."""
    home = str(held.directory / "home")
    mounts = container.get("Mounts") or ()
    return next((str(mount.get("Destination", "")) for mount in mounts if mount.get("Source") == home), "")


def runs_since(record: Record, began: str) -> Record:
    """What is kept of a workspace that is seen to run, since then in the engine's own words."""
    if record.began and record.began != began:
        # Somebody else started it again: another run on the same files.
        record = replace(record, starts=record.starts + 1, started_at=time.time())
    if record.began != began or record.ended:
        record = replace(record, began=began, ended=False, failure="", detail="")
    return record


def shown(identity: str, held: Held, shares: Mapping[str, Path]) -> RunningWorkspace:
    """A workspace as the runtime's protocol has it."""
    record, running = held.record, held.running
    return RunningWorkspace(
        id=identity,
        state="running" if running else "exited",
        run_key=record.run_key,
        seat=record.seat,
        project=record.project,
        digest=record.digest,
        port=record.port,
        epoch=record.epoch,
        exit_code=record.exit_code,
        failure=record.failure if not running else "",
        detail=record.detail if not running else "",
        started_at=record.started_at,
        starts=record.starts,
        home=held.directory / "home",
        shared=record.shared or "",
        shares=shares,
        memory_kills=held.memory_kills_outlived(),
    )


def find(root: Path) -> dict[str, Record]:
    """Every workspace on disk; what never got files is cleared. Raises RuntimeFailure."""
    found: dict[str, Record] = {}
    with translated("the workspaces"):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for directory in root.iterdir():
            record = Record.load(directory)
            never_started = record is None and not holds_files(directory)
            if not _ID.fullmatch(directory.name) and not directory.name.startswith(TEMPORARY):
                log.warning("neither a workspace nor ours", name=directory.name[:128])
            elif never_started or directory.name.startswith(TEMPORARY):
                remove_tree(directory)  # made, but never started: no file of anybody's is in it
            else:
                found[directory.name] = record or NOTHING_KEPT
    return found


def delete(directory: Path) -> None:
    """Delete a workspace's files; it is gone with the rename, whatever happens afterwards."""
    with translated("the workspace's files"):
        debris = directory.with_name(f"{TEMPORARY}{directory.name}")
        remove_tree(debris)
        with contextlib.suppress(FileNotFoundError):
            directory.rename(debris)
        remove_tree(debris)


def save_log(directory: Path, text: str) -> None:
    """Keep the end of a log. One that cannot be kept is no reason to stop."""
    with contextlib.suppress(OSError):
        path = directory / "log"
        path.touch(mode=0o600)
        path.write_bytes(text.encode("utf-8", "replace")[-LOG_BYTES_MAX:])


def read_log(directory: Path) -> str:
    """The log that was kept; empty if there is none."""
    try:
        with (directory / "log").open("rb") as file:
            return file.read(LOG_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""
