"""Snapshots in S3, by attendee; ships bring and fetch chunks there themselves, by addresses that the mux signs.

Owns the layout below ``<prefix>`` of a bucket:

    manifests/u-<attendee>/<project>/<…>.json   a manifest; its name says when, what kind, and its own SHA-256
    objects/u-<attendee>/<sha256>               a chunk, compressed with zlib, named by the SHA-256 of its bytes

Rules beside those of every store: an address is good for one key, one method, and for a chunk that is brought one
length and one SHA-256 of what is sent, for ADDRESS_S; it is never logged. Nothing that is there is overwritten
(``If-None-Match``). Manifests pass through the mux, which keeps one only once its chunks are listed in the bucket.
Source of what is signed: the Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters".
"""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote

import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import ClientPayloadError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from mux.core.model import ProjectName, UserId
from mux.files.base import (
    UNUSED_S,
    ChunksMissingError,
    DamagedError,
    Deleted,
    Direct,
    FilesStoreError,
    Indexed,
    Kind,
    MissingError,
    NoRoomError,
    Snapshot,
    checked_chunk,
    deleted,
    noted,
    parsed,
    unpacked,
)
from ship_agent.protocol.snapshot import (
    MANIFEST_BYTES_MAX,
    OBJECT_BYTES_MAX,
    Address,
    Manifest,
    is_sha,
    manifest_id,
)

log = structlog.get_logger(__name__)

ADDRESS_S: Final = 300
"""How long a signed address is good."""
CONNECT_S: Final = 5.0
ANSWER_S: Final = 12.0
TRIES = 3
"""All of them take less than a ship waits for the mux (`ship_agent.snapshots.client.REQUEST_S`), which then hears that
it is S3 that does not answer."""
CONNECTIONS_MAX: Final = 32
READS_MAX: Final = 8
"""Manifests that are read at once while it is found out which chunks are used."""
PAGE = 1_000
"""Keys on a page of a listing, as many as S3 gives."""
DELETED_AT_ONCE: Final = 1_000
"""Keys of one DeleteObjects request, as many as S3 takes."""
KNOWN_MAX: Final = 1_000
"""Attendees whose chunks are remembered: more than a room has, since with one too few, people who all save in turn push
each other out, and every save is a listing. A chunk takes some 300 bytes here. Others' are listed when needed."""
SWEEP_EVERY = 20
"""Old snapshots that go before chunks are looked for that nobody names any more: that reads every manifest."""
SWEEP_PAUSE_S: Final = 60.0
"""Between two such looks at an attendee who has no room left."""

_CHECK_ALL = "check files.bucket, files.region and what the mux's credentials may"
_CREDENTIALS = "give it a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_ADVICE = {
    "AccessDenied": "the mux's credentials may not do this in that bucket, or its policy forbids it",
    "ExpiredToken": "the mux's credentials have ended; give it others",
    "InvalidAccessKeyId": "the mux's credentials are not known there; give it others",
    "SignatureDoesNotMatch": "the mux's secret access key is wrong; give it another one",
    "RequestTimeTooSkewed": "the clock of the mux's machine is wrong; set it",
    "SlowDown": "it is asked too much, and is asked again",
    "InternalError": "it is asked again",
    "ServiceUnavailable": "it is asked again",
}
"""What to do, by S3's own code (Amazon S3 API Reference, "List of error codes")."""

Connect = Callable[[], AbstractAsyncContextManager[Any]]
"""Makes botocore's client."""


@asynccontextmanager
async def connected(region: str, endpoint: str = "") -> AsyncIterator[Any]:
    """A client of S3, with the credentials that the AWS tools would find.

    Args:
        region: of the bucket.
        endpoint: address of another service that speaks S3; empty for AWS.
    """
    config = AioConfig(
        connect_timeout=CONNECT_S,
        read_timeout=ANSWER_S,
        max_pool_connections=CONNECTIONS_MAX,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "virtual"},
        # Not every service that speaks S3 knows the checksums that newer clients add unasked.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="mux",
    )
    session = get_session()
    # Reading the description of S3's API takes a while: not on the event loop. The loader keeps what it has read.
    loader = session.get_component("data_loader")
    for part in ("service-2", "endpoint-rule-set-1"):
        await asyncio.to_thread(loader.load_service_model, "s3", part)
    made = session.create_client("s3", region_name=region, endpoint_url=endpoint or None, config=config)
    async with made as client:
        yield client


@dataclass(slots=True)
class _Objects:
    """The chunks of one attendee: by name, size in bytes and when it came, in seconds since the epoch.

    ``granted``: those that a ship may be bringing: their size, and until when.
    """

    there: dict[str, tuple[int, float]] = field(default_factory=dict)
    granted: dict[str, tuple[int, float]] = field(default_factory=dict)
    swept_at: float = 0.0


class S3Store(Indexed):
    """All snapshots of an event, in a bucket. See `mux.files.base.FilesStore`.

    Args:
        connect: makes the client.
        bucket: its name.
        prefix: of every key; empty, or ending with a slash.
        attendee_bytes_max: bound of one attendee, compressed.
        clock: seconds since the epoch.
    """

    def __init__(
        self, connect: Connect, bucket: str, prefix: str, attendee_bytes_max: int, clock: Callable[[], float]
    ) -> None:
        super().__init__(attendee_bytes_max)
        self.direct: Direct | None = self
        self._connect = connect
        self._bucket = bucket
        self._prefix = prefix
        self._clock = clock
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._locks: dict[UserId, asyncio.Lock] = {}
        self._objects: OrderedDict[UserId, _Objects] = OrderedDict()
        self._manifest_bytes: dict[UserId, int] = {}
        self._pruned: dict[UserId, int] = {}

    async def open(self) -> None:
        """Find what is there. Raises FilesStoreError."""
        with _translated():
            self._client = await self._stack.enter_async_context(self._connect())
        found: dict[tuple[UserId, ProjectName], list[Snapshot]] = {}
        async for key, size, _ in self._list("manifests/"):
            owner, _, rest = key.partition("/")
            project, _, name = rest.partition("/")
            user = UserId(unquote(owner.removeprefix("u-")))
            snapshot = Snapshot.named(user, ProjectName(project), name)
            if snapshot is None or owner != _owner(user):
                log.warning("no snapshot of anybody's", key=key[:200])
                continue
            found.setdefault((user, snapshot.project), []).append(snapshot)
            self._manifest_bytes[user] = self._manifest_bytes.get(user, 0) + size
        for (user, project), kept in found.items():
            self._index.put(user, project, sorted(kept, key=lambda each: each.at))

    async def close(self) -> None:
        """Let go of connections."""
        await self._stack.aclose()

    async def owners(self) -> set[UserId]:
        """Everybody of whom anything is kept there. Raises FilesStoreError."""
        found = set()
        pages = self._client.get_paginator("list_objects_v2")
        for kind in ("manifests/", "objects/"):
            prefix = f"{self._prefix}{kind}"
            with _translated():
                async for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                    for each in page.get("CommonPrefixes", ()):
                        owner = each["Prefix"].removeprefix(prefix).removesuffix("/")
                        found.add((UserId(unquote(owner.removeprefix("u-"))), owner))
        return {user for user, owner in found if owner == _owner(user)}

    async def bytes_of(self, user: UserId) -> int:
        """What an attendee's files take there."""
        async with self._lock(user):
            return self._usage(user, await self._known(user))

    async def put_object(self, user: UserId, chunk: str, packed: bytes) -> None:
        """Keep a chunk. Raises NoRoomError or DamagedError."""
        checked_chunk(packed, chunk)
        async with self._lock(user):
            known = await self._known(user)
            if chunk in known.there:
                return
            await self._have_room(user, known, len(packed))
            await self._put(self._object(user, chunk), packed)
            known.there[chunk] = (len(packed), self._clock())

    async def sign_put(self, user: UserId, chunk: str, length: int, packed_sha256: str) -> Address:
        """Where a ship may bring a chunk, of that length and with that SHA-256 (hex) as it is sent.

        Raises NoRoomError, MissingError for what is no name of a chunk, DamagedError for a length that no chunk has.
        """
        if not 1 <= length <= OBJECT_BYTES_MAX or not is_sha(packed_sha256):
            raise DamagedError("no chunk is so long")
        key = self._object(user, chunk)
        async with self._lock(user):
            known = await self._known(user)
            now = self._clock()
            if any(until <= now for _, until in known.granted.values()):
                await self._look(user, known)  # what was brought and never named counts too
                known.granted = {name: grant for name, grant in known.granted.items() if grant[1] > now}
            if chunk not in known.there:  # else nothing is overwritten, and its length is what it is
                await self._have_room(user, known, length + sum(size for size, _ in known.granted.values()))
                known.granted[chunk] = (length, now + ADDRESS_S)
        checksum = base64.b64encode(bytes.fromhex(packed_sha256)).decode()
        conditions = {"ContentLength": length, "ChecksumSHA256": checksum, "IfNoneMatch": "*"}
        url = await self._sign("put_object", key, conditions)
        return Address(url=url, headers={"x-amz-checksum-sha256": checksum, "If-None-Match": "*"})

    async def sign_get(self, user: UserId, chunk: str) -> Address:
        """Where a ship may fetch a chunk. Raises MissingError for what is no name of one."""
        return Address(url=await self._sign("get_object", self._object(user, chunk), {}), headers={})

    async def put_manifest(self, user: UserId, project: ProjectName, kind: Kind, body: bytes, now: float) -> Snapshot:
        """Keep a snapshot; see FilesStore."""
        manifest = await asyncio.to_thread(parsed, body)
        chunks = list(dict.fromkeys(manifest.chunks()))
        async with self._lock(user):
            known = await self._known(user)
            if known.granted and any(chunk not in known.there for chunk in chunks):
                await self._look(user, known)
            missing = [chunk for chunk in chunks if chunk not in known.there]
            if missing:
                raise ChunksMissingError(missing)
            if (same := self._index.newest_like(user, project, kind, manifest_id(body))) is not None:
                return same
            await self._have_room(user, known, len(body))
            snapshot = noted(self._index.next(user, project, kind, manifest_id(body), now), manifest)
            await self._put(self._manifest(snapshot), body)
            self._index.put(user, project, [*self._index.of(user, project), snapshot])
            self._manifest_bytes[user] = self._manifest_bytes.get(user, 0) + len(body)
            await self._prune(user, project, known)
        return snapshot

    async def body(self, snapshot: Snapshot) -> bytes:
        """A manifest's JSON, verified. Raises MissingError or DamagedError."""
        body = await self._get(self._manifest(snapshot), MANIFEST_BYTES_MAX)
        if manifest_id(body) != snapshot.id:
            raise DamagedError("the snapshot is damaged in S3")
        return body

    async def manifest(self, snapshot: Snapshot) -> Manifest:
        """A manifest, verified. Raises MissingError or DamagedError."""
        return await asyncio.to_thread(parsed, await self.body(snapshot))

    async def packed(self, user: UserId, chunk: str) -> bytes:
        """A chunk as it is kept; who gets it verifies it. Raises MissingError."""
        return await self._get(self._object(user, chunk), OBJECT_BYTES_MAX)

    async def chunk(self, user: UserId, chunk: str) -> bytes:
        """A chunk's bytes, verified. Raises MissingError or DamagedError."""
        block = await asyncio.to_thread(unpacked, await self.packed(user, chunk), chunk)
        if block is None:
            raise DamagedError("a part of the snapshot is damaged in S3")
        return block

    async def delete(self, user: UserId) -> Deleted | None:
        """Delete all that is kept of an attendee; None if nothing was."""
        async with self._lock(user):
            keys, size = [], 0
            for kind in ("manifests", "objects"):
                async for key, bytes_there, _ in self._list(f"{kind}/{_owner(user)}/"):
                    keys.append(f"{self._prefix}{kind}/{_owner(user)}/{key}")
                    size += bytes_there
            await self._delete(keys)
            gone = self._index.forget(user)
            self._objects.pop(user, None)
            self._manifest_bytes.pop(user, None)
            return deleted(gone, size) if keys else None

    # --- what is kept, and for how long -----------------------------------------------------------------------------

    async def _known(self, user: UserId) -> _Objects:
        """The attendee's chunks; under their lock."""
        known = self._objects.get(user)
        if known is None:
            known = _Objects()
            await self._look(user, known)
            self._objects[user] = known
        self._objects.move_to_end(user)
        while len(self._objects) > KNOWN_MAX:
            self._objects.popitem(last=False)
        return known

    async def _look(self, user: UserId, known: _Objects) -> None:
        """List the attendee's chunks. One that is not of the length that was granted is deleted."""
        there: dict[str, tuple[int, float]] = {}
        wrong: list[str] = []
        async for chunk, size, at in self._list(f"objects/{_owner(user)}/"):
            granted = known.granted.get(chunk, (size, 0.0))[0]
            if is_sha(chunk) and size == granted and size <= OBJECT_BYTES_MAX:
                there[chunk] = (size, at)
            else:
                wrong.append(f"{self._prefix}objects/{_owner(user)}/{chunk}")
        await self._delete(wrong)
        known.there = there
        known.granted = {chunk: grant for chunk, grant in known.granted.items() if chunk not in there}

    def _usage(self, user: UserId, known: _Objects) -> int:
        return self._manifest_bytes.get(user, 0) + sum(size for size, _ in known.there.values())

    async def _have_room(self, user: UserId, known: _Objects, more: int) -> None:
        if self._usage(user, known) + more <= self.attendee_bytes_max:
            return
        if self._index.knows(user) and self._clock() - known.swept_at >= SWEEP_PAUSE_S:
            await self._sweep(user, known)
        if self._usage(user, known) + more > self.attendee_bytes_max:
            raise NoRoomError("this attendee's files take all the room that files.attendee_max gives")

    async def _prune(self, user: UserId, project: ProjectName, known: _Objects) -> None:
        gone = self._index.prune(user, project)
        await self._delete([self._manifest(each) for each in gone])
        self._pruned[user] = self._pruned.get(user, 0) + len(gone)
        if self._pruned[user] >= SWEEP_EVERY:
            self._pruned[user] = 0
            await self._sweep(user, known)

    async def _sweep(self, user: UserId, known: _Objects) -> None:
        """Delete chunks that no manifest names and that nobody can be about to name."""
        known.swept_at = now = self._clock()
        turns = asyncio.Semaphore(READS_MAX)

        async def named(snapshot: Snapshot) -> frozenset[str]:
            async with turns:
                return frozenset((await self.manifest(snapshot)).chunks())

        try:
            used = frozenset[str]().union(*await asyncio.gather(*map(named, self._index.of_user(user))))
        except FilesStoreError as error:
            # What a snapshot names that cannot be read is not known: nothing is deleted.
            log.warning("unused chunks are left for now", why=str(error))
            return
        unused = [chunk for chunk, (_, at) in known.there.items() if chunk not in used and at < now - UNUSED_S]
        await self._delete([self._object(user, chunk) for chunk in unused])
        for chunk in unused:
            del known.there[chunk]
        self._manifest_bytes[user] = sum([size async for _, size, _ in self._list(f"manifests/{_owner(user)}/")])

    # --- the bucket -------------------------------------------------------------------------------------------------

    async def _list(self, below: str) -> AsyncIterator[tuple[str, int, float]]:
        """Keys below a part of the layout, without it, with size and time."""
        prefix = f"{self._prefix}{below}"
        with _translated():
            pages = self._client.get_paginator("list_objects_v2")
            async for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, MaxKeys=PAGE):
                for each in page.get("Contents", ()):
                    yield each["Key"].removeprefix(prefix), int(each["Size"]), each["LastModified"].timestamp()

    async def _put(self, key: str, content: bytes) -> None:
        with _translated():
            try:
                await self._client.put_object(Bucket=self._bucket, Key=key, Body=content, IfNoneMatch="*")
            except ClientError as error:
                if _code(error) not in ("PreconditionFailed", "412"):
                    raise  # else: it is there already

    async def _get(self, key: str, bytes_max: int) -> bytes:
        with _translated():
            answer = await self._client.get_object(Bucket=self._bucket, Key=key)
            content = bytearray()
            async with answer["Body"] as body:
                # One read gives what has come so far, not all that is asked for.
                while piece := await body.read(bytes_max + 1 - len(content)):
                    content += piece
        if len(content) > bytes_max:
            raise DamagedError("what is kept in S3 is larger than anything that was put there")
        return bytes(content)

    async def _delete(self, keys: Iterable[str]) -> None:
        left = list(keys)
        while left:
            some, left = left[:DELETED_AT_ONCE], left[DELETED_AT_ONCE:]
            wanted = {"Objects": [{"Key": key} for key in some], "Quiet": True}
            with _translated():
                answer = await self._client.delete_objects(Bucket=self._bucket, Delete=wanted)
            if answer.get("Errors"):
                raise FilesStoreError(f"S3 does not delete: {answer['Errors'][0].get('Code')}; check s3:DeleteObject")

    async def _sign(self, method: str, key: str, conditions: dict[str, Any]) -> str:
        with _translated():
            url: str = await self._client.generate_presigned_url(
                method, Params={"Bucket": self._bucket, "Key": key, **conditions}, ExpiresIn=ADDRESS_S
            )
        return url

    def _lock(self, user: UserId) -> asyncio.Lock:
        return self._locks.setdefault(user, asyncio.Lock())

    def _object(self, user: UserId, chunk: str) -> str:
        if not is_sha(chunk):
            raise MissingError("there is no such chunk")
        return f"{self._prefix}objects/{_owner(user)}/{chunk}"

    def _manifest(self, snapshot: Snapshot) -> str:
        return f"{self._prefix}manifests/{_owner(snapshot.user)}/{snapshot.project}/{snapshot.file_name}"


def _owner(user: UserId) -> str:
    """An attendee as one part of a key, whatever the id; the mark in front keeps it from being ``..``."""
    return "u-" + quote(user, safe="")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what S3 and the way there say into sentences for people; never an address, which may be signed."""
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in ("NoSuchKey", "404", "NotFound"):
            raise MissingError("it is not here; it may have been deleted") from error
        raise FilesStoreError(f"S3 says {code[:80]}; {_ADVICE.get(code, _CHECK_ALL)}") from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise FilesStoreError(f"the mux has no credentials for S3 ({type(error).__name__}); {_CREDENTIALS}") from error
    except (BotoCoreError, ResponseParserError, ClientPayloadError, OSError, TimeoutError) as error:
        what = f"S3 does not answer: {type(error).__name__}"
        raise FilesStoreError(f"{what}; check files.endpoint and the network") from error
