"""What image names stand for, by the word of the Docker engine on this machine.

Owns the question to the engine and the choice of digest. A name that the engine had from a registry, or gave to one, is
told by its manifest's digest there, so that every ship can fetch exactly that. An image that was built here and is in
no registry is told by its id: only ships that share this engine can run it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiodocker
import aiohttp
from aiodocker.exceptions import DockerError

from mux.config.faults import ConfigError, Fault, shown
from mux.config.schema import EventFile
from mux.core.model import ProjectName

SOCKET_DEFAULT = "unix:///var/run/docker.sock"
ENGINE_MAX_S = 20.0
"""How long the engine may take for all images: it looks into its own files, milliseconds each."""
ENGINE_HAS = "an image that the Docker engine of this machine has; build it, or `docker pull` it, first"


async def resolve_images_by_engine(file: EventFile, environ: Mapping[str, str]) -> Mapping[ProjectName, str]:
    """The digest of each project's image.

    Args:
        file: the event file.
        environ: ``DOCKER_HOST`` in it names another Unix socket than Docker's usual one.

    Raises:
        ConfigError: images that are not there, all of them; or an engine that does not answer.
    """
    address = environ.get("DOCKER_HOST") or SOCKET_DEFAULT
    if not address.startswith("unix://"):
        raise ConfigError([Fault("DOCKER_HOST", shown(address), "the address of a Unix socket, unix:///…")])
    connector = aiohttp.UnixConnector(address.removeprefix("unix://"))
    engine = aiodocker.Docker(url="unix://localhost", connector=connector)
    try:
        async with asyncio.timeout(ENGINE_MAX_S):
            return await _resolved(engine, file)
    except (DockerError, TimeoutError, OSError) as error:
        reason = error.message if isinstance(error, DockerError) else type(error).__name__
        raise ConfigError(
            [Fault("fleet.runtime", f'"docker", but {shown(reason)}', "a Docker engine that answers; start it")]
        ) from error
    finally:
        await engine.close()
        await connector.close()


async def _resolved(engine: aiodocker.Docker, file: EventFile) -> Mapping[ProjectName, str]:
    digests: dict[ProjectName, str] = {}
    faults: list[Fault] = []
    for index, project in enumerate(file.projects):
        _, separator, pinned = project.image.partition("@")
        if separator:
            digests[ProjectName(project.name)] = pinned
            continue
        try:
            image = await engine.images.inspect(project.image)
        except DockerError as error:
            if error.status not in (400, 404):
                raise
            where = f"project {shown(project.name)}"
            faults.append(Fault(f"project[{index}].image", shown(project.image), ENGINE_HAS, None, where))
            continue
        digests[ProjectName(project.name)] = image_digest(project.image, image)
    if faults:
        raise ConfigError(faults)
    return digests


def image_digest(reference: str, image: Mapping[str, Any]) -> str:
    """The digest that ships run.

    Args:
        reference: the image's name, without a digest.
        image: what the engine says of it (``GET /images/{name}/json``).
    """
    names = {repository(reference), f"docker.io/{repository(reference)}", f"docker.io/library/{repository(reference)}"}
    for known in image.get("RepoDigests") or ():
        name, _, digest = known.partition("@")
        if name in names or f"docker.io/{name}" in names or f"docker.io/library/{name}" in names:
            return str(digest)
    return str(image["Id"])


def repository(reference: str) -> str:
    """A reference without tag and digest. A colon before the last slash is a port's."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
