"""The sending end of the feed, with proxies played by hand over a real Unix socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mux.core.commands import Placement, Publish
from mux.core.feed import Ack, Change, Counters, FeedMessage, FeedSettings, FrameDecoder, Paths, Snapshot, encode
from mux.core.model import ProjectName, SessionHash, UserId, WorkspaceId
from mux.core.routes import SessionEntry
from mux.publisher import Publisher

SETTINGS = FeedSettings("http://localhost:8000", "mux_session", "room")
NOW = 1_234.5
KEY = (UserId("ada"), ProjectName("intro"))
ROUTED = Publish(routes={KEY: Placement(WorkspaceId("w1"), "127.0.0.1", 20000)})


class HandMadeProxy:
    """One connection of a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = FrameDecoder()
        self._received: list[FeedMessage] = []

    async def next(self) -> FeedMessage:
        while not self._received:
            data = await asyncio.wait_for(self._reader.read(65536), 5)
            assert data, "the publisher hung up"
            self._received += self._decoder.receive(data)
        return self._received.pop(0)

    def say(self, message: FeedMessage) -> None:
        self._writer.write(encode(message))

    def say_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def cut_off(self) -> None:
        """Wait until the publisher hangs up."""
        while await asyncio.wait_for(self._reader.read(65536), 5):
            pass

    def close(self) -> None:
        self._writer.close()


class Published:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.paths = asyncio.Queue[Paths]()
        self.publisher = Publisher(
            lambda workspace: f"token of {workspace}", SETTINGS, self.paths.put_nowait, clock=lambda: NOW
        )
        self.proxies: list[HandMadeProxy] = []

    async def connect(self) -> HandMadeProxy:
        proxy = HandMadeProxy(*await asyncio.open_unix_connection(str(self.path)))
        self.proxies.append(proxy)
        return proxy


@pytest.fixture
async def published(tmp_path: Path) -> AsyncIterator[Published]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "feed.sock"))
    listener.listen()
    listener.setblocking(False)
    made = Published(tmp_path / "feed.sock")
    await made.publisher.serve(listener)
    yield made
    for proxy in made.proxies:
        proxy.close()
    await made.publisher.close()


async def test_a_proxy_gets_the_whole_table_first_and_then_changes(published: Published) -> None:
    published.publisher.publish(ROUTED)
    proxy = await published.connect()
    snapshot = await proxy.next()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.table.routes[KEY].token == "token of w1"
    assert snapshot.now == NOW
    published.publisher.publish(Publish(sessions={SessionHash("s"): SessionEntry(UserId("ada"), 9e9)}))
    change = await proxy.next()
    assert isinstance(change, Change)
    assert change.seq == snapshot.seq + 1
    assert list(change.delta.sessions) == ["s"]


async def test_settled_waits_for_every_proxy(published: Published) -> None:
    first, second = await published.connect(), await published.connect()
    await first.next()
    await second.next()
    seq = published.publisher.publish(ROUTED)
    waiting = asyncio.create_task(published.publisher.settled(seq, 10))
    first.say(Ack(seq))
    assert not await published.publisher.settled(seq, 0.1)
    assert not waiting.done()
    second.say(Ack(seq))
    assert await waiting


async def test_a_proxy_that_goes_away_holds_nobody_up(published: Published) -> None:
    proxy = await published.connect()
    await proxy.next()
    seq = published.publisher.publish(ROUTED)
    waiting = asyncio.create_task(published.publisher.settled(seq, 10))
    await asyncio.sleep(0)
    proxy.close()
    assert await waiting


async def test_nobody_connected_is_settled(published: Published) -> None:
    assert await published.publisher.settled(published.publisher.publish(ROUTED), 0.1)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{}"])
async def test_garbage_costs_that_connection_only(published: Published, garbage: bytes) -> None:
    bad, good = await published.connect(), await published.connect()
    await good.next()
    await bad.next()
    bad.say_bytes(garbage)
    await bad.cut_off()
    published.publisher.publish(ROUTED)
    assert isinstance(await good.next(), Change)


async def test_counters_are_summed_over_proxies(published: Published) -> None:
    for value in (2.0, 3.0):
        proxy = await published.connect()
        await proxy.next()
        proxy.say(Counters({"mux_proxy_requests_total": value}))
        proxy.say(Ack(0))
    while published.publisher.counters().get("mux_proxy_requests_total") != 5.0:
        await asyncio.sleep(0.01)


async def test_activity_is_kept_for_routes_that_exist(published: Published) -> None:
    published.publisher.publish(ROUTED)
    proxy = await published.connect()
    await proxy.next()
    proxy.say(Counters({}, (KEY, (UserId("eve"), ProjectName("intro")))))
    while published.publisher.last_active(*KEY) is None:
        await asyncio.sleep(0.01)
    assert published.publisher.last_active(UserId("eve"), ProjectName("intro")) is None


async def test_changed_settings_reach_the_proxies(published: Published) -> None:
    proxy = await published.connect()
    await proxy.next()
    published.publisher.set_settings(FeedSettings("http://localhost:8000", "mux_session", "another room"))
    change = await proxy.next()
    assert isinstance(change, Change)
    assert change.settings is not None
    assert change.settings.event_name == "another room"


async def test_what_is_reached_is_passed_on_while_somebody_may_wait_for_it(published: Published) -> None:
    proxy = await published.connect()
    well, away = Paths((WorkspaceId("w1"),), ()), Paths((), (WorkspaceId("w2"),))
    for message in (well, away, well):
        proxy.say(message)
    # The first is not among them: nobody had missed anything yet.
    assert [await asyncio.wait_for(published.paths.get(), 10) for _ in range(2)] == [away, well]
