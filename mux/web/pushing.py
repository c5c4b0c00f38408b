"""What an image that is pushed stands for: a digest that every ship can have.

Owns the question, not what follows. A directory is walked; the name of a container image is asked for at its registry
where the name says which one, and at this machine's engine otherwise, as for an event file.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mux.config import ConfigError, EventFile, Fault, parse, resolve_images, resolved
from mux.config.engine_images import ENGINE_HAS
from mux.config.registry_logins import registry_logins
from mux.core.model import HeldImage, ProjectName
from mux.registry import Blob, Login, Reference, RegistryClient, RegistryError, RegistryUnreachableError
from mux.store.base import Store
from mux.web.admin_api_deps import PushedImage, PushError
from ship_agent.protocol.digest import is_ignored

PLATFORM = "linux/amd64"
"""Of ships, as everywhere."""


class ImageAsker:
    """Resolves images: `mux.web.admin_api_deps.ImageAdmin`.

    Args:
        store: holds the event file in force.
        base: directory that relative paths start at.
        environ: the environment that mux was started with.
    """

    def __init__(self, store: Store, base: Path, environ: Mapping[str, str]) -> None:
        self._store = store
        self._base = base
        self._environ = dict(environ)

    async def resolve(self, project: ProjectName, image: str, held: Sequence[HeldImage]) -> PushedImage:
        """What ``image`` stands for now.

        Args:
            project: that it is for.
            image: a container image by name, or a directory.
            held: images that ships have already: what of it they share does not travel.

        Raises:
            PushError: it cannot be pushed.
            StoreError: the event file in force is not known.
        """
        try:
            file = parse(await self._store.applied() or "", base=self._base, environ=self._environ, files=False)
            return await self._resolved(file, project, image, held)
        except ConfigError as error:
            fault = error.faults[0]
            raise PushError("image_invalid", f"the image cannot be pushed: {fault}") from error

    async def _resolved(
        self, file: EventFile, project: ProjectName, image: str, held: Sequence[HeldImage]
    ) -> PushedImage:
        table = file.project(project)
        if table is None:
            raise PushError("no_project", f"the event has no project {project}")
        if file.fleet.runtime == "docker":
            _check_name(image)
        else:
            await asyncio.to_thread(_check_home, resolved(self._base, image))
        unreachable: RegistryError | None = None
        if file.fleet.runtime == "docker" and _names_registry(image):
            try:
                return await self._by_registry(file, image, held)
            except RegistryUnreachableError as error:
                unreachable = error
        alone = file.model_copy(update={"projects": (table.model_copy(update={"image": image}),)})
        try:
            digests = await resolve_images(alone, self._base, {**os.environ, **self._environ})
        except ConfigError as error:
            if unreachable is None:
                said = _told(error.faults[0], image, self._base)
                raise PushError("image_invalid", f"the image cannot be pushed: {said}") from error
            raise PushError("registry", f"{unreachable}; and this machine's engine does not have it") from error
        digest = digests[project]
        if file.fleet.runtime != "process":
            return PushedImage(image, digest)
        root = resolved(self._base, image)
        there = any(each.digest == digest for each in held)
        new = 0 if there else await asyncio.to_thread(_tree_bytes, root)
        return PushedImage(str(root), digest, new, packed=False)

    async def _by_registry(self, file: EventFile, image: str, held: Sequence[HeldImage]) -> PushedImage:
        try:
            reference = Reference.parse(image)
            logins = await registry_logins(file, self._base, self._environ)
            async with RegistryClient({each.host: Login(each.username, each.password) for each in logins}) as client:
                manifest = await client.manifest(reference, PLATFORM)
                there = [blob for each in held for blob in await _parts(client, each)]
                return PushedImage(image, manifest.digest, manifest.bytes_beside(there))
        except RegistryUnreachableError:
            raise
        except RegistryError as error:
            raise PushError("registry", f"the image cannot be pushed: {error}") from error


async def _parts(client: RegistryClient, held: HeldImage) -> Collection[Blob]:
    """Of an image that ships have; none where its registry does not know it: then more is reckoned with."""
    try:
        reference = Reference.parse(held.image).pinned(held.digest)
        return (await client.manifest(reference, PLATFORM)).blobs if _names_registry(held.image) else ()
    except RegistryError:
        return ()


def _tree_bytes(root: Path) -> int:
    """What a ship copies of a directory image; blocks. What goes meanwhile is no part of it any more."""
    total = 0
    for place, directories, files in os.walk(root):
        directories[:] = [name for name in directories if not is_ignored(name)]
        for name in files:
            try:
                found = Path(place, name).lstat()
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode) and not is_ignored(name):
                total += found.st_size
    return total


def _check_name(image: str) -> None:
    """Raises PushError for what is no name of an image."""
    try:
        Reference.parse(image)
    except RegistryError as error:
        raise PushError("image_invalid", f"the image cannot be pushed: {error}") from error


def _told(fault: Fault, image: str, base: Path) -> str:
    """What is wrong with an image that is pushed: it stands in no event file."""
    if not fault.key.endswith(".image"):
        return str(fault)
    relative = "" if fault.allowed == ENGINE_HAS or Path(image).is_absolute() else f"; relative paths start at {base}"
    return f"found {fault.found}; allowed: {fault.allowed}{relative}"


def _check_home(root: Path) -> None:
    """Raises PushError for a directory that no ship would take; one that cannot be read is told of by whom reads it."""
    try:
        without = root.is_dir() and not (root / "home").is_dir()
    except OSError:
        return
    if without:
        raise PushError(
            "image_invalid", f"the image cannot be pushed: {root} has no directory home/, where attendees' files are"
        )


def _names_registry(image: str) -> bool:
    """Whether a reference begins with a registry's host."""
    host, slash, _ = image.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")
