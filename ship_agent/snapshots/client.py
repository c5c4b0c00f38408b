"""The ship's side of the mux's file endpoint: requests over HTTPS, on the control listener.

Owns the token that the mux gives for the time of a link, and what the answers mean. Rules: the mux's CA alone is
trusted; the token is in a header, never in an address or a log; every answer is bounded; what comes is verified.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import zlib
from typing import Final

import aiohttp
from pydantic import TypeAdapter, ValidationError

from ship_agent.protocol.snapshot import (
    CHUNK_BYTES,
    MANIFEST_BYTES_MAX,
    OBJECT_BYTES_MAX,
    Manifest,
    ManifestError,
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
_MISSING = TypeAdapter(list[str])


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

    async def offer(self, workspace: str, body: bytes) -> list[str]:
        """Offer a snapshot. Returns the chunks that the mux wants first; none if it is kept. Raises FilesError."""
        status, answer = await self._ask("POST", f"{workspace}/snapshots", body, bytes_max=MISSING_BYTES_MAX)
        if status == 409:
            try:
                return _MISSING.validate_json(answer)
            except ValidationError as error:
                raise FilesError("the mux gave an answer that is none", retryable=True) from error
        return []

    async def put(self, workspace: str, chunk: str, block: bytes) -> None:
        """Send a chunk. Raises FilesError."""
        packed = await asyncio.to_thread(zlib.compress, block, LEVEL)
        await self._ask("PUT", f"{workspace}/objects/{chunk}", packed, bytes_max=1024)

    async def manifest(self, workspace: str, snapshot: str) -> Manifest:
        """The snapshot that a workspace is to be restored from. Raises FilesError."""
        _, body = await self._ask("GET", f"{workspace}/snapshots/{snapshot}", None, bytes_max=MANIFEST_BYTES_MAX)
        if manifest_id(body) != snapshot:
            raise FilesError("the snapshot is damaged", retryable=True)
        try:
            return await asyncio.to_thread(read_manifest, body)
        except ManifestError as error:
            raise FilesError(str(error), retryable=False) from error

    async def chunk(self, workspace: str, chunk: str) -> bytes:
        """A chunk's bytes. Raises FilesError."""
        _, packed = await self._ask("GET", f"{workspace}/objects/{chunk}", None, bytes_max=OBJECT_BYTES_MAX)
        return await asyncio.to_thread(_unpacked, packed, chunk)

    async def _ask(self, method: str, path: str, body: bytes | None, *, bytes_max: int) -> tuple[int, bytes]:
        if not self._token:
            raise FilesError("there is no link to the mux", retryable=True)
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=REQUEST_S)
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout)
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            async with self._session.request(
                method, f"{self._base}/{path}", data=body, headers=headers, ssl=self._ssl, allow_redirects=False
            ) as response:
                answer = b""
                async for piece in response.content.iter_chunked(1 << 16):
                    answer += piece
                    if len(answer) > bytes_max:
                        raise FilesError("the mux answered with too much", retryable=False)
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise FilesError(f"no answer from the mux: {type(error).__name__}", retryable=True) from error
        if status in (200, 201, 409):
            return status, answer
        raise FilesError(
            f"the mux answered with {status}: {answer[:200].decode('ascii', 'replace').strip()}",
            retryable=status >= 500 or status in (401, 403, 429),
        )


def _unpacked(packed: bytes, chunk: str) -> bytes:
    try:
        machine = zlib.decompressobj()
        block = machine.decompress(packed, CHUNK_BYTES + 1)
    except zlib.error as error:
        raise FilesError("a part of the snapshot is damaged", retryable=True) from error
    if not is_sha(chunk) or hashlib.sha256(block).hexdigest() != chunk:
        raise FilesError("a part of the snapshot is damaged", retryable=True)
    return block
