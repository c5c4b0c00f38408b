"""Every store of snapshots: whole or not there, verified, bounded, pruned. The disk has a test of its own."""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mux.core.files import shared_files
from mux.core.model import ProjectName, UserId
from mux.files import s3
from mux.files.archive import archive, parts_of
from mux.files.base import (
    KEPT_EVERY_S,
    KEPT_MAX,
    KEPT_NEWEST,
    ChunksMissingError,
    DamagedError,
    FilesStore,
    MissingError,
    NoRoomError,
)
from ship_agent.protocol.snapshot import CHUNK_BYTES, Manifest, SnapshotEntry
from tests.files.places import DirectoryPlace, Place, s3_place

ANA, BEN = UserId("ana"), UserId("../ben")
INTRO = ProjectName("intro")
NOW = 1_800_000_000.0


@pytest.fixture(params=["directory", "s3"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    """An empty place of each kind."""
    if request.param == "directory":
        yield DirectoryPlace(tmp_path / "files")
        return
    monkeypatch.setattr(s3, "SWEEP_EVERY", 1)
    async with s3_place(request.getfixturevalue("moto_server"), NOW) as made:
        yield made


@pytest.fixture
async def store(place: Place) -> FilesStore:
    """An empty store."""
    return await place.store()


def chunk_of(block: bytes) -> str:
    return hashlib.sha256(block).hexdigest()


def body(*blocks: bytes, at: float = NOW) -> bytes:
    """A snapshot of files with these contents."""
    entries = [
        SnapshotEntry(
            path=f"file-{number}", kind="file", mode=0o644, uid=0, gid=0, mtime_ns=0, size=len(block),
            chunks=[chunk_of(block)],
        )
        for number, block in enumerate(blocks)
    ]  # fmt: skip
    return Manifest(digest="", taken_at=at, entries=entries).body()


async def keep(store: FilesStore, user: UserId, block: bytes, now: float = NOW) -> str:
    """Keep a snapshot of one file; its id."""
    await store.put_object(user, chunk_of(block), zlib.compress(block))
    return (await store.put_manifest(user, INTRO, "snapshot", body(block, at=now), now)).id


async def test_what_is_kept_is_found_by_the_next_start(store: FilesStore, place: Place) -> None:
    kept = await keep(store, ANA, b"mine")
    found = await place.store()
    latest = found.latest(ANA, INTRO)
    assert latest is not None
    assert (latest.id, latest.user, latest.kind) == (kept, ANA, "snapshot")
    assert await found.chunk(ANA, (await found.manifest(latest)).entries[0].chunks[0]) == b"mine"
    assert found.all() == store.all()
    assert await found.bytes_of(ANA) >= len(await found.body(latest))


async def test_a_snapshot_without_its_chunks_is_not_kept(store: FilesStore) -> None:
    await store.put_object(ANA, chunk_of(b"here"), zlib.compress(b"here"))
    with pytest.raises(ChunksMissingError) as error:
        await store.put_manifest(ANA, INTRO, "snapshot", body(b"here", b"not here"), NOW)
    assert error.value.chunks == [chunk_of(b"not here")]
    assert store.latest(ANA, INTRO) is None


async def test_one_attendees_chunks_are_not_anothers(store: FilesStore) -> None:
    await keep(store, ANA, b"mine")
    with pytest.raises(ChunksMissingError):
        await store.put_manifest(BEN, INTRO, "snapshot", body(b"mine"), NOW)
    with pytest.raises(MissingError):
        await store.chunk(BEN, chunk_of(b"mine"))


@pytest.mark.parametrize(
    "packed",
    [
        b"no zlib",
        zlib.compress(b"other"),
        zlib.compress(b"mine") + b"more",
        zlib.compress(b"mine")[:-1],
        zlib.compress(b"\0" * (CHUNK_BYTES + 1)),
        os.urandom(CHUNK_BYTES + 2048),
    ],
)
async def test_a_chunk_that_is_not_what_its_name_says_is_refused(
    store: FilesStore, packed: bytes, place: Place
) -> None:
    with pytest.raises(DamagedError):
        await store.put_object(ANA, chunk_of(b"mine"), packed)
    assert await place.objects() == []


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "0" * 63, "G" * 64])
async def test_what_is_no_name_of_a_chunk_is_not_there(store: FilesStore, name: str) -> None:
    with pytest.raises(MissingError):
        await store.packed(ANA, name)


async def test_damage_is_noticed(store: FilesStore, place: Place) -> None:
    await keep(store, ANA, b"mine")
    await place.damage("objects", zlib.compress(b"other"))
    with pytest.raises(DamagedError):
        await store.chunk(ANA, chunk_of(b"mine"))
    await place.damage("manifests", body(b"other"))
    latest = store.latest(ANA, INTRO)
    assert latest is not None
    with pytest.raises(DamagedError):
        await store.body(latest)


async def test_what_is_large_comes_back_whole(store: FilesStore) -> None:
    block = os.urandom(CHUNK_BYTES)
    await store.put_object(ANA, chunk_of(block), zlib.compress(block))
    await store.put_object(ANA, chunk_of(b"small"), zlib.compress(b"small"))
    whole = body(*[b"small"] * 3_000)
    snapshot = await store.put_manifest(ANA, INTRO, "snapshot", whole, NOW)
    assert await store.body(snapshot) == whole
    assert await store.chunk(ANA, chunk_of(block)) == block


async def test_a_damaged_snapshot_does_not_keep_later_ones_out(store: FilesStore, place: Place) -> None:
    await keep(store, ANA, b"first")
    await place.damage("manifests", b"{}")
    kept = [await keep(store, ANA, f"version {number}".encode(), NOW + number) for number in range(1, 20)]
    latest = store.latest(ANA, INTRO)
    assert latest is not None
    assert latest.id == kept[-1]


async def test_room_is_bounded_for_each_attendee(store: FilesStore) -> None:
    store.attendee_bytes_max = 4096
    await keep(store, ANA, b"small")
    noise = os.urandom(8192)
    with pytest.raises(NoRoomError):
        await store.put_object(ANA, chunk_of(noise), zlib.compress(noise))
    await keep(store, BEN, b"has room")


async def test_old_snapshots_are_thinned_out_and_their_chunks_go(store: FilesStore, place: Place) -> None:
    steps = 3 * KEPT_NEWEST
    now = NOW - NOW % KEPT_EVERY_S
    kept = [await keep(store, ANA, f"version {number}".encode(), now + 60 * number) for number in range(steps)]
    await place.grow_old(now)
    later = (steps, steps + 1)
    kept += [await keep(store, ANA, f"version {number}".encode(), now + 60 * number) for number in later]
    left = [snapshot.id for snapshot in store.all()]
    assert left[-KEPT_NEWEST:] == kept[-KEPT_NEWEST:]
    assert len(kept) > len(left) > KEPT_NEWEST
    assert len(left) <= KEPT_MAX
    named = {chunk for snapshot in store.all() for chunk in (await store.manifest(snapshot)).chunks()}
    assert set(await place.objects()) == named
    assert [snapshot.id for snapshot in (await place.store()).all()] == left


async def test_what_projects_share_is_kept_exported_and_deleted_with_the_rest(store: FilesStore, place: Place) -> None:
    await keep(store, ANA, b"mine")
    await store.put_manifest(ANA, shared_files("data"), "snapshot", body(b"mine"), NOW)
    found = await place.store()
    assert {each.project for each in found.of_user(ANA)} == {INTRO, "shared.data"}
    made = b"".join([block async for block in archive(found, parts_of(found, ANA))])
    names = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert {"intro/file-0", "shared.data/file-0"} <= set(names)
    assert await found.delete(ANA) is not None
    assert (await place.store()).all() == []


async def test_a_chunk_that_just_came_is_not_pruned_before_its_snapshot(store: FilesStore, place: Place) -> None:
    await store.put_object(ANA, chunk_of(b"on its way"), zlib.compress(b"on its way"))
    now = time.time()
    for number in range(KEPT_NEWEST + 3):
        await keep(store, ANA, f"version {number}".encode(), now + number)
    assert chunk_of(b"on its way") in await place.objects()


async def test_a_recovered_copy_is_kept_beside_and_is_not_the_newest(store: FilesStore) -> None:
    kept = await keep(store, ANA, b"mine")
    await store.put_manifest(ANA, INTRO, "recovered", body(b"mine", at=NOW + 5), NOW + 5)
    latest = store.latest(ANA, INTRO)
    assert latest is not None
    assert latest.id == kept
    assert [snapshot.kind for snapshot in store.all()] == ["snapshot", "recovered"]


async def test_a_snapshot_that_comes_twice_is_one(store: FilesStore) -> None:
    assert await keep(store, ANA, b"mine") == await keep(store, ANA, b"mine")
    assert len(store.all()) == 1


async def test_what_a_kill_leaves_on_the_disk_is_cleared(tmp_path: Path) -> None:
    place = DirectoryPlace(tmp_path / "files")
    await keep(await place.store(), ANA, b"mine")
    (home,) = (tmp_path / "files").iterdir()
    (home / "project-intro" / ".new-1").write_text("half")
    (tmp_path / "files" / ".new-2").mkdir()
    assert len((await place.store()).all()) == 1
    assert not (home / "project-intro" / ".new-1").exists()
    assert not (tmp_path / "files" / ".new-2").exists()


@pytest.mark.parametrize(
    "said", [b"", b"{", b"[]", b'{"user": 5}', b'{"user": ["ana"]}', b'{"user": "somebody else"}', b"[" * 100_000, None]
)
async def test_files_whose_owner_cannot_be_read_are_listed_deleted_and_found_again(
    tmp_path: Path, said: bytes | None
) -> None:
    place = DirectoryPlace(tmp_path / "files")
    await keep(await place.store(), ANA, b"mine")
    (home,) = (tmp_path / "files").iterdir()
    if said is None:
        (home / "owner.json").unlink()
    else:
        (home / "owner.json").write_bytes(said)

    found = await place.store()
    (owner,) = await found.owners()
    assert owner not in (ANA, BEN)
    assert await found.bytes_of(owner) > 0
    assert found.all() == []
    await keep(found, ANA, b"more", NOW + 1)
    for each in (found, await place.store()):
        assert await each.owners() == {ANA}
        assert len(each.of_user(ANA)) == 2

    (home / "owner.json").write_bytes(b"{")
    assert await (await place.store()).delete(ANA) is not None, "whoever knows the name need not know of the damage"
    assert list((tmp_path / "files").iterdir()) == []

    await keep(await place.store(), ANA, b"mine")
    (home / "owner.json").write_bytes(b"{")
    found = await place.store()
    for owner in await found.owners():
        gone = await found.delete(owner)
        assert gone is not None
        assert gone.size_bytes > 0
    assert await found.owners() == set()
    assert list((tmp_path / "files").iterdir()) == []


async def test_what_is_no_attendees_is_left_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "files" / "lost+found").mkdir(parents=True)
    (tmp_path / "files" / ("0" * 32)).symlink_to(tmp_path)
    found = await DirectoryPlace(tmp_path / "files").store()
    assert await found.owners() == set()
    assert await found.delete(UserId("unknown-../..")) is None
    assert len(list((tmp_path / "files").iterdir())) == 2


async def test_parts_of_a_snapshot_that_never_came_whole_are_found_and_deleted(store: FilesStore, place: Place) -> None:
    await keep(store, ANA, b"stays")
    await store.put_object(BEN, chunk_of(b"half"), zlib.compress(b"half"))
    for each in (store, await place.store()):
        assert await each.owners() == {ANA, BEN}
        assert {snapshot.user for snapshot in each.all()} == {ANA}
    gone = await store.delete(BEN)
    assert gone is not None
    assert (gone.snapshots, gone.size_bytes > 0) == (0, True)
    assert await store.owners() == {ANA}
    assert await place.nothing_left_of_others(1)


async def test_deleting_leaves_nothing_of_an_attendee(store: FilesStore, place: Place) -> None:
    await keep(store, ANA, b"mine")
    await keep(store, BEN, b"stays")
    gone = await store.delete(ANA)
    assert gone is not None
    assert (gone.snapshots, gone.recovered) == (1, 0)
    assert gone.size_bytes > len(body(b"mine"))
    assert await store.delete(ANA) is None
    assert {snapshot.user for snapshot in store.all()} == {BEN}
    assert await place.nothing_left_of_others(1)
    assert {snapshot.user for snapshot in (await place.store()).all()} == {BEN}
    assert await store.bytes_of(ANA) == 0
    await keep(store, ANA, b"again")
