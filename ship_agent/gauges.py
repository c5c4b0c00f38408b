"""What a workspace uses, looked at from outside: memory, processes, whom it runs as, what it writes where.

For trials alone; a ship in the fleet reads none of this. Knows how each runtime's workspaces are found on the machine,
and changes nothing of them. A number that cannot be had is 0 or None, never an error: the workspace may end while it
is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import psutil
from aiodocker.exceptions import DockerError

from ship_agent.protocol.messages import Project
from ship_agent.protocol.trial import CHANGED_MAX
from ship_agent.runtimes.docker import DockerRuntime
from ship_agent.runtimes.docker_client import EngineClient
from ship_agent.runtimes.docker_spec import LABEL_ROLE, Image, image_of, read_only_root
from ship_agent.runtimes.images import ImageStore

SCRATCH = ("/tmp", "/var/tmp", "/run", "/var/run", "/dev", "/proc", "/sys")  # noqa: S108 - of the container
"""Where a container with a read-only root can write as well."""
INIT = ("/sbin/docker-init", "/usr/sbin/docker-init")
"""Where the engine puts an init that it adds."""
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
        self._image = image_of(found) if found else None
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

    async def close(self) -> None:
        """Let go of the engine."""
        await self._engine.close()

    async def _uid(self) -> int | None:
        with contextlib.suppress(*_GONE):
            container = self._engine.container(await self._container())
            said = await container.top(ps_args="-eo uid,pid")
            return min((int(row[0]) for row in said["Processes"]), default=None)
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

    A directory that is on the way to another path, or to one of these places, has changed with that alone.
    """
    kept = sorted({path for path in paths if not any(_within(path, place) for place in places)})
    below = (*kept, *places)
    leaves = [path for path in kept if not any(other != path and _within(other, path) for other in below)]
    return leaves[:CHANGED_MAX]


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
