"""The Docker engine, as far as the runtime needs it: calls that can be repeated, logs, seeds.

Owns the client and its connections. Knows nothing of workspaces' states.

Rules: what is to be deleted and is not there is fine. Nothing made here on the way to something else outlives the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.volumes import DockerVolume

from ship_agent.runtimes import docker_spec, terminals
from ship_agent.runtimes.base import Limits, RuntimeFailure
from ship_agent.runtimes.docker_errors import is_missing, translated
from ship_agent.runtimes.docker_logs import failed_hook, hooks_are_done
from ship_agent.runtimes.docker_spec import LABEL_ROLE, LABEL_SCOPE
from ship_agent.runtimes.image_config import Image

CALL_MAX_S = 60.0
"""How long one ordinary call of the engine may take; creating a container takes a tenth of a second."""
START_LOG_BYTES = 4 << 20
"""How much of a starting container's log is read for hooks that fail."""
START_LOG_S = 120.0
"""For how long."""
AFTER_HOOKS_S = 2.0
"""And for how long after the start says that it is past its hooks."""
OOM_TOLD_S = 0.5
"""How long after a kill the engine may still say that it was for memory."""
OOM_LOOK_S = 0.05
LINE_BYTES_MAX = 64 * 1024
"""What is kept of a line that has no end yet."""
ALL_LIMITS = ("cpu", "files", "memory", "pids", "shm")
INFO_OF_LIMITS = {"cpu": "CpuCfsQuota", "memory": "MemoryLimit", "pids": "PidsLimit"}
"""Limits that depend on the kernel, and what the engine calls them (``GET /info``)."""


def store_of(info: Mapping[str, Any]) -> Path:
    """Where the engine keeps images (``GET /info``). An engine elsewhere has no such path here."""
    return Path(str(info.get("DockerRootDir") or "/nowhere"))


def limits_of(info: Mapping[str, Any]) -> Limits:
    """Which limits are in force for containers, by what the engine says of itself; without ``info`` none that the
    kernel must keep.
    """
    missing = {name for name, key in INFO_OF_LIMITS.items() if not info.get(key)}
    return Limits(
        tuple(name for name in ALL_LIMITS if name not in missing),
        tuple(name for name in ALL_LIMITS if name in missing),
    )


class EngineClient:
    """One engine, and what is this ship's in it.

    Args:
        socket: the engine's Unix socket.
        scope: marks what belongs to this ship.
    """

    def __init__(self, socket: str, scope: str) -> None:
        # No bound of connections: streams hold one each, and a pull must not make a stop wait.
        self._connector = aiohttp.UnixConnector(socket, limit=0)
        self._scope = scope
        self._seeding: set[str] = set()
        self.docker = aiodocker.Docker(
            url="unix://localhost",  # for composing addresses; the connector knows the socket
            connector=self._connector,
            timeout=aiohttp.ClientTimeout(total=CALL_MAX_S),
        )

    async def close(self) -> None:
        """Let go of it."""
        await self.docker.close()
        await self._connector.close()

    async def info(self) -> Mapping[str, Any]:
        """What the engine says of itself. Raises RuntimeFailure when it cannot run workspaces."""
        with translated("the Docker engine"):
            info: Mapping[str, Any] = await self.docker.system.info()
        if info.get("OSType") != "linux":
            raise RuntimeFailure("engine_failed", "the Docker engine runs no Linux containers; use one that does")
        return info

    def container(self, name: str) -> DockerContainer:
        """A container by id or name, whether it is there or not."""
        return self.docker.containers.container(name)

    async def state_of(self, name: str | None) -> Mapping[str, Any] | None:
        """What the engine says of a container; None if there is none. Raises DockerError."""
        try:
            return (await self.container(name).show())["State"] if name is not None else None
        except DockerError as error:
            if not is_missing(error):
                raise
            return None

    async def create(self, configuration: Mapping[str, Any], name: str) -> DockerContainer:
        """Make a container. Raises DockerError."""
        return await self.docker.containers.create(dict(configuration), name=name)

    async def listed(self) -> list[dict[str, Any]]:
        """This ship's containers, whether they run or not. Raises DockerError."""
        found = await self.docker.containers.list(all=True, filters={"label": [f"{LABEL_SCOPE}={self._scope}"]})
        return [container._container for container in found]

    async def hang_up(self, name: str, grace_s: float) -> None:
        """Hang up a container's terminals before it is stopped, where its processes can be seen. Raises DockerError."""
        found = await self.container(name).show()
        first = int(found["State"].get("Pid") or 0)
        # An engine that runs elsewhere counts other processes than this machine's.
        if first and await asyncio.to_thread(_is_of, first, str(found["Id"])):
            await terminals.hang_up(first, grace_s)

    async def delete_container(self, name: str) -> None:
        """Kill and delete a container, with its anonymous volumes: an image may declare some. Raises DockerError."""
        try:
            await self.container(name).delete(force=True, v=True)
        except DockerError as error:
            if not is_missing(error):
                raise

    async def delete_volume(self, name: str) -> None:
        """Delete a volume. Raises DockerError."""
        try:
            await DockerVolume(self.docker, name).delete()
        except DockerError as error:
            if not is_missing(error):
                raise

    async def clear_seeds(self) -> None:
        """Delete what a kill in the middle of a seed has left, of the agent or of the engine. Raises RuntimeFailure."""
        with translated("what a seed has left"):
            for container in await self.listed():
                under_way = {f"/{name}" for name in self._seeding} & {*(container["Names"] or ())}
                if container["Labels"].get(LABEL_ROLE) == "seed" and not under_way:
                    await self.delete_container(container["Id"])
            volumes = await self.docker.volumes.list(filters={"label": [f"{LABEL_SCOPE}={self._scope}"]})
            for volume in volumes.get("Volumes") or ():
                if volume["Name"] not in self._seeding:
                    await self.delete_volume(volume["Name"])

    async def seed(self, what: str, directory: Path, image: Image) -> None:
        """Copy an image's content into an empty directory, with owners and modes. Raises RuntimeFailure.

        The engine does so when a container is created on a new volume; the volume is the directory. ``what`` tells two
        at once apart.
        """
        name = f"mux-{self._scope}-seed-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
        self._seeding.add(name)
        try:
            with translated("the image's content"):
                await self.delete_container(name)
                await self.delete_volume(name)
                await self.docker.volumes.create(docker_spec.seed_volume(name, str(directory), self._scope))
                try:
                    await self.create(docker_spec.seed(image, self._scope, name), name)
                    await self.delete_container(name)
                finally:
                    await self.delete_volume(name)
        finally:
            self._seeding.discard(name)

    async def killed_for_memory(
        self, state: Mapping[str, Any], container: str | None, told: Callable[[], bool]
    ) -> bool:
        """Whether a container that was killed was killed for memory. The engine may say that it has ended before it
        says why: for a moment it is asked again.

        Args:
            state: what it said last.
            container: its id.
            told: whether an event has said so.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + OOM_TOLD_S
        with contextlib.suppress(RuntimeFailure), translated("the end of a container"):
            while not (state.get("OOMKilled") or told()):
                if container is None or loop.time() > deadline:
                    return False
                await asyncio.sleep(OOM_LOOK_S)
                state = (await self.container(container).show())["State"]
            return True
        return False

    async def log(self, container: str, lines: int) -> str:
        """The last lines of a container's output. Raises DockerError."""
        return "".join(await self.container(container).log(stdout=True, stderr=True, tail=str(lines)))

    async def failing_hook(self, container: str) -> str:
        """Read a starting container's log until a hook fails: its name, or an empty text when hooks are done.

        Lines of stdout and stderr overtake each other, so for a moment it is read on after hooks are done.
        """
        rest, read = "", 0
        output = self.container(container).log(stdout=True, stderr=True, follow=True)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_LOG_S) as patience:
                async with contextlib.aclosing(cast(AsyncGenerator[str, None], output)):
                    async for piece in output:
                        *lines, rest = (rest + piece).split("\n")
                        rest = rest[-LINE_BYTES_MAX:]
                        read += len(piece)
                        for line in lines:
                            if hook := failed_hook(line):
                                return hook
                            if hooks_are_done(line):
                                patience.reschedule(min(patience.when() or 0.0, loop.time() + AFTER_HOOKS_S))
                        if read > START_LOG_BYTES:
                            break
        return ""


def _is_of(pid: int, container: str) -> bool:
    """Whether a process of this machine is in a container's control group."""
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii")
    except (OSError, ValueError):
        return False
