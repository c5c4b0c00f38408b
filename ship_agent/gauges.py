"""What a workspace uses, looked at from outside: memory, processes, whom it runs as, what it writes where.

For trials alone; a ship in the fleet reads none of this. Knows how each runtime's workspaces are found on the machine,
and changes nothing of them. A number that cannot be had is 0 or None, never an error: the workspace may end while it
is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import posixpath
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import psutil
from aiodocker.exceptions import DockerError

from ship_agent.protocol.messages import Project
from ship_agent.protocol.trial import CHANGED_MAX, LISTENING_MAX
from ship_agent.runtimes.docker import DockerRuntime
from ship_agent.runtimes.docker_client import EngineClient
from ship_agent.runtimes.docker_spec import LABEL_ROLE, read_only_root
from ship_agent.runtimes.image_config import Image, image_of
from ship_agent.runtimes.images import ImageStore

SCRATCH = ("/tmp", "/var/tmp", "/run", "/var/run", "/dev", "/proc", "/sys")  # noqa: S108 - of the container
"""Where a container with a read-only root can write as well."""
BYTECODE = "__pycache__"
INIT = ("/sbin/docker-init", "/usr/sbin/docker-init")
"""Where the engine puts an init that it adds."""
LISTENS = "0A"
"""The state of a socket that listens, in the kernel's tables."""
ENGINE_DNS = "127.0.0.11"
"""Where the engine itself listens in a container's network."""
_GONE = (DockerError, aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError)


@dataclass(frozen=True, slots=True)
class Use:
    """Bytes of memory and number of processes and threads, at one moment."""

    memory_bytes: int = 0
    processes: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """What is so of a workspace from its start on; see `ship_agent.protocol.trial.TrialStarted`."""

    image_bytes: int
    user: str | None = None
    uid: int | None = None
    read_only_root: bool = False
    says_read_only: bool = False


class Gauge(Protocol):
    """Looks at the one workspace of a ship's directory."""

    async def kind(self, project: Project, digest: str) -> Kind:
        """What is so from the start on."""

    async def use(self) -> Use:
        """What it uses now."""

    async def changed(self) -> list[str] | None:
        """Where it wrote outside home and scratch; None if that cannot be told. After `kind`."""

    async def listening(self) -> list[str]:
        """``address:port`` of what its programs listen on; empty, too, if that cannot be told."""

    async def close(self) -> None:
        """Let go."""


class ProcessGauge:
    """Of a workspace that is a tree of processes below this one.

    Args:
        directory: the ship's.
    """

    def __init__(self, directory: Path) -> None:
        self._images = ImageStore(directory / "images")

    async def kind(self, project: Project, digest: str) -> Kind:
        """The size of the copy of the image."""
        del project
        return Kind(await asyncio.to_thread(_tree_bytes, self._images.path(digest)))

    async def use(self) -> Use:
        """Proportional shares of memory, so that pages that processes share count once (proc_pid_smaps(5))."""
        return await asyncio.to_thread(_used_by_children)

    async def changed(self) -> list[str] | None:
        """A process may write wherever its user may; nobody keeps a list."""
        return None

    async def listening(self) -> list[str]:
        """As the kernel tells it of each process."""
        return await asyncio.to_thread(_listened_on_by_children)

    async def close(self) -> None:
        """There is nothing to let go."""


class DockerGauge:
    """Of a workspace that is a container.

    Args:
        runtime: the one that runs it.
        socket_path: the engine's Unix socket.
    """

    def __init__(self, runtime: DockerRuntime, socket_path: str) -> None:
        self._engine = EngineClient(socket_path, runtime.scope)
        self._image: Image | None = None

    async def kind(self, project: Project, digest: str) -> Kind:
        """Of the image as the engine knows it, and the number of the user inside."""
        found: dict[str, Any] = {}
        for reference in (f"{project.image.partition('@')[0]}@{digest}", digest):
            with contextlib.suppress(*_GONE):
                found = await self._engine.docker.images.inspect(reference)
                break
        self._image = image_of(found, project=project) if found else None
        if self._image is None:
            return Kind(0)
        return Kind(
            image_bytes=int(found.get("Size") or 0),
            user=self._image.user or "root",
            uid=await self._uid(),
            read_only_root=read_only_root(project, self._image),
            says_read_only=self._image.read_only,
        )

    async def use(self) -> Use:
        """As `docker stats`: pages of files that can be dropped at any time are not counted."""
        with contextlib.suppress(*_GONE):
            said = await self._ask("stats", {"stream": "false", "one-shot": "true"})
            memory, pids = said.get("memory_stats") or {}, said.get("pids_stats") or {}
            detail = memory.get("stats") or {}
            idle = detail.get("total_inactive_file", detail.get("inactive_file", 0))
            return Use(max(0, int(memory.get("usage", 0)) - int(idle)), int(pids.get("current", 0)))
        return Use()

    async def changed(self) -> list[str] | None:
        """By the engine's comparison with the image (``GET /containers/{id}/changes``)."""
        home = self._image.home if self._image else "/home/jovyan"
        with contextlib.suppress(*_GONE):
            entries = await self._ask("changes", {}) or []
            mounts = (await self._ask("json", {})).get("Mounts") or []
            # Where something is mounted the engine makes a file or directory, which counts as a change.
            places = (home, *SCRATCH, *INIT, *(str(mount["Destination"]) for mount in mounts))
            return written_outside((str(entry["Path"]) for entry in entries), places)
        return None

    async def listening(self) -> list[str]:
        """Of the container's network, by way of its first process (proc_pid_net(5)). On the ship's own, nothing."""
        with contextlib.suppress(*_GONE):
            found = await self._ask("json", {})
            if found["HostConfig"]["NetworkMode"] != "host":
                return await asyncio.to_thread(_listened_on_beside, int(found["State"]["Pid"]))
        return []

    async def close(self) -> None:
        """Let go of the engine."""
        await self._engine.close()

    async def _uid(self) -> int | None:
        with contextlib.suppress(*_GONE):
            container = self._engine.container(await self._container())
            said = await container.top(ps_args="-eo uid,pid")
            rows = said["Processes"] or ()  # null of a container that is ending
            return min((int(row[0]) for row in rows), default=None)
        return None

    async def _ask(self, what: str, parameters: dict[str, str]) -> Any:
        container = await self._container()
        return await self._engine.docker._query_json(f"containers/{container}/{what}", params=parameters)

    async def _container(self) -> str:
        """The id of the workspace's container. Raises KeyError."""
        for container in await self._engine.listed():
            if container["Labels"].get(LABEL_ROLE) == "workspace":
                return str(container["Id"])
        raise KeyError("container")


def written_outside(paths: Iterable[str], places: Sequence[str]) -> list[str]:
    """The deepest of changed paths that lie in none of ``places``, in order, bounded.

    A directory that is on the way to another path, or to one of these places, has changed with that alone. What Python
    keeps of compiled modules is not told: it does without where it cannot write.
    """
    kept = sorted({path for path in paths if not any(_within(path, place) for place in places)})
    below = (*kept, *places)
    leaves = [path for path in kept if not any(other != path and _within(other, path) for other in below)]
    return [path for path in leaves if BYTECODE not in path.split("/")][:CHANGED_MAX]


def listened_on(table: str) -> list[tuple[str, int]]:
    """Addresses and ports of a table of TCP sockets as the kernel shows it (proc_pid_net(5)), those that listen."""
    found = []
    for line in table.splitlines()[1:]:
        _, local, _, status, *_ = line.split()
        if status == LISTENS:
            number, _, port = local.partition(":")
            # Words of four bytes, each in the machine's order.
            words = struct.unpack(f"={len(number) // 8}I", bytes.fromhex(number))
            packed = struct.pack(f">{len(words)}I", *words)
            found.append((str(ipaddress.ip_address(packed)), int(port, 16)))
    return found


def _listened_on_beside(pid: int) -> list[str]:
    found: set[tuple[str, int]] = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            found.update(listened_on(Path(f"/proc/{pid}/net/{name}").read_text()))
    return _named(place for place in found if place[0] != ENGINE_DNS)


def _listened_on_by_children() -> list[str]:
    found: set[tuple[str, int]] = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            sockets = [each for each in child.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
            found.update((each.laddr.ip, each.laddr.port) for each in sockets)
    return _named(found)


def _named(places: Iterable[tuple[str, int]]) -> list[str]:
    return [f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address, port in sorted(places)][
        :LISTENING_MAX
    ]


def _within(path: str, place: str) -> bool:
    return posixpath.commonpath((path, place)) == place


def _used_by_children() -> Use:
    memory_bytes = processes = 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, OSError):
            memory = child.memory_full_info()
            memory_bytes += getattr(memory, "pss", memory.rss)
            processes += child.num_threads()
    return Use(memory_bytes, processes)


def _tree_bytes(root: Path) -> int:
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
