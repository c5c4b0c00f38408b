"""What the Docker engine's errors mean, in words for people.

Owns the translation of `aiodocker`'s errors, which carry a status and the engine's text, into `RuntimeFailure`. The
engine gives one status for many causes, so the text decides.

Rules: the engine's text is shown bounded and on one line; it never holds what a container's environment holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiodocker.exceptions import DockerError

from ship_agent.runtimes.base import RuntimeFailure

TEXT_CHARS_MAX = 300
"""Of the engine's own words."""
ENGINE_AWAY = 900
"""The status that aiodocker gives when there is no connection."""
REGISTRY_AWAY = (
    "timeout",
    "connection refused",
    "no such host",
    "unreachable",
    "eof",
    "reset by peer",
    "toomanyrequests",
    "too many requests",
    "received unexpected http status",
)
"""What the engine says of a registry that is away, restarting or overloaded: it may answer in a minute."""


def is_missing(error: DockerError) -> bool:
    """Whether it says that something is not there."""
    return error.status == 404


def short(text: str) -> str:
    """The engine's words on one line, bounded."""
    return " ".join(text.split())[:TEXT_CHARS_MAX]


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the engine, or the way to it, raises into a RuntimeFailure.

    Args:
        what: what was tried, for people, e.g. ``the container of ship-1.0.intro.1``.
    """
    try:
        yield
    except DockerError as error:
        raise failure(error, what) from error
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise RuntimeFailure(
            "engine_away", f"{what}: the Docker engine does not answer ({type(error).__name__})", retryable=True
        ) from error


def failure(error: DockerError, what: str) -> RuntimeFailure:
    """The failure that an error of the engine stands for."""
    said = short(error.message)
    text = said.lower()
    if error.status == ENGINE_AWAY:
        return RuntimeFailure("engine_away", f"{what}: the Docker engine does not answer; start it", retryable=True)
    if "no space left on device" in text or "disk quota exceeded" in text:
        return RuntimeFailure("disk_full", f"the disk is full: no room for {what}; free some space", retryable=True)
    if "port is already allocated" in text or "address already in use" in text:
        return RuntimeFailure("port_in_use", f"{what}: another program has its port: {said}", retryable=True)
    if "unknown runtime specified" in text or "invalid runtime name" in text:
        return RuntimeFailure(
            "oci_runtime_missing", f"{what}: this ship's Docker does not know that OCI runtime: {said}"
        )
    return RuntimeFailure("engine_failed", f"{what}: {said}", retryable=True)


def pull_failure(error: DockerError, image: str) -> RuntimeFailure:
    """The failure that an error of a pull stands for."""
    said = short(error.message)
    text = said.lower()
    if any(word in text for word in ("unauthorized", "denied", "authentication required", "no basic auth")):
        return RuntimeFailure(
            "registry_refused", f"the registry refuses {image}: {said}; check the login", retryable=True
        )
    if "unknown blob" in text:
        # A registry that spreads what it holds may have it in a moment.
        return RuntimeFailure(
            "image_missing", f"a part of {image} is not in its registry: {said}; push it there again", retryable=True
        )
    if "manifest unknown" in text or "not found" in text or error.status == 404:
        return RuntimeFailure("image_missing", f"{image} is neither on this ship nor in its registry: {said}")
    if any(word in text for word in REGISTRY_AWAY):
        return RuntimeFailure("registry_away", f"the registry of {image} does not answer: {said}", retryable=True)
    return failure(error, f"the image {image}")


def is_command_missing(error: DockerError) -> bool:
    """Whether a start failed because there is no such program in the image."""
    text = error.message
    return (
        "exec:" in text
        and ("no such file or directory" in text or "executable file not found" in text)
        and not (is_init_missing(error))
    )


def is_init_missing(error: DockerError) -> bool:
    """Whether the engine has no init to add."""
    return "docker-init" in error.message
