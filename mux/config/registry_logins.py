"""Logins of image registries, fetched by the mux for its ships: from a Docker client configuration that is named for
it, and of Amazon ECR by a role that is.

Owns the reading of that format (``auths``, ``credHelpers``, ``credsStore``) and of credential helpers' answers, and
which of them goes before which. Knows neither ships nor the registry's protocol.

Rules: only registries that the event's images come from are looked up. Nobody's ``~/.docker/config.json`` is taken
unasked: it may hold a login that can push, and ships get what is found. No password is ever shown.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mux.config.ecr_logins import EcrError, ecr_login, ecr_region
from mux.config.faults import ConfigError, Fault, shown
from mux.config.reading import decoded, read_bounded
from mux.config.schema import EventFile, resolved

REGISTRY_AUTH: Final = "MUX_REGISTRY_AUTH"
"""Variable with the content of such a file."""
CONFIG_BYTES_MAX: Final = 256 * 1024
ANSWER_BYTES_MAX: Final = 64 * 1024
HELPER_S_MAX: Final = 30.0
"""How long a credential helper may take: those of clouds ask the cloud."""
DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)
"""What Docker Hub is called in configurations."""
ALLOWED: Final = "a Docker client configuration: JSON with auths, credHelpers or credsStore"

ECR_ALLOWED: Final = "a role that mux may assume and that may call ecr:GetAuthorizationToken"


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """A login of one registry.

    Args:
        host: as image references begin; ``docker.io`` where they name none.
        username: may be empty for a token.
        password: secret.
    """

    host: str
    username: str
    password: str = field(repr=False)


def registry_host(reference: str) -> str:
    """The registry of an image reference, as Docker reads it."""
    host, slash, _ = reference.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else DOCKER_HUB


async def registry_logins(file: EventFile, base: Path, environ: Mapping[str, str]) -> tuple[RegistryLogin, ...]:
    """The logins that ships need for the event's images; none where nothing is configured.

    Args:
        file: the event file.
        base: its directory.
        environ: may hold MUX_REGISTRY_AUTH, which goes before the file.

    Raises ConfigError, also when a credential helper or Amazon ECR fails.
    """
    if file.fleet.runtime != "docker":
        return ()
    key, configuration = await _configuration(file, base, environ)
    found = []
    for host in sorted({registry_host(project.image) for project in file.projects}):
        login = (
            _from_auths(key, configuration, host)
            or await _from_ecr(file.registry.ecr_role, host)
            or await _from_helper(key, configuration, host)
        )
        if login is not None:
            found.append(login)
    return tuple(found)


async def _configuration(file: EventFile, base: Path, environ: Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
    """Where a Docker client configuration stands, and what it holds; nothing where none is named."""
    if REGISTRY_AUTH in environ:
        return REGISTRY_AUTH, _parsed(REGISTRY_AUTH, environ[REGISTRY_AUTH])
    key = "registry.config"
    if file.registry.config is None:
        return key, {}
    path = resolved(base, file.registry.config)
    raw = await asyncio.to_thread(read_bounded, path, key=key, bytes_max=CONFIG_BYTES_MAX, what=ALLOWED)
    return key, _parsed(key, decoded(raw, key))


async def _from_ecr(role: str | None, host: str) -> RegistryLogin | None:
    region = ecr_region(host)
    if role is None or region is None:
        return None
    try:
        return RegistryLogin(host, *await ecr_login(region, role))
    except EcrError as error:
        fault = Fault("registry.ecr_role", f"no login of {shown(host)}: {error}", ECR_ALLOWED)
        raise ConfigError([fault]) from error


def _parsed(key: str, text: str) -> Mapping[str, Any]:
    try:
        configuration = json.loads(text)
    except ValueError:
        # Not chained: its text would quote the document.
        raise ConfigError([Fault(key, "no JSON", ALLOWED)]) from None
    if not isinstance(configuration, dict):
        raise ConfigError([Fault(key, "no JSON object", ALLOWED)])
    return configuration


def _keys(host: str) -> Iterable[str]:
    return DOCKER_HUB_KEYS if host == DOCKER_HUB else (host, f"https://{host}", f"http://{host}")


def _from_auths(key: str, configuration: Mapping[str, Any], host: str) -> RegistryLogin | None:
    auths = configuration.get("auths")
    entry = next((auths[name] for name in _keys(host) if name in auths), None) if isinstance(auths, dict) else None
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("username"), str) and isinstance(entry.get("password"), str):
        return RegistryLogin(host, entry["username"], entry["password"])
    if not entry.get("auth"):
        return None  # docker login leaves an empty entry where a helper keeps the login
    try:
        username, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
        colon = ""
    if not colon:
        fault = Fault(key, f"an auth of {shown(host)} that cannot be read", "base64 of name:password")
        raise ConfigError([fault])
    return RegistryLogin(host, username, password.rstrip("\0"))


async def _from_helper(key: str, configuration: Mapping[str, Any], host: str) -> RegistryLogin | None:
    """Ask the credential helper of a registry (docker-credential-helpers, "Protocol")."""
    helpers = configuration.get("credHelpers")
    named = (
        next((helpers[name] for name in _keys(host) if name in helpers), None) if isinstance(helpers, dict) else None
    )
    helper = named or configuration.get("credsStore")
    if helper is None:
        return None
    if not isinstance(helper, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", helper):
        raise ConfigError([Fault(key, "a helper's name that is none", "ecr-login, for docker-credential-ecr-login")])
    program = f"docker-credential-{helper}"
    asked = DOCKER_HUB_KEYS[0] if host == DOCKER_HUB else host
    try:
        answer = json.loads(await _run(program, asked))
        return RegistryLogin(host, str(answer["Username"]), str(answer["Secret"]))
    except FileNotFoundError:
        why = "it is not installed here"
    except TimeoutError:
        why = f"no answer within {HELPER_S_MAX:.0f} s"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, ProcessLookupError) else "an answer that cannot be read"
    if named is None:
        return None  # a store for everything need not know this registry
    raise ConfigError([Fault(key, f"{program} gives no login of {shown(host)}: {why}", "a helper that does")])


async def _run(program: str, asked: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        program,
        "get",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # helpers have been seen to put secrets there
    )
    try:
        async with asyncio.timeout(HELPER_S_MAX):
            out, _ = await process.communicate(f"{asked}\n".encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ProcessLookupError(f"exit code {process.returncode}")
    return out[:ANSWER_BYTES_MAX]
