"""Images of containers on a ship: pulled by digest, kept by this ship, forgotten when nothing needs them.

Owns ``DIR/images.json``: which digests this ship holds, and which of them it fetched. A digest is a manifest's, as a
registry knows it, or the id of an image that is in this engine alone.

Rules: a pull that the engine's disk has no room for is given up before it fills it, since a full disk harms whoever
works there. Only what this ship took is ever deleted, and only what it fetched itself, since that can be fetched again;
the engine may hold images of others. The cached set is brought up to date when the engine says that an image changed.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import aiodocker
import structlog
from aiodocker.exceptions import DockerError
from aiodocker.types import JSONValue

from ship_agent.protocol.messages import Project, RegistryLogin
from ship_agent.runtimes.base import Progress, RuntimeFailure
from ship_agent.runtimes.docker_errors import is_missing, pull_failure, translated
from ship_agent.runtimes.image_config import Image, image_of
from ship_agent.runtimes.images import translated as files_translated
from ship_agent.runtimes.shim import write_json

log = structlog.get_logger(__name__)

STILL_S = 300.0
"""A pull without a word from the engine for so long has failed."""
RECORD_BYTES_MAX = 1 << 20
"""Bound of ``images.json``: a line for each digest."""
LAYERS_MAX = 1000
"""Layers that progress is counted of; an image has 127 at most."""
GIB = 1 << 30


class DockerImages:
    """The images of one ship.

    Args:
        engine: the client.
        path: ``DIR/images.json``.
        store: where the engine keeps images; a path that does not exist here says nothing of its disk.
    """

    def __init__(self, engine: aiodocker.Docker, path: Path, store: Path) -> None:
        self._engine = engine
        self._path = path
        self._store = store
        self._taken: dict[str, str] = {}
        self._fetched: set[str] = set()
        self._here: frozenset[str] = frozenset()
        self._locks: dict[str, asyncio.Lock] = {}
        self._logins: dict[str, dict[str, JSONValue]] = {}

    async def open(self) -> None:
        """Read what this ship holds and see what of it is still there."""
        self._taken, self._fetched = await asyncio.to_thread(_load, self._path)
        await self.refresh()

    def use_logins(self, logins: Sequence[RegistryLogin]) -> None:
        """Pull with these from now on. The engine is given one with each pull, and does not keep it."""
        self._logins = {login.registry: {"username": login.username, "password": login.password} for login in logins}

    def digests(self) -> frozenset[str]:
        """What is here, as last seen."""
        return self._here

    async def refresh(self) -> None:
        """Look which of the taken images the engine has. Raises RuntimeFailure."""
        here = set()
        with translated("the images"):
            for digest, name in list(self._taken.items()):
                if await self._find(name, digest) is not None:
                    here.add(digest)
        self._here = frozenset(here)

    async def get(self, project: Project, digest: str, kept_home: str = "") -> Image:
        """What matters of an image that is here; ``kept_home``: see `image_of`. Raises RuntimeFailure."""
        with translated(f"the image of {project.name}"):
            found = None
            if digest in self._taken:
                found = await self._find(self._taken[digest], digest)
        if found is None:
            raise RuntimeFailure("image_missing", f"the image of {project.name} is not here; pull it first")
        return image_of(found, kept_home, project)

    async def pull(self, project: Project, digest: str, progress: Progress) -> None:
        """Have an image here: what the engine already has is taken, else it is fetched. Raises RuntimeFailure."""
        name = repository(project.image)
        async with self._locks.setdefault(digest, asyncio.Lock()):
            with translated(f"the image of {project.name}"):
                found = await self._find(name, digest)
            if found is not None:
                progress(f"the image of {project.name} is here")
            else:
                progress(f"pulling {project.name}: asking the registry")
                await self._fetch(project, f"{name}@{digest}", progress)
                with translated(f"the image of {project.name}"):
                    found = await self._find(name, digest)
                if found is None:
                    raise RuntimeFailure(
                        "image_missing", f"the image of {project.name} was pulled and is gone", retryable=True
                    )
                self._fetched.add(digest)
            image_of(found, project=project)  # what cannot be a workspace's is refused before anybody waits for it
            self._taken[digest] = name
            self._here |= {digest}
            await self._save()

    async def forget(self, digest: str) -> None:
        """Let go of an image; delete it from the engine if this ship fetched it. Raises RuntimeFailure."""
        async with self._locks.setdefault(digest, asyncio.Lock()):
            name = self._taken.get(digest)
            if name is not None and digest in self._fetched:
                with translated("an image that nothing needs"):
                    try:
                        await self._engine.images.delete(f"{name}@{digest}")
                    except DockerError as error:
                        # 409: somebody else's container needs it, and then it stays.
                        if not is_missing(error) and error.status != 409:
                            raise
            self._taken.pop(digest, None)
            self._fetched.discard(digest)
            self._here -= {digest}
            await self._save()
        self._locks.pop(digest, None)

    async def _find(self, name: str, digest: str) -> Mapping[str, Any] | None:
        """The image of that manifest's digest under that name, or of that id."""
        for reference in (f"{name}@{digest}", digest):
            try:
                found: Mapping[str, Any] = await self._engine.images.inspect(reference)
            except DockerError as error:
                if error.status not in (400, 404):
                    raise
            else:
                return found
        return None

    async def _fetch(self, project: Project, reference: str, progress: Progress) -> None:
        auth = self._logins.get(registry_host(reference)) if "/" in reference else None
        layers: dict[str, bool] = {}
        sizes: dict[str, int] = {}
        said = ""
        loop = asyncio.get_running_loop()
        free = await asyncio.to_thread(_free_bytes, self._store)
        with translated(f"the image of {project.name}"):
            pull = cast(
                "AsyncGenerator[Mapping[str, Any], None]", self._engine.images.pull(reference, auth=auth, stream=True)
            )
            try:
                async with asyncio.timeout(STILL_S) as patience, aclosing(pull) as lines:
                    async for line in lines:
                        patience.reschedule(loop.time() + STILL_S)
                        if free is not None and _to_fetch(sizes, line) > free:
                            raise self._no_room(project, sizes, free)
                        now = _counted(layers, line)
                        if now and now != said:
                            said = now
                            progress(f"pulling {project.name}: {now}")
            except DockerError as error:
                failure = pull_failure(error, reference.partition("@")[0])
                if failure.code == "disk_full" and free is not None:
                    failure = self._no_room(project, sizes, free)
                raise failure from error
        log.info("image pulled", project=project.name, layers=len(layers))

    def _no_room(self, project: Project, sizes: Mapping[str, int], free: int) -> RuntimeFailure:
        return RuntimeFailure(
            "disk_full",
            f"the image of {project.name} does not fit: {sum(sizes.values()) / GIB:.2f} GiB or more to fetch and then "
            f"to unpack, and {self._store} had {free / GIB:.2f} GiB left; free some space there",
            retryable=True,
        )

    async def _save(self) -> None:
        content = {"version": 1, "taken": dict(self._taken), "fetched": sorted(self._fetched)}
        await asyncio.to_thread(_write, self._path, content)


def registry_host(reference: str) -> str:
    """The registry of a reference, as Docker reads it."""
    host, slash, _ = reference.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else "docker.io"


def repository(reference: str) -> str:
    """A reference without tag and digest. A colon before the last slash is a port's."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _counted(layers: dict[str, bool], line: Mapping[str, Any]) -> str:
    """Take in one line of a pull; what it has come to, or an empty text if the line is about no layer."""
    layer, status = str(line.get("id", "")), str(line.get("status", ""))
    if status in ("Pulling fs layer", "Waiting", "Already exists") and len(layers) < LAYERS_MAX:
        layers[layer] = status == "Already exists"
    elif status == "Pull complete" and layer in layers:
        layers[layer] = True
    else:
        return ""
    return f"{sum(layers.values())} of {len(layers)} layers"


def _to_fetch(sizes: dict[str, int], line: Mapping[str, Any]) -> int:
    """Take in one line of a pull; bytes of all layers that are fetched, as far as they are known."""
    detail = line.get("progressDetail")
    if line.get("status") == "Downloading" and isinstance(detail, dict) and len(sizes) < LAYERS_MAX:
        total = detail.get("total")
        sizes[str(line.get("id", ""))] = total if isinstance(total, int) else 0
    return sum(sizes.values())


def _free_bytes(store: Path) -> int | None:
    try:
        return shutil.disk_usage(store).free
    except OSError:  # an engine whose files are out of this process's sight
        return None


def _load(path: Path) -> tuple[dict[str, str], set[str]]:
    try:
        with path.open("rb") as file:
            raw = json.loads(file.read(RECORD_BYTES_MAX))
        taken = {str(digest): str(name) for digest, name in raw["taken"].items()}
        return taken, {str(digest) for digest in raw["fetched"]} & taken.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Nothing is lost: what is needed is taken again, and only what was fetched stays in the engine unforgotten.
        return {}, set()


def _write(path: Path, content: dict[str, Any]) -> None:
    with files_translated("the list of images"):
        write_json(str(path), content)
