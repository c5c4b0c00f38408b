"""The file endpoint and a ship's two halves of it, over real TLS: who may do what, and files that come back."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from mux.control import files as files_module
from mux.core.files import shared_files
from mux.core.model import ProjectName, ShipId, UserId, WorkspaceId
from mux.core.views import Holder
from ship_agent.link_client import Backoff, LinkClient, client_context
from ship_agent.protocol.messages import Observed
from ship_agent.protocol.snapshot import CHUNK_BYTES, Manifest, SnapshotEntry, manifest_id
from ship_agent.snapshots import keeper as keeping
from ship_agent.snapshots.client import FilesClient, FilesError
from ship_agent.snapshots.keeper import SnapshotKeeper
from tests.control.harness import OTHER, SHIP, Mux
from tests.ship_agent.protocol.samples import observed

ANA, BEN = UserId("ana"), UserId("ben")
INTRO = ProjectName("intro")
HERE, THERE = "ship-0001.0.intro.1", "ship-0002.0.intro.1"
BLOCK = b"what Ana wrote"
CHUNK = hashlib.sha256(BLOCK).hexdigest()
EMPTY = Manifest(digest="", taken_at=1.0, entries=[]).body()

Linked = Callable[[ShipId], Awaitable[FilesClient]]


@pytest.fixture
async def mux(tmp_path: Path) -> AsyncIterator[Mux]:
    """A listener with a file endpoint, started."""
    made = Mux(tmp_path / "mux", gives_files=True)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def linked(mux: Mux, tmp_path: Path) -> AsyncIterator[Linked]:
    """Makes ships with a link, and gives their way to the file endpoint."""
    tasks: list[asyncio.Task[None]] = []
    clients: list[FilesClient] = []

    async def observe() -> Observed:
        return observed(1)

    async def make(ship: ShipId) -> FilesClient:
        join = mux.join(ship)
        client = FilesClient(join.control_url, client_context(join.ca_pem))
        link = LinkClient(
            join,
            key_path=tmp_path / f"{ship}.key",
            on_desired=lambda _: None,
            on_welcome=client.use,
            observe=observe,
            backoff=Backoff(first_s=0.005, max_s=0.02),
        )
        tasks.append(asyncio.create_task(link.run(), name=f"link of {ship}"))
        clients.append(client)
        await client.linked.wait()
        return client

    yield make
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in clients:
        await client.close()


@contextlib.asynccontextmanager
async def kept_by(client: FilesClient, staging: Path) -> AsyncIterator[SnapshotKeeper]:
    """A keeper at work."""
    keeper = SnapshotKeeper(client, staging)
    task = asyncio.create_task(keeper.run(), name="keeper")
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sits(
    mux: Mux, user: UserId, *, ship: ShipId = SHIP, workspace: str = HERE, kept: bool = False, shared: str = ""
) -> None:
    """As the core says it."""
    project = shared_files(shared) if shared else INTRO
    mux.holders[(ship, WorkspaceId(workspace), shared)] = Holder(user, project, kept=kept)


def one_file(block: bytes = BLOCK) -> bytes:
    entry = SnapshotEntry(
        path="a", kind="file", mode=0o644, uid=0, gid=0, mtime_ns=0, size=len(block),
        chunks=[hashlib.sha256(block).hexdigest()],
    )  # fmt: skip
    return Manifest(digest="", taken_at=1.0, entries=[entry]).body()


async def keep_one(client: FilesClient, workspace: str = HERE) -> str:
    """Bring a snapshot of one file; its id."""
    assert await client.offer(workspace, one_file()) == [CHUNK]
    await client.put(workspace, CHUNK, BLOCK)
    assert await client.offer(workspace, one_file()) == []
    return manifest_id(one_file())


async def refused(call: Awaitable[object]) -> str:
    with pytest.raises(FilesError) as error:
        await call
    return str(error.value)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def test_a_snapshot_goes_there_and_comes_back(mux: Mux, linked: Linked) -> None:
    sits(mux, ANA)
    client = await linked(SHIP)
    snapshot = await keep_one(client)
    assert (await client.manifest(HERE, snapshot)).body() == one_file()
    assert await client.chunk(HERE, CHUNK) == BLOCK


async def test_a_ship_is_denied_what_is_not_on_it(mux: Mux, linked: Linked) -> None:
    sits(mux, ANA)
    sits(mux, BEN, ship=OTHER, workspace=THERE)
    one, other = await linked(SHIP), await linked(OTHER)
    snapshot = await keep_one(one)
    for call in (
        other.offer(HERE, EMPTY),
        other.put(HERE, CHUNK, BLOCK),
        other.manifest(HERE, snapshot),
        other.chunk(HERE, CHUNK),
        one.offer("ship-0001.1.intro.1", EMPTY),
    ):
        assert "403" in await refused(call)
    # Ben's ship learns nothing of what Ana has, not even that it is there.
    assert "404" in await refused(other.chunk(THERE, CHUNK))
    assert "404" in await refused(other.manifest(THERE, snapshot))
    assert await other.offer(THERE, one_file()) == [CHUNK]


async def test_the_newest_snapshot_is_given_to_the_ship_that_adds_to_it_and_to_no_other(
    mux: Mux, linked: Linked
) -> None:
    sits(mux, ANA)
    sits(mux, BEN, ship=OTHER, workspace=THERE)
    one, other = await linked(SHIP), await linked(OTHER)
    assert await one.newest(HERE) is None
    await keep_one(one)
    newest = await one.newest(HERE)
    assert newest is not None
    assert newest.body() == one_file()
    assert await other.newest(THERE) is None
    assert "403" in await refused(other.newest(HERE))
    sits(mux, ANA, kept=True)
    assert await one.newest(HERE) is None, "who was moved away has begun elsewhere"


@pytest.mark.parametrize("token", ["", "0" * 64, "ü"])
async def test_without_the_token_of_a_link_nothing_is_given(mux: Mux, linked: Linked, token: str) -> None:
    sits(mux, ANA)
    stranger = await linked(SHIP)
    stranger._token = token or "none"
    assert "403" in await refused(stranger.offer(HERE, EMPTY))


async def test_a_token_ends_with_its_link(mux: Mux, linked: Linked) -> None:
    sits(mux, ANA)
    client = await linked(SHIP)
    old = client._token
    assert mux.endpoint.ship_of(old) == SHIP
    client.linked.clear()
    await mux.stop()
    await mux.start()
    await client.linked.wait()
    assert client._token != old
    assert mux.endpoint.ship_of(old) is None
    await keep_one(client)


async def test_whoever_was_moved_away_gets_a_recovered_copy_and_the_ship_nothing(mux: Mux, linked: Linked) -> None:
    sits(mux, ANA)
    client = await linked(SHIP)
    snapshot = await keep_one(client)
    sits(mux, ANA, kept=True)
    assert await client.offer(HERE, EMPTY) == []
    assert [each.kind for each in mux.files.all()] == ["snapshot", "recovered"]
    assert "403" in await refused(client.manifest(HERE, snapshot))
    assert "403" in await refused(client.chunk(HERE, CHUNK))


async def test_a_shared_directory_is_kept_apart_from_homes_and_given_to_whoever_shares_it(
    mux: Mux, linked: Linked
) -> None:
    sits(mux, ANA)
    sits(mux, ANA, shared="data")
    client = await linked(SHIP)
    snapshot = await keep_one(client, f"{HERE}/shared/data")
    assert [(each.user, each.project) for each in mux.files.all()] == [(ANA, "shared.data")]
    assert (await client.manifest(f"{HERE}/shared/data", snapshot)).body() == one_file()
    assert await client.chunk(f"{HERE}/shared/data", CHUNK) == BLOCK
    for name in (HERE, f"{HERE}/shared/other", f"{THERE}/shared/data"):
        assert "40" in await refused(client.manifest(name, snapshot))
    sits(mux, ANA, shared="data", kept=True)
    assert await client.offer(f"{HERE}/shared/data", EMPTY) == []
    assert [each.kind for each in mux.files.all()] == ["snapshot", "recovered"]
    assert "403" in await refused(client.manifest(f"{HERE}/shared/data", snapshot))


async def test_what_is_too_much_or_no_snapshot_is_refused(mux: Mux, linked: Linked) -> None:
    sits(mux, ANA)
    client = await linked(SHIP)
    assert "400" in await refused(client.offer(HERE, b"{}"))
    assert "400" in await refused(client.put(HERE, CHUNK, b"something else"))
    assert "413" in await refused(client.offer(HERE, b" " * (5 << 20)))
    mux.files.attendee_bytes_max = 10
    assert "507" in await refused(client.put(HERE, CHUNK, BLOCK))
    assert mux.files.all() == []


async def test_a_ship_that_asks_for_too_much_at_once_holds_up_itself_alone(
    mux: Mux, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    sits(mux, ANA)
    sits(mux, BEN, ship=OTHER, workspace=THERE)
    hostile, honest = await linked(SHIP), await linked(OTHER)
    monkeypatch.setattr(files_module, "BODY_S", 3600.0)
    context = ssl.create_default_context(cadata=mux.ca.pem)
    url = f"https://127.0.0.1:{mux.port}/ship/files/{HERE}/objects/{CHUNK}"
    started, go_on = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        started.set()
        await go_on.wait()

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {hostile._token}"}) as session:
        held = []
        for _ in range(files_module.BODIES_OF_SHIP_MAX):
            started.clear()
            held.append(asyncio.create_task(session.put(url, data=endless(), ssl=context)))
            await started.wait()
        await until(lambda: mux.files_endpoint._bodies_of[SHIP] == files_module.BODIES_OF_SHIP_MAX)
        assert "429" in await refused(hostile.put(HERE, CHUNK, BLOCK))
        await keep_one(honest, THERE)
        go_on.set()
        for each in held:
            async with await each as answer:
                assert answer.status == 400
    await keep_one(hostile)


@pytest.mark.parametrize("then", ["gone", "kept", "another's"])
async def test_whoever_is_moved_while_a_ship_sends_is_not_written_to_any_more(
    mux: Mux, linked: Linked, then: str
) -> None:
    sits(mux, ANA)
    client = await linked(SHIP)
    await client.put(HERE, CHUNK, BLOCK)
    context = ssl.create_default_context(cadata=mux.ca.pem)
    url = f"https://127.0.0.1:{mux.port}/ship/files/{HERE}/snapshots"
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield one_file()[:10]
        started.set()
        await go_on.wait()
        yield one_file()[10:]

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {client._token}"}) as session:
        offered = asyncio.create_task(session.post(url, data=slow(), ssl=context))
        await started.wait()
        await until(lambda: mux.files_endpoint._bodies_of[SHIP] == 1)
        if then == "gone":
            del mux.holders[(SHIP, WorkspaceId(HERE), "")]
        else:
            sits(mux, ANA if then == "kept" else BEN, kept=then == "kept")
        go_on.set()
        async with await offered as answer:
            assert answer.status == {"gone": 403, "kept": 201, "another's": 409}[then]
    assert mux.files.latest(ANA, INTRO) is None
    assert [each.kind for each in mux.files.all()] == (["recovered"] if then == "kept" else [])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_what_is_packed_for_the_way_is_never_unpacked(mux: Mux, linked: Linked, encoding: str) -> None:
    """A kilobyte of a request could be gigabytes here."""
    sits(mux, ANA)
    client = await linked(SHIP)
    packed = gzip.compress if encoding == "gzip" else zlib.compress
    headers = {"Authorization": f"Bearer {client._token}", "Content-Encoding": encoding}
    context = ssl.create_default_context(cadata=mux.ca.pem)
    base = f"https://127.0.0.1:{mux.port}/ship/files/{HERE}"
    async with aiohttp.ClientSession(headers=headers) as session:
        for call, path, body in (
            (session.post, "snapshots", EMPTY),
            (session.put, f"objects/{CHUNK}", zlib.compress(BLOCK)),
            (session.put, f"objects/{CHUNK}", b"\0" * (8 << 20)),
        ):
            async with call(f"{base}/{path}", data=packed(body), ssl=context) as answer:
                assert answer.status == 400
    assert mux.files.all() == []
    assert await mux.files.bytes_of(ANA) == 0


async def test_a_change_is_kept_and_restored_on_another_ship(
    mux: Mux, linked: Linked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_S", 0.01)
    sits(mux, ANA)
    home, other = tmp_path / "one" / "home", tmp_path / "other" / "home"
    home.mkdir(parents=True)
    other.mkdir(parents=True)
    big = bytes(range(256)) * (2 * CHUNK_BYTES // 256) + b"end"
    async with kept_by(await linked(SHIP), tmp_path / "staging") as keeper:
        keeper.watch({HERE: home}, frozenset())
        (home / "work.ipynb").write_text("first")
        await until(lambda: len(mux.files.all()) >= 1)
        (home / "work.ipynb").write_text("second")
        (home / "big.bin").write_bytes(big)
        await newest_has(mux, "big.bin", len(big))
    snapshot = mux.files.latest(ANA, INTRO)
    assert snapshot is not None
    del mux.holders[(SHIP, WorkspaceId(HERE), "")]
    sits(mux, ANA, ship=OTHER, workspace=THERE)
    keeper = SnapshotKeeper(await linked(OTHER), tmp_path / "staging 2")
    await keeper.restore(THERE, other, snapshot.id)
    assert (other / "work.ipynb").read_text() == "second"
    assert (other / "big.bin").read_bytes() == big
    assert list((tmp_path / "staging 2").iterdir()) == []


async def test_a_workspace_that_is_being_changed_is_left_alone(
    mux: Mux, linked: Linked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_S", 0.01)
    sits(mux, ANA)
    sits(mux, BEN, workspace="ship-0001.1.intro.1")
    homes = {HERE: tmp_path / "ana", "ship-0001.1.intro.1": tmp_path / "ben"}
    for home in homes.values():
        home.mkdir()
        (home / "work").write_text("work")
    async with kept_by(await linked(SHIP), tmp_path / "staging") as keeper:
        keeper.watch(homes, frozenset({HERE}))
        await until(lambda: mux.files.latest(BEN, INTRO) is not None)
        (homes["ship-0001.1.intro.1"] / "more").write_text("work")
        await newest_has(mux, "more", 4, BEN)
        assert mux.files.latest(ANA, INTRO) is None
        keeper.watch(homes, frozenset())
        await until(lambda: mux.files.latest(ANA, INTRO) is not None)


async def test_what_nobody_writes_to_any_more_is_saved_once_the_mux_has_it_as_it_is(
    mux: Mux, linked: Linked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_S", 600.0)  # no second look comes in time: one must do, and at once
    monkeypatch.setattr(keeping, "RETRY_S", 0.05)
    sits(mux, ANA)
    home, told = tmp_path / "home", asyncio.Event()
    home.mkdir()
    keeper = SnapshotKeeper(await linked(SHIP), tmp_path / "staging")
    keeper.watch({HERE: home}, frozenset())
    running = asyncio.create_task(keeper.run(told.set))
    try:
        (home / "work").write_text("first")
        keeper.watch({HERE: home}, frozenset({HERE}))
        (home / "work").write_text("the last words")
        keeper.watch({HERE: home}, frozenset(), frozenset({HERE}))
        assert keeper.saved() == frozenset()
        await told.wait()
        assert keeper.saved() == {HERE}
        await newest_has(mux, "work", len("the last words"))
        keeper.watch({HERE: home}, frozenset())
        assert keeper.saved() == frozenset(), "somebody writes again"
        told.clear()
        (home / "work").write_text("that was not all")
        del mux.holders[(SHIP, WorkspaceId(HERE), "")]  # refused
        keeper.watch({HERE: home}, frozenset(), frozenset({HERE}))
        await until(lambda: keeper.behind().get(HERE, 0.0) > 0)
        assert not told.is_set()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_directory_that_cannot_be_read_does_not_hold_up_another(
    mux: Mux, linked: Linked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_S", 0.01)
    sits(mux, ANA)
    (tmp_path / "ana").mkdir()
    (tmp_path / "ana" / "work").write_text("work")
    async with kept_by(await linked(SHIP), tmp_path / "staging") as keeper:
        keeper.watch({"gone": tmp_path / "gone", HERE: tmp_path / "ana"}, frozenset())
        await until(lambda: mux.files.latest(ANA, INTRO) is not None)


async def test_how_far_the_newest_snapshot_is_behind_is_known_until_the_mux_has_the_change(
    mux: Mux, linked: Linked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_S", 0.01)
    monkeypatch.setattr(keeping, "RETRY_S", 0.05)
    sits(mux, ANA)
    home = tmp_path / "home"
    home.mkdir()
    (home / "work").write_text("first")
    async with kept_by(await linked(SHIP), tmp_path / "staging") as keeper:
        keeper.watch({HERE: home}, frozenset())
        await newest_has(mux, "work", 5)
        await until(lambda: keeper.behind() == {})
        del mux.holders[(SHIP, WorkspaceId(HERE), "")]  # refused from now on
        (home / "work").write_text("second")
        await until(lambda: keeper.behind().get(HERE, 0.0) > 0)
        sits(mux, ANA)
        await newest_has(mux, "work", 6)
        await until(lambda: keeper.behind() == {})


async def newest_has(mux: Mux, path: str, size: int, user: UserId = ANA) -> None:
    """Returns once the newest snapshot has that file."""
    while True:
        snapshot = mux.files.latest(user, INTRO)
        entries = (await mux.files.manifest(snapshot)).entries if snapshot is not None else []
        if any((entry.path, entry.size) == (path, size) for entry in entries):
            return
        await asyncio.sleep(0.01)


async def test_a_snapshot_that_was_named_is_given_though_a_newer_one_has_come(mux: Mux, linked: Linked) -> None:
    sits(mux, ANA)
    client = await linked(SHIP)
    snapshot = await keep_one(client)
    assert await client.offer(HERE, EMPTY) == []
    assert (await client.manifest(HERE, snapshot)).body() == one_file()
