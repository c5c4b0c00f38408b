"""Where snapshots are kept, as the conformance suite needs it: a directory, and a bucket on moto's server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from mux.files.base import UNUSED_S, FilesStore
from mux.files.directory import DirectoryStore
from mux.files.s3 import S3Store

ROOM = 64 << 20
BUCKET = "camp-files"
PREFIX = "camp-2026/"


class Place(Protocol):
    """One place for snapshots."""

    async def store(self) -> FilesStore:
        """A store that has just been opened there."""

    async def objects(self) -> list[str]:
        """Names of the chunks that are there."""

    async def damage(self, what: str, content: bytes) -> None:
        """Have other content in everything of a kind, ``objects`` or ``manifests``."""

    async def grow_old(self, now: float) -> None:
        """Have every chunk be too old for a snapshot that is under way at ``now``."""

    async def nothing_left_of_others(self, users: int) -> bool:
        """Whether there is something of so many attendees and no more."""


class DirectoryPlace:
    """A directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def store(self) -> DirectoryStore:
        made = DirectoryStore(self._directory, ROOM)
        await made.open()
        return made

    async def objects(self) -> list[str]:
        return sorted(path.name for path in self._directory.glob("*/objects/*/*"))

    async def damage(self, what: str, content: bytes) -> None:
        for path in self._directory.glob("*/objects/*/*" if what == "objects" else "*/project-*/*"):
            path.write_bytes(content)

    async def grow_old(self, now: float) -> None:
        for path in self._directory.glob("*/objects/*/*"):
            os.utime(path, (now - 2 * UNUSED_S, now - 2 * UNUSED_S))

    async def nothing_left_of_others(self, users: int) -> bool:
        return len(list(self._directory.iterdir())) == users


_SESSION = get_session()
"""One for all: it keeps what it has read of S3's description, which takes a second."""


@asynccontextmanager
async def moto_client(url: str) -> AsyncIterator[Any]:
    """As `mux.files.s3.connected` makes it, with credentials of moto's."""
    config = AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    made = _SESSION.create_client(
        "s3",
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=config,
    )
    async with made as client:
        yield client


class S3Place:
    """A fresh bucket on moto's server.

    ``now`` is the store's clock; what is in the bucket bears this machine's time.
    """

    def __init__(self, url: str, client: Any, now: float) -> None:
        self.url = url
        self.client = client
        self.now = now

    async def store(self) -> S3Store:
        made = S3Store(lambda: nullcontext(self.client), BUCKET, PREFIX, ROOM, lambda: self.now)
        await made.open()
        return made

    async def keys(self, kind: str) -> list[str]:
        page = await self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}{kind}/")
        return [each["Key"] for each in page.get("Contents", ())]

    async def objects(self) -> list[str]:
        return sorted(key.rpartition("/")[2] for key in await self.keys("objects"))

    async def damage(self, what: str, content: bytes) -> None:
        for key in await self.keys(what):
            await self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    async def grow_old(self, now: float) -> None:
        self.now = now + 2 * UNUSED_S

    async def nothing_left_of_others(self, users: int) -> bool:
        keys = [*await self.keys("objects"), *await self.keys("manifests")]
        return len({key.split("/")[2] for key in keys}) == users

    async def close(self) -> None:
        """Empty the bucket."""
        keys = [*await self.keys("objects"), *await self.keys("manifests")]
        if keys:
            wanted = {"Objects": [{"Key": key} for key in keys]}
            await self.client.delete_objects(Bucket=BUCKET, Delete=wanted)
        await self.client.delete_bucket(Bucket=BUCKET)


@asynccontextmanager
async def s3_place(url: str, now: float) -> AsyncIterator[S3Place]:
    """A bucket, until the block ends."""
    async with moto_client(url) as client:
        await client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        made = S3Place(url, client, now)
        try:
            yield made
        finally:
            await made.close()
