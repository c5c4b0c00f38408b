"""What an image that is pushed stands for: a digest that every ship can have.

Owns the question, not what follows. A directory is walked; the name of a container image is asked for at its registry
where the name says which one, and at this machine's engine otherwise, as for an event file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mux.config import ConfigError, EventFile, parse, resolve_images, resolved
from mux.config.registry_logins import registry_logins
from mux.core.model import ProjectName
from mux.registry import Login, Reference, RegistryClient, RegistryError, RegistryUnreachableError
from mux.store.base import Store
from mux.web.admin_api_deps import PushedImage, PushError

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

    async def resolve(self, project: ProjectName, image: str) -> PushedImage:
        """What ``image`` stands for now. Raises PushError, StoreError."""
        try:
            file = parse(await self._store.applied() or "", base=self._base, environ=self._environ, files=False)
            return await self._resolved(file, project, image)
        except ConfigError as error:
            fault = error.faults[0]
            raise PushError("image_invalid", f"the image cannot be pushed: {fault}") from error

    async def _resolved(self, file: EventFile, project: ProjectName, image: str) -> PushedImage:
        table = file.project(project)
        if table is None:
            raise PushError("no_project", f"the event has no project {project}")
        if file.fleet.runtime == "docker" and _names_registry(image):
            try:
                return await self._by_registry(file, image)
            except RegistryUnreachableError as error:
                unreachable: RegistryError | None = error
        else:
            unreachable = None
        alone = file.model_copy(update={"projects": (table.model_copy(update={"image": image}),)})
        try:
            digests = await resolve_images(alone, self._base, {**os.environ, **self._environ})
        except ConfigError as error:
            if unreachable is None:
                raise
            raise PushError("registry", f"{unreachable}; and this machine's engine does not have it") from error
        where = str(resolved(self._base, image)) if file.fleet.runtime == "process" else image
        return PushedImage(where, digests[project])

    async def _by_registry(self, file: EventFile, image: str) -> PushedImage:
        try:
            reference = Reference.parse(image)
            logins = await registry_logins(file, self._base, self._environ)
            async with RegistryClient({each.host: Login(each.username, each.password) for each in logins}) as client:
                manifest = await client.manifest(reference, PLATFORM)
                return PushedImage(image, await client.digest(reference), manifest.compressed_bytes)
        except RegistryUnreachableError:
            raise
        except RegistryError as error:
            raise PushError("registry", f"the image cannot be pushed: {error}") from error


def _names_registry(image: str) -> bool:
    """Whether a reference begins with a registry's host."""
    host, slash, _ = image.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")
