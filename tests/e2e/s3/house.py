"""The house of `tests.e2e.lost`, with attendees' files in a bucket: ships bring them there past the mux.

The bucket is moto's, behind a gate that looks at signatures and fails when told to. What is in it is read beside the
gate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.docker_engine import Engine
from tests.e2e.harness import LOOK_S, free_ports
from tests.e2e.kills.attendee import FILE, Attendee
from tests.e2e.lost.house import MOVED_S_MAX, SHARED_FILE, House, opened
from tests.fakes.s3 import ACCESS_KEY, SECRET_KEY, Gate, gate
from tests.files.places import BUCKET, PREFIX, moto_client

FILES = """
[files]
store = "s3"
bucket = "{bucket}"
region = "eu-central-1"
endpoint = "{endpoint}"
prefix = "{prefix}"
"""
SIGNED = ("X-Amz-", "x-amz-")
"""What every signed address has, and no log may."""


class S3House(House):
    """See the module.

    Args:
        directory: for everything; its path must be short.
        s3: the gate.
        client: of the bucket, beside the gate.
        light, engine: see `House`.
    """

    def __init__(self, directory: Path, s3: Gate, client: Any, *, light: bool, engine: Engine | None = None) -> None:
        more = FILES.replace("{bucket}", BUCKET).replace("{endpoint}", s3.url).replace("{prefix}", PREFIX)
        super().__init__(directory, light=light, engine=engine, more=more)
        self.environment |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        self.s3 = s3
        self._client = client

    async def in_the_bucket(self, file: str) -> str:
        """What the newest snapshot there has in the attendee's file; empty if there is none."""
        of = "shared.data" if file == SHARED_FILE else "intro"
        listed = await self._client.list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}manifests/")
        keys = [each["Key"] for each in listed.get("Contents", ()) if f"/{of}/" in each["Key"]]
        if not keys:
            return ""
        owner = keys[0].removeprefix(f"{PREFIX}manifests/").partition("/")[0]
        for entry in json.loads(await self._read(max(keys)))["entries"]:
            if entry["path"] == FILE:
                parts = [await self._read(f"{PREFIX}objects/{owner}/{chunk}") for chunk in entry["chunks"]]
                return b"".join(map(zlib.decompress, parts)).decode()
        return ""

    async def until_in_the_bucket(self, file: str, text: str) -> None:
        """Wait until a snapshot there has that in the attendee's file."""
        async with asyncio.timeout(MOVED_S_MAX):
            while await self.in_the_bucket(file) != text:
                await asyncio.sleep(LOOK_S)

    async def _read(self, key: str) -> bytes:
        answer = await self._client.get_object(Bucket=BUCKET, Key=key)
        async with answer["Body"] as body:
            content: bytes = await body.read()
        return content

    async def home(self) -> Path:
        """The attendee's files on their ship."""
        ship = await self.ship_of_the_attendee()
        (found,) = self.directory.glob(f"data/ships/{ship}/workspaces/*.intro.*/home")
        return found

    async def told(self) -> list[str]:
        """What organizers have been told of files, the newest first."""
        notices = (await self.status())["notices"]
        return [str(each["text"]) for each in notices if "kept apart from" in each["text"]]

    async def until_told(self, words: str) -> None:
        """Wait until what organizers were told last of files has these words."""
        async with asyncio.timeout(MOVED_S_MAX):
            while words not in "".join((await self.told())[:1]):
                await asyncio.sleep(LOOK_S)

    def leaked(self) -> list[str]:
        """Logs with something in them that is signed, or signs."""
        logs = [self.log, *self.directory.glob("data/**/*.log"), *self.directory.glob("data/**/log")]
        return [
            f"{path.name}: {word}"
            for path in logs
            for word in SIGNED
            if word in path.read_text(encoding="utf-8", errors="replace")
        ]


@contextlib.asynccontextmanager
async def open_s3_house(
    moto: str, *, light: bool = True, engine: Engine | None = None
) -> AsyncIterator[tuple[S3House, Attendee]]:
    """A house with an attendee at work in it. ``light`` and ``engine``: see `House`."""
    async with moto_client(moto) as client, gate(moto, *free_ports(1)) as s3:
        await client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        try:
            with tempfile.TemporaryDirectory(prefix="mux-s3-", ignore_cleanup_errors=True) as directory:
                house = S3House(Path(directory), s3, client, light=light, engine=engine)
                async with opened(house) as attendee:
                    yield house, attendee
                assert house.leaked() == []
        finally:
            await _emptied(client)


async def _emptied(client: Any) -> None:
    listed = await client.list_objects_v2(Bucket=BUCKET)
    for each in listed.get("Contents", ()):
        await client.delete_object(Bucket=BUCKET, Key=each["Key"])
    await client.delete_bucket(Bucket=BUCKET)
