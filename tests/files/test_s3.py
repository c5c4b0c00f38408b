"""S3 alone: what addresses are good for, what counts once S3 has it, and ships that bring and fetch it themselves."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import pytest
from structlog.testing import capture_logs
from yarl import URL

from mux.core.model import ProjectName, UserId, WorkspaceId
from mux.files import s3
from mux.files.base import ChunksMissingError, DamagedError, FilesStoreError, MissingError, NoRoomError
from mux.files.s3 import ADDRESS_S, S3Store
from ship_agent.protocol.snapshot import CHUNK_BYTES, OBJECT_BYTES_MAX, Address, Manifest
from ship_agent.snapshots.client import REQUEST_S
from ship_agent.snapshots.keeper import SnapshotKeeper
from tests.control.harness import OTHER, SHIP, Mux
from tests.control.test_files import HERE, THERE, Linked, keep_one, kept_by, linked, refused, sits, until
from tests.files.places import BUCKET, PREFIX, S3Place, s3_place
from tests.files.snapshots import file_entry

__all__ = ["linked"]  # a fixture

ANA, ODD = UserId("ana"), UserId("../b n%2e")
INTRO = ProjectName("intro")
NOW = 1_800_000_000.0
BLOCK = b"what Ana wrote"
CHUNK = hashlib.sha256(BLOCK).hexdigest()
PACKED = zlib.compress(BLOCK)
SHA = hashlib.sha256(PACKED).hexdigest()


@pytest.fixture
async def place(moto_server: str) -> AsyncIterator[S3Place]:
    """An empty bucket."""
    async with s3_place(moto_server, NOW) as made:
        yield made


@pytest.fixture
async def store(place: S3Place) -> S3Store:
    """An empty store."""
    return await place.store()


def manifest() -> bytes:
    return Manifest(digest="", taken_at=NOW, entries=[file_entry(b"a", BLOCK)]).body()


async def send(method: str, address: Address, content: bytes | None = None) -> int:
    """As a ship does it; the status."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, URL(address.url, encoded=True), data=content, headers=address.headers) as answer,
    ):
        return answer.status


def signed(address: Address) -> tuple[str, Mapping[str, str]]:
    """Key, and what is signed beside it."""
    parts = urlsplit(address.url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return unquote(parts.path).removeprefix(f"/{BUCKET}/"), query


async def test_an_address_to_bring_is_good_for_one_key_one_length_and_one_checksum(store: S3Store) -> None:
    for user, owner in ((ANA, "u-ana"), (ODD, "u-..%2Fb%20n%252e")):
        address = await store.sign_put(user, CHUNK, len(PACKED), SHA)
        key, query = signed(address)
        assert key == f"{PREFIX}objects/{owner}/{CHUNK}"
        assert query["X-Amz-SignedHeaders"] == "content-length;host;if-none-match;x-amz-checksum-sha256"
        assert int(query["X-Amz-Expires"]) == ADDRESS_S <= 300
        assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
        checksum = base64.b64encode(bytes.fromhex(SHA)).decode()
        assert address.headers == {"x-amz-checksum-sha256": checksum, "If-None-Match": "*"}
    again = await store.sign_put(ANA, CHUNK, len(PACKED) + 1, SHA)
    other = await store.sign_put(ANA, CHUNK, len(PACKED), "0" * 64)
    signatures = {signed(each)[1]["X-Amz-Signature"] for each in (address, again, other)}
    assert len(signatures) == 3, "length and checksum are part of what is signed"


async def test_an_address_to_fetch_is_good_for_one_key(store: S3Store) -> None:
    address = await store.sign_get(ANA, CHUNK)
    key, query = signed(address)
    assert (key, int(query["X-Amz-Expires"]), address.headers) == (f"{PREFIX}objects/u-ana/{CHUNK}", ADDRESS_S, {})
    assert signed(await store.sign_put(ANA, CHUNK, 5, SHA))[1]["X-Amz-Signature"] != query["X-Amz-Signature"]


async def test_what_a_ship_brought_counts_once_the_bucket_has_it(store: S3Store, place: S3Place) -> None:
    address = await store.sign_put(ANA, CHUNK, len(PACKED), SHA)
    with pytest.raises(ChunksMissingError):
        await store.put_manifest(ANA, INTRO, "snapshot", manifest(), NOW)
    assert await send("PUT", address, PACKED) == 200
    snapshot = await store.put_manifest(ANA, INTRO, "snapshot", manifest(), NOW)
    assert await store.chunk(ANA, CHUNK) == BLOCK
    assert await send("GET", await store.sign_get(ANA, CHUNK)) == 200
    assert (await place.store()).latest(ANA, INTRO) == snapshot


async def test_what_is_there_is_not_overwritten(store: S3Store) -> None:
    await store.put_object(ANA, CHUNK, PACKED)
    address = await store.sign_put(ANA, CHUNK, len(PACKED), SHA)
    assert await send("PUT", address, b"x" * len(PACKED)) == 412
    assert await store.chunk(ANA, CHUNK) == BLOCK


async def test_a_chunk_of_another_length_does_not_count_and_goes(store: S3Store, place: S3Place) -> None:
    await store.sign_put(ANA, CHUNK, len(PACKED), SHA)
    # A service that does not look at what was signed.
    await place.client.put_object(Bucket=BUCKET, Key=f"{PREFIX}objects/u-ana/{CHUNK}", Body=PACKED + b"more")
    with pytest.raises(ChunksMissingError):
        await store.put_manifest(ANA, INTRO, "snapshot", manifest(), NOW)
    assert await place.objects() == []


async def test_addresses_that_are_out_count_as_room(store: S3Store, place: S3Place) -> None:
    store.attendee_bytes_max = 1000
    for number in range(2):
        await store.sign_put(ANA, str(number) * 64, 400, SHA)
    with pytest.raises(NoRoomError):
        await store.sign_put(ANA, "2" * 64, 400, SHA)
    await store.sign_put(ODD, "2" * 64, 400, SHA)
    place.now += ADDRESS_S + 1
    await store.sign_put(ANA, "2" * 64, 400, SHA)


async def test_an_address_for_what_is_there_already_costs_nothing_of_it(store: S3Store) -> None:
    await store.put_object(ANA, CHUNK, PACKED)
    await store.put_manifest(ANA, INTRO, "snapshot", manifest(), NOW)
    await store.sign_put(ANA, CHUNK, len(PACKED) + 1, SHA)
    other = file_entry(b"b", b"not brought")
    with pytest.raises(ChunksMissingError):
        await store.put_manifest(ANA, INTRO, "snapshot", Manifest(digest="", taken_at=NOW, entries=[other]).body(), NOW)
    assert await store.chunk(ANA, CHUNK) == BLOCK


async def test_what_is_brought_and_never_named_counts_as_room(store: S3Store, place: S3Place) -> None:
    store.attendee_bytes_max = 1000
    address = await store.sign_put(ANA, "1" * 64, 800, SHA)
    await place.client.put_object(Bucket=BUCKET, Key=signed(address)[0], Body=b"x" * 800)
    place.now += ADDRESS_S + 1
    with pytest.raises(NoRoomError):
        await store.sign_put(ANA, "2" * 64, 400, SHA)


@pytest.mark.parametrize(("chunk", "length", "sha"), [("..", 5, SHA), (CHUNK, 0, SHA), (CHUNK, 5, "no"),
                                                      (CHUNK, OBJECT_BYTES_MAX + 1, SHA)])  # fmt: skip
async def test_no_address_for_what_is_no_chunk(store: S3Store, chunk: str, length: int, sha: str) -> None:
    with pytest.raises((MissingError, DamagedError)):
        await store.sign_put(ANA, chunk, length, sha)


async def test_listings_have_pages(store: S3Store, place: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAGE", 2)
    for number in range(5):
        block = f"block {number}".encode()
        await store.put_object(ANA, hashlib.sha256(block).hexdigest(), zlib.compress(block))
    fresh = await place.store()
    assert await fresh.bytes_of(ANA) == await store.bytes_of(ANA) > 0


@pytest.fixture
async def mux(store: S3Store, tmp_path: Path) -> AsyncIterator[Mux]:
    """A control listener whose files are in the bucket."""
    made = Mux(tmp_path / "mux", gives_files=True)
    made.files = store
    await made.start()
    yield made
    await made.close()


async def test_ships_bring_and_fetch_files_past_the_mux(
    mux: Mux, linked: Linked, place: S3Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sits(mux, ANA)
    home, other = tmp_path / "one" / "home", tmp_path / "other" / "home"
    home.mkdir(parents=True)
    other.mkdir(parents=True)
    big = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"end"
    (home / "big.bin").write_bytes(big)
    (home / "work.ipynb").write_bytes(BLOCK)
    with capture_logs() as lines, caplog.at_level("INFO"):
        async with kept_by(await linked(SHIP), tmp_path / "staging") as keeper:
            keeper.watch({HERE: home}, frozenset())
            await until(lambda: mux.files.latest(ANA, INTRO) is not None)
        snapshot = mux.files.latest(ANA, INTRO)
        assert snapshot is not None
        del mux.holders[(SHIP, WorkspaceId(HERE), "")]
        sits(mux, ANA, ship=OTHER, workspace=THERE)
        await SnapshotKeeper(await linked(OTHER), tmp_path / "staging 2").restore(THERE, other, snapshot.id)
    assert (other / "work.ipynb").read_bytes() == BLOCK
    assert (other / "big.bin").read_bytes() == big
    assert len(await place.objects()) == 3
    ours = [record.getMessage() for record in caplog.records if record.name != "werkzeug"]
    assert "X-Amz-Signature" not in f"{lines}{ours}", "an address was logged"


async def test_addresses_are_for_the_ship_that_the_attendee_sits_on(mux: Mux, linked: Linked) -> None:
    sits(mux, ANA)
    mine, others = await linked(SHIP), await linked(OTHER)
    await keep_one(mine)
    assert await mine.chunk(HERE, CHUNK) == BLOCK
    for call in (others.chunk(HERE, CHUNK), others.put(HERE, CHUNK, BLOCK)):
        assert "403" in await refused(call)
    sits(mux, ANA, kept=True)
    assert "403" in await refused(mine.chunk(HERE, CHUNK))


async def test_a_bucket_that_is_not_there_is_said(place: S3Place) -> None:
    from contextlib import nullcontext

    other = S3Store(lambda: nullcontext(place.client), "no-such-bucket", "", 1 << 20, lambda: NOW)
    with pytest.raises(FilesStoreError, match=r"S3 says NoSuchBucket; check files\.bucket"):
        await other.open()


def test_a_ship_waits_until_the_mux_knows_that_s3_does_not_answer() -> None:
    assert s3.TRIES * (s3.CONNECT_S + s3.ANSWER_S) < REQUEST_S


async def test_a_service_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(s3, "TRIES", 1)
    store = S3Store(lambda: s3.connected("eu-central-1", "http://127.0.0.1:9"), BUCKET, "", 1 << 20, lambda: NOW)
    with pytest.raises(FilesStoreError, match="S3 does not answer"):
        await store.open()
    await store.close()
