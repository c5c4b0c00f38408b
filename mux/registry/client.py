"""One client of the distribution API (OCI distribution specification 1.1), read only.

Owns connections, logins and bounds. Rules: HTTPS with a verified certificate; plain HTTP only to a registry on this
machine, and only after it does not speak TLS; a password goes to the registry itself or, over HTTPS, to the token
service that it names; what a registry sends is bounded, and a manifest is held against its digest; passwords and tokens
stand in no message.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from mux.registry import manifest as manifests
from mux.registry.errors import (
    ImageMissingError,
    LoginRefusedError,
    RegistryAnswerError,
    RegistryBusyError,
    RegistryUnreachableError,
)
from mux.registry.manifest import Blob, Manifest
from mux.registry.reference import Reference

ANSWER_S_MAX = 30.0
"""For one answer; registries take well under a second."""
MANIFEST_BYTES_MAX = 4 << 20
"""The specification's own bound for manifests."""
TOKEN_BYTES_MAX = 64 << 10
"""A token with its wrapping; the longest known have 5 KB."""
CONFIG_BYTES_MAX = 4 << 20
"""An image's configuration: a few KB."""
REDIRECTS_MAX = 3
"""Registries send on to a store of their own, once."""
CONNECTIONS_MAX = 8
"""Open at once: enough for an event's images, few enough for a registry's rate limit."""
PLATFORM_DEFAULT = "linux/amd64"

_CHALLENGE = re.compile(r'([a-z]+)="([^"\\]{0,2048})"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Login:
    """Who the client is to one registry."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class RegistryClient:
    """Asks registries about images; an async context manager.

    Args:
        logins: by registry host as references write it (``docker.io``, ``registry.example.org:5000``).
        tls: trusts further certificate authorities; None for the system's.
    """

    def __init__(self, logins: Mapping[str, Login] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._logins = dict(logins or {})
        self._tls = tls
        self._plain: set[str] = set()
        self._tokens: dict[tuple[str, str], str] = {}
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Open."""
        connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=self._tls if self._tls is not None else True)
        self._http = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX),
            headers={"User-Agent": "mux"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self._http.close()

    async def digest(self, reference: Reference) -> str:
        """What a tag stands for now. Raises RegistryError."""
        return (await self._document(reference, reference.wanted))[0]

    async def manifest(self, reference: Reference, platform: str = PLATFORM_DEFAULT) -> Manifest:
        """What an image consists of.

        Args:
            reference: by tag or digest.
            platform: ``os/architecture`` of the ships.

        Raises:
            ImageMissingError: no such image, or none for the platform.
            RegistryError: the registry did not say.
        """
        digest, raw = await self._document(reference, reference.wanted)
        document = manifests.parsed(raw)
        image_digest = digest
        if manifests.is_index(document):
            image_digest, raw = await self._document(reference, manifests.for_platform(document, platform))
            document = manifests.parsed(raw)
        config, layers = manifests.parts(document)
        found = manifests.platform_name(await self._config(reference, config))
        if found != platform:
            raise ImageMissingError(f"{reference} is for {found}; the ships are {platform}: build it for {platform}")
        return Manifest(digest, image_digest, found, config, layers)

    async def missing_parts(self, reference: Reference, manifest: Manifest) -> tuple[Blob, ...]:
        """Parts of an image that the registry names and does not have. Raises RegistryError."""
        blobs = dict.fromkeys((manifest.config, *manifest.layers))
        there = await asyncio.gather(*(self._has(reference, blob) for blob in blobs))
        return tuple(blob for blob, found in zip(blobs, there, strict=True) if not found)

    async def _has(self, reference: Reference, blob: Blob) -> bool:
        # A store elsewhere is where a redirect leads; that the registry sends there is its word that the blob exists.
        answer = await self._ask(reference, "HEAD", f"blobs/{blob.digest}", follow=False)
        if answer.status == 404:
            return False
        _refuse(reference, answer.status)
        return True

    async def _config(self, reference: Reference, config: Blob) -> Mapping[str, object]:
        if config.size_bytes > CONFIG_BYTES_MAX:
            raise RegistryAnswerError(f"{reference} has a configuration of {config.size_bytes} bytes")
        answer = await self._ask(reference, "GET", f"blobs/{config.digest}", body_max=CONFIG_BYTES_MAX)
        _refuse(reference, answer.status)
        if _sha256(answer.body) != config.digest:
            raise RegistryAnswerError(f"{reference}: the registry's configuration does not match its digest")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise RegistryAnswerError(f"{reference} has a configuration that is not JSON") from error
        return found if isinstance(found, dict) else {}

    async def _document(self, reference: Reference, wanted: str) -> tuple[str, bytes]:
        answer = await self._ask(reference, "GET", f"manifests/{wanted}", accept=manifests.ACCEPT)
        _refuse(reference, answer.status)
        digest = _sha256(answer.body)
        told = answer.headers.get("Docker-Content-Digest", digest)
        if digest != told or (wanted.startswith("sha256:") and digest != wanted):
            raise RegistryAnswerError(f"{reference}: the registry's manifest does not match its digest; push it anew")
        return digest, answer.body

    # -- one question -------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        reference: Reference,
        method: str,
        path: str,
        *,
        accept: str = "*/*",
        follow: bool = True,
        body_max: int = MANIFEST_BYTES_MAX,
    ) -> _Answer:
        """One question; logs in if the registry asks for it. Raises RegistryError."""
        known = (reference.registry, reference.repository)
        for attempt in range(2):
            headers = {"Accept": accept}
            if known in self._tokens:
                headers["Authorization"] = self._tokens[known]
            answer = await self._send(reference, method, path, headers, follow=follow, body_max=body_max)
            if answer.status != 401 or attempt:
                return answer
            self._tokens[known] = await self._log_in(reference, answer.headers.get("WWW-Authenticate", ""))
        raise AssertionError("unreachable")

    async def _send(
        self, reference: Reference, method: str, path: str, headers: dict[str, str], *, follow: bool, body_max: int
    ) -> _Answer:
        scheme = "http" if reference.host in self._plain else "https"
        try:
            return await self._follow(
                reference,
                method,
                f"{scheme}://{reference.host}/v2/{reference.repository}/{path}",
                headers,
                follow=follow,
                body_max=body_max,
            )
        except aiohttp.ClientConnectorCertificateError as error:
            raise RegistryUnreachableError(
                f"{reference.host} has a certificate that is not trusted here; install its authority's certificate"
            ) from error
        except aiohttp.ClientConnectorSSLError as error:
            if not reference.loopback or scheme == "http":
                raise RegistryUnreachableError(
                    f"{reference.host} does not speak TLS; only a registry on this machine may do without"
                ) from error
            self._plain.add(reference.host)
            return await self._send(reference, method, path, headers, follow=follow, body_max=body_max)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise RegistryUnreachableError(
                f"{reference.host} cannot be reached ({_reason(error)}); try again"
            ) from error

    async def _follow(
        self, reference: Reference, method: str, url: str, headers: dict[str, str], *, follow: bool, body_max: int
    ) -> _Answer:
        first = URL(url).origin()
        for _ in range(REDIRECTS_MAX + 1):
            target = URL(url)
            own = target.origin() == first
            if not own and target.scheme != "https" and not reference.loopback:
                raise RegistryAnswerError(f"{reference.host} leads away from TLS; that is not followed")
            sent = headers if own else {name: value for name, value in headers.items() if name != "Authorization"}
            async with self._http.request(method, target, headers=sent, allow_redirects=False) as response:
                location = response.headers.get("Location", "")
                if not (follow and response.status in (301, 302, 303, 307, 308) and location):
                    return _Answer(response.status, response.headers, await _bounded(response, reference, body_max))
            url = urljoin(url, location)
        raise RegistryAnswerError(f"{reference.host} leads in circles")

    # -- logins -------------------------------------------------------------------------------------------------------

    async def _log_in(self, reference: Reference, challenge: str) -> str:
        """The value of Authorization that a challenge asks for (distribution's token specification, RFC 6750)."""
        login = self._logins.get(reference.registry)
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            if login is None:
                raise LoginRefusedError(f"{reference.registry} wants a login; give mux one for it")
            return aiohttp.encode_basic_auth(login.user, login.password)
        if scheme.lower() != "bearer":
            raise LoginRefusedError(f"{reference.registry} refuses {reference.repository}; give mux a login for it")
        return await self._token(reference, dict(_CHALLENGE.findall(rest)), login)

    async def _token(self, reference: Reference, asked: Mapping[str, str], login: Login | None) -> str:
        try:
            realm = URL(asked.get("realm", ""))
        except ValueError as error:
            raise RegistryAnswerError(f"{reference.registry} names no token service") from error
        if realm.scheme != "https" and not (realm.scheme == "http" and reference.loopback):
            raise RegistryAnswerError(f"{reference.registry} names a token service without TLS; no login goes there")
        query = {"scope": f"repository:{reference.repository}:pull"}
        if "service" in asked:
            query["service"] = asked["service"]
        headers = {} if login is None else {
            "Authorization": aiohttp.encode_basic_auth(login.user, login.password)
        }  # fmt: skip
        try:
            async with self._http.get(realm.update_query(query), headers=headers, allow_redirects=False) as response:
                raw = await _bounded(response, reference, TOKEN_BYTES_MAX)
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise RegistryUnreachableError(
                f"the token service of {reference.registry} cannot be reached ({_reason(error)}); try again"
            ) from error
        if status in (400, 401, 403):
            whose = f"the login {login.user}" if login else "anybody without a login"
            raise LoginRefusedError(f"{reference.registry} refuses {whose}; check user and password")
        _refuse(reference, status)
        return f"Bearer {_token_of(raw, reference)}"


def _token_of(raw: bytes, reference: Reference) -> str:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    token = (found.get("token") or found.get("access_token")) if isinstance(found, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
        raise RegistryAnswerError(f"the token service of {reference.registry} sent no token")
    return token


async def _bounded(response: aiohttp.ClientResponse, reference: Reference, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            raise RegistryAnswerError(f"{reference.host} sent more than {bytes_max} bytes")
    return bytes(body)


def _refuse(reference: Reference, status: int) -> None:
    """Raises what a status means; returns for an answer."""
    if status in (200, 301, 302, 303, 307, 308):
        return
    if status == 401:
        raise LoginRefusedError(f"{reference.registry} refuses the login for {reference.repository}; check it")
    if status == 403:
        raise LoginRefusedError(f"{reference.registry} does not let this login pull {reference.repository}")
    if status == 404:
        raise ImageMissingError(f"{reference} is not in the registry; push it, or correct its name")
    if status == 429 or status >= 500:
        raise RegistryBusyError(f"{reference.host} cannot answer now (status {status}); try again in a minute")
    raise RegistryAnswerError(f"{reference.host} answered with status {status}; is it an image registry?")


def _sha256(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()  # asyncio's own words quote the address once more
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()[:120]
    return type(error).__name__
