"""The ship's side of the mux's file endpoint: requests over HTTPS, on the control listener.

Owns the token that the mux gives for the time of a link, and what the answers mean. ``of`` is a directory's name, see
`ship_agent.snapshots.base`. Rules: the mux's CA alone is trusted; the token is in a header, never in an address or a
log; every answer is bounded; what comes is verified.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
import zlib
from collections.abc import Mapping
from typing import Final, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError
from yarl import URL

from ship_agent.protocol.snapshot import (
    CHUNK_BYTES,
    MANIFEST_BYTES_MAX,
    OBJECT_BYTES_MAX,
    Address,
    AddressWanted,
    Manifest,
    ManifestError,
    Missing,
    is_sha,
    manifest_id,
    read_manifest,
)

REQUEST_S: Final = 60.0
"""How long one request may take: a chunk at 20 KB a second."""
MISSING_BYTES_MAX: Final = 8 << 20
"""Of the list of chunks that the mux does not have."""
LEVEL: Final = 6
"""Of zlib: notebooks shrink to a fifth, at about 50 MB a second of one core."""
ADDRESS_BYTES_MAX: Final = 16_384
ELSEWHERE_BYTES_MAX: Final = 65_536
"""Of what a store of files says besides files."""

_ERROR_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")

ModelT = TypeVar("ModelT", bound=BaseModel)


class FilesError(Exception):
    """The mux did not take or give something.

    Args:
        why: one sentence for people.
        retryable: whether it may work later without anything being changed.
    """

    def __init__(self, why: str, *, retryable: bool) -> None:
        super().__init__(why)
        self.retryable = retryable


class FilesClient:
    """One ship's way to its mux's file endpoint.

    Args:
        control_url: where the ship dials, ``wss://host:port/control``.
        context: TLS that trusts the mux's CA.
    """

    def __init__(self, control_url: str, context: ssl.SSLContext) -> None:
        self._base = "https://" + control_url.removeprefix("wss://").rpartition("/")[0] + "/ship/files"
        self._ssl = context
        self._session: aiohttp.ClientSession | None = None
        self._token = ""
        self._direct = False
        self.linked = asyncio.Event()

    def use(self, token: str) -> None:
        """Go on with the token of another link; a mux that gives none keeps no files."""
        self._token = token
        if token:
            self.linked.set()
        else:
            self.linked.clear()

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()

    async def offer(self, of: str, body: bytes) -> list[str]:
        """Offer a snapshot. Returns the chunks that the mux wants first; none if it is kept. Raises FilesError."""
        status, answer = await self._ask("POST", f"{of}/snapshots", body, bytes_max=MISSING_BYTES_MAX)
        if status != 409:
            return []
        missing = _read(Missing, answer)
        self._direct = missing.direct
        return missing.chunks

    async def put(self, of: str, chunk: str, block: bytes) -> None:
        """Send a chunk. Raises FilesError."""
        packed = await asyncio.to_thread(zlib.compress, block, LEVEL)
        if not self._direct:
            await self._ask("PUT", f"{of}/objects/{chunk}", packed, bytes_max=1024)
            return
        wanted = AddressWanted(length=len(packed), sha256=hashlib.sha256(packed).hexdigest())
        body = wanted.model_dump_json().encode()
        _, answer = await self._ask("POST", f"{of}/objects/{chunk}/address", body, bytes_max=ADDRESS_BYTES_MAX)
        address = _read(Address, answer)
        # 412: another snapshot of these files brought it meanwhile.
        await self._go("PUT", address, packed, bytes_max=ELSEWHERE_BYTES_MAX, good=(200, 201, 412))

    async def manifest(self, of: str, snapshot: str) -> Manifest:
        """The snapshot that a directory is to be restored from. Raises FilesError."""
        _, body = await self._ask("GET", f"{of}/snapshots/{snapshot}", None, bytes_max=MANIFEST_BYTES_MAX)
        if manifest_id(body) != snapshot:
            raise FilesError("the snapshot is damaged", retryable=True)
        return await _manifest(body)

    async def newest(self, of: str) -> Manifest | None:
        """The newest snapshot that there is; None if there is none, or the mux is one that does not say. Raises
        FilesError.
        """
        path = f"{of}/snapshots"
        status, body = await self._ask("GET", path, None, bytes_max=MANIFEST_BYTES_MAX, also=(404, 405))
        return await _manifest(body) if status == 200 else None

    async def chunk(self, of: str, chunk: str) -> bytes:
        """A chunk's bytes. Raises FilesError."""
        status, packed = await self._ask("GET", f"{of}/objects/{chunk}", None, bytes_max=OBJECT_BYTES_MAX)
        if status == 307:
            address = _read(Address, json.dumps({"url": packed.decode()}))
            packed = await self._go("GET", address, None, bytes_max=OBJECT_BYTES_MAX, good=(200,))
        return await asyncio.to_thread(_unpacked, packed, chunk)

    async def _ask(
        self, method: str, path: str, body: bytes | None, *, bytes_max: int, also: tuple[int, ...] = ()
    ) -> tuple[int, bytes]:
        """Ask the mux; status and body, of a redirect where it leads. ``also``: answers that are no error here."""
        if not self._token:
            raise FilesError("there is no link to the mux", retryable=True)
        headers = {"Authorization": f"Bearer {self._token}"}
        status, answer = await self._send(
            method, f"{self._base}/{path}", body, headers, self._ssl, bytes_max=bytes_max, whose="the mux"
        )
        if status in (200, 201, 307, 409, *also):
            return status, answer
        raise FilesError(
            f"the mux answered with {status}: {answer[:200].decode('ascii', 'replace').strip()}",
            retryable=status >= 500 or status in (401, 403, 429),
        )

    async def _go(
        self, method: str, address: Address, body: bytes | None, *, bytes_max: int, good: tuple[int, ...]
    ) -> bytes:
        """A request to an address that the mux has signed; the token of the link stays here."""
        status, answer = await self._send(
            method, address.url, body, address.headers, True, bytes_max=bytes_max, whose="the store of files"
        )
        if status not in good:
            # Not all of its words: they may quote the address.
            raise FilesError(f"the store of files answered with {status}{_code(answer)}", retryable=True)
        return answer

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        context: ssl.SSLContext | bool,
        *,
        bytes_max: int,
        whose: str,
    ) -> tuple[int, bytes]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=REQUEST_S)
            # What comes is bounded as it is sent: a little that unpacks to gigabytes is never unpacked unasked.
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=timeout,
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        try:
            # The address as it was signed: normalised, it would be another one.
            async with self._session.request(
                method, URL(url, encoded=True), data=body, headers=headers, ssl=context, allow_redirects=False
            ) as response:
                if response.status == 307:
                    return 307, response.headers.get("Location", "").encode("ascii", "replace")
                answer = b""
                async for piece in response.content.iter_chunked(1 << 16):
                    answer += piece
                    if len(answer) > bytes_max:
                        raise FilesError(f"{whose} answered with too much", retryable=False)
                return response.status, answer
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise FilesError(f"no answer from {whose}: {type(error).__name__}", retryable=True) from error


def _read(model: type[ModelT], answer: bytes | str) -> ModelT:
    try:
        return model.model_validate_json(answer)
    except ValidationError:
        # Not the error's text, nor as its cause: it may quote an address.
        raise FilesError("the mux gave an answer that is none", retryable=True) from None


async def _manifest(body: bytes) -> Manifest:
    try:
        return await asyncio.to_thread(read_manifest, body)
    except ManifestError as error:
        raise FilesError(str(error), retryable=False) from error


def _code(answer: bytes) -> str:
    """What S3 calls the error (Amazon S3 API Reference, "REST error responses"), with a space before it."""
    found = _ERROR_CODE.search(answer)
    return f" {found[1].decode()}" if found else ""


def _unpacked(packed: bytes, chunk: str) -> bytes:
    try:
        machine = zlib.decompressobj()
        block = machine.decompress(packed, CHUNK_BYTES + 1)
    except zlib.error as error:
        raise FilesError("a part of the snapshot is damaged", retryable=True) from error
    if not is_sha(chunk) or hashlib.sha256(block).hexdigest() != chunk:
        raise FilesError("a part of the snapshot is damaged", retryable=True)
    return block
