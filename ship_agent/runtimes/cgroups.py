"""Control groups for process workspaces: memory, pids and cpu, where this machine lets the agent make them.

Finds out at start what is possible, by trying it. Groups are made only where that takes nothing from whoever manages
this machine's groups (see cgroups(7)): with v2 below the nearest ancestor that hands controllers down and that the
agent may write; with v1, which knows no delegation, only at the top of what the agent sees, and only if nobody has put
the agent itself into a group. Elsewhere nothing is enforced, and `enforced` says so.

Knows nothing of shims or images. Blocking, but only small reads and writes of a kernel file system.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS = ("memory", "pids", "cpu")
PERIOD_US = 100_000
"""The scheduler's period for the cpu limit: the kernel's default."""
QUOTA_US_MIN = 1_000
"""The smallest quota that the kernel takes."""
EMPTY_MAX_S = 2.0
"""How long a group is waited for to become empty after its processes were killed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a workspace may use: bytes, processes and threads, cores."""

    memory_bytes: int
    pids: int
    cpus: float


class Cgroups:
    """The groups of one agent's workspaces.

    Args:
        parents: where a controller's groups are made, by controller; several may share one (v2).
        prefix: first part of the groups' names, telling this agent's from another's.
        version: 1 or 2.
    """

    def __init__(self, parents: dict[str, Path], prefix: str, version: int) -> None:
        self._parents = parents
        self._prefix = prefix
        self._version = version

    @classmethod
    def detect(cls, prefix: str, *, proc: Path = Path("/proc/self"), wanted: tuple[str, ...] = CONTROLLERS) -> Cgroups:
        """Find the controllers that work here, by making a group and setting its limits."""
        found = cls({}, prefix, 2)
        for version, parents in _candidates(proc):
            usable = {name: parent for name, parent in parents.items() if name in wanted}
            trial = cls(usable, prefix, version)
            works = {name: parent for name, parent in usable.items() if trial._try(name)}
            if len(works) > len(found._parents):
                found = cls(works, prefix, version)
        return found

    @property
    def enforced(self) -> tuple[str, ...]:
        """The controllers that work here."""
        return tuple(sorted(self._parents))

    def _groups(self, workspace: str) -> list[Path]:
        return list(dict.fromkeys(parent / f"{self._prefix}-{workspace}" for parent in self._parents.values()))

    def memory_group(self, workspace: str) -> str:
        """Where the kernel counts out-of-memory kills of a workspace; empty if memory is not limited here."""
        parent = self._parents.get("memory")
        return str(parent / f"{self._prefix}-{workspace}") if parent else ""

    def create(self, workspace: str, wanted: Wanted) -> list[Path]:
        """Make a workspace's groups, each once, with its limits. Raises OSError."""
        groups = self._groups(workspace)
        for group in groups:
            group.mkdir(exist_ok=True)
        for name, parent in self._parents.items():
            self._limit(name, parent / f"{self._prefix}-{workspace}", wanted)
        return groups

    def _try(self, name: str) -> bool:
        """Whether a controller works here: a group can be made, limited, and removed."""
        trial = Cgroups({name: self._parents[name]}, f"{self._prefix}-try{os.getpid()}", self._version)
        try:
            trial.create(name, Wanted(memory_bytes=1 << 30, pids=512, cpus=1.0))
        except OSError:
            return False
        finally:
            remove_groups(trial._groups(name))
        return os.access(self._parents[name] / "cgroup.procs", os.W_OK)

    def _limit(self, name: str, group: Path, wanted: Wanted) -> None:
        quota = max(QUOTA_US_MIN, int(wanted.cpus * PERIOD_US))
        if name == "pids":
            _write(group / "pids.max", wanted.pids)
        elif name == "memory" and self._version == 2:
            _write(group / "memory.max", wanted.memory_bytes)
            if (group / "memory.swap.max").exists():
                _write(group / "memory.swap.max", 0)
        elif name == "memory":
            _write(group / "memory.limit_in_bytes", wanted.memory_bytes)
        elif self._version == 2:
            _write(group / "cpu.max", f"{quota} {PERIOD_US}")
        else:
            _write(group / "cpu.cfs_period_us", PERIOD_US)
            _write(group / "cpu.cfs_quota_us", quota)


def kill_groups(groups: Iterable[Path]) -> None:
    """Kill every process that is in these groups."""
    for group in groups:
        for pid in _processes(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def remove_groups(groups: Iterable[Path]) -> None:
    """Remove groups once they are empty. One that is gone is fine."""
    deadline = time.monotonic() + EMPTY_MAX_S
    for group in groups:
        while group.is_dir():
            try:
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)  # the kernel takes a moment to let go of what was killed


def _write(path: Path, value: int | str) -> None:
    path.write_text(str(value), encoding="ascii")


def _processes(group: Path) -> list[int]:
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []


def _candidates(proc: Path) -> list[tuple[int, dict[str, Path]]]:
    """Where groups could be made: for v2 the nearest ancestor that hands controllers down, for v1 the top."""
    try:
        own = [line.split(":", 2) for line in (proc / "cgroup").read_text(encoding="utf-8").splitlines()]
        mounts = _mounts((proc / "mountinfo").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    second: dict[str, Path] = {}
    first: dict[str, Path] = {}
    for _, controllers, path in own:
        if not controllers and "" in mounts:
            second = _handed_down(mounts[""], mounts[""] / path.lstrip("/"))
        for name in controllers.split(","):
            if name not in CONTROLLERS or name not in mounts:
                continue
            # In a container the path may be the host's, while the mount shows the container's group as its top.
            if path == "/" or not (mounts[name] / path.lstrip("/")).is_dir():
                first[name] = mounts[name]
    return [(2, second), (1, first)]


def _handed_down(root: Path, own: Path) -> dict[str, Path]:
    """v2: a group with processes hands nothing down ("no internal processes"), so its groups stand beside it."""
    group = own if own.is_dir() else root
    while group == root or root in group.parents:
        try:
            names = (group / "cgroup.subtree_control").read_text(encoding="ascii").split()
        except OSError:
            names = []
        given = [name for name in names if name in CONTROLLERS]
        if given and os.access(group, os.W_OK):
            return dict.fromkeys(given, group)
        group = group.parent
    return {}


def _mounts(mountinfo: str) -> dict[str, Path]:
    """Mount points of cgroup file systems, by controller; v2 under the empty name. See proc(5)."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        point = Path(before.split(" ")[4])
        if kind == "cgroup2":
            found.setdefault("", point)
        elif kind == "cgroup":
            for option in options.split(","):
                if option in CONTROLLERS:
                    found.setdefault(option, point)
    return found
