"""The feed on a proxy's side: what is put in force, when it is acknowledged, and what happens without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mux.core.feed import Ack, Change, Counters, FeedMessage, FrameDecoder, Paths, Snapshot, encode
from mux.core.routes import Delta, RouteTable, SessionEntry
from mux.proxy import limits
from mux.proxy.feedclient import FeedClient
from mux.proxy.routing import NoRouter
from tests.proxy.rig import ALICE, BOB, INTRO, PATIENCE_S, SETTINGS, Rig, Wire, asked, request, session_of
from tests.proxy.test_tunnels import open_tunnel

BOTH_WAYS = True


class Control:
    """The control process's end of the feed."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connections = asyncio.Queue[asyncio.StreamWriter]()
        self.messages = asyncio.Queue[FeedMessage]()
        self.writer: asyncio.StreamWriter

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.put_nowait(writer)
        decoder = FrameDecoder()
        while data := await reader.read(65536):
            for message in decoder.receive(data):
                self.messages.put_nowait(message)
        writer.close()

    async def connected(self) -> None:
        """Until a proxy has dialled."""
        self.writer = await asyncio.wait_for(self.connections.get(), PATIENCE_S)

    def send(self, message: FeedMessage) -> None:
        self.writer.write(encode(message))

    async def acknowledged(self) -> int:
        """The next acknowledgement's number."""
        while True:
            message = await asyncio.wait_for(self.messages.get(), PATIENCE_S)
            if isinstance(message, Ack):
                return message.seq

    def stop(self) -> None:
        self._server.close()
        self.writer.transport.abort()


@pytest.fixture
async def control(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Control]:
    """The rig's plane, fed."""
    monkeypatch.setattr(limits, "FEED_BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(limits, "FEED_BACKOFF_MAX_S", 0.02)
    rig.plane.router = NoRouter()
    control = Control(str(tmp_path / "feed"))
    await control.start()
    rig.plane.spawn(FeedClient(rig.plane, control.path, rig.web_path).run(), "feed")
    await control.connected()
    yield control
    control.stop()


async def test_a_snapshot_is_served_from_and_acknowledged(rig: Rig, control: Control) -> None:
    assert (await rig.ask(request())).code == "starting"
    control.send(Snapshot(7, SETTINGS, rig.table))
    assert await control.acknowledged() == 7
    assert (await rig.ask(request())).body == b"alice"


async def test_changes_are_served_from_and_acknowledged_in_order(rig: Rig, control: Control) -> None:
    control.send(Snapshot(1, SETTINGS, rig.table))
    control.send(Change(2, Delta(routes={(ALICE, INTRO): None})))
    control.send(Change(3, Delta(routes={(ALICE, INTRO): rig.route(rig.bob)})))
    assert [await control.acknowledged() for _ in range(3)] == [1, 2, 3]
    assert (await rig.ask(request())).body == b"bob"


async def test_settings_may_change(rig: Rig, control: Control) -> None:
    control.send(Snapshot(1, SETTINGS, rig.table))
    control.send(Change(2, Delta(), replace(SETTINGS, session_cookie="other")))
    assert [await control.acknowledged() for _ in range(2)] == [1, 2]
    assert (await rig.ask(request())).body == b"web"


@pytest.mark.parametrize(
    "delta",
    [
        Delta(sessions={session_of("token-of-alice"): None}),
        Delta(sessions={session_of("token-of-alice"): SessionEntry(BOB, time.time() + 600)}),
        Delta(routes={(ALICE, INTRO): None}),
    ],
)
async def test_revoked_tunnels_are_gone_before_the_acknowledgement(rig: Rig, control: Control, delta: Delta) -> None:
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    client, workspace = await open_tunnel(rig)
    control.send(Change(2, delta))
    assert await control.acknowledged() == 2
    assert not rig.plane._tunnels
    assert await client.closed() == b""
    assert await workspace.closed() == b""


async def test_a_changed_route_cuts_its_tunnels(rig: Rig, control: Control) -> None:
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    client, _ = await open_tunnel(rig)
    control.send(Change(2, Delta(routes={(ALICE, INTRO): rig.route(rig.alice, "ws-next")})))
    assert await control.acknowledged() == 2
    assert await client.closed() == b""


async def test_a_longer_session_and_what_is_new_cut_nothing(rig: Rig, control: Control) -> None:
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    client, workspace = await open_tunnel(rig)
    sessions = {
        session_of("token-of-alice"): SessionEntry(ALICE, time.time() + 6000),
        session_of("new"): SessionEntry(ALICE, time.time() + 600),
    }
    control.send(Change(2, Delta(sessions=sessions)))
    assert await control.acknowledged() == 2
    await client.send(b"x")
    assert await workspace.exactly(1) == b"x"


async def test_sessions_end_by_the_control_processs_clock_whatever_the_wall_clock_says(
    rig: Rig, control: Control
) -> None:
    days = 3 * 86_400.0
    sessions = {
        session: replace(entry, expires_at=entry.expires_at - days) for session, entry in rig.table.sessions.items()
    }
    behind = RouteTable(sessions, rig.table.routes)
    control.send(Snapshot(1, SETTINGS, behind, time.time() - days))
    await control.acknowledged()
    client = await rig.client()
    assert [(await client.ask(request())).body for _ in range(3)] == [b"alice"] * 3
    control.writer.transport.abort()
    await control.connected()
    control.send(Snapshot(2, SETTINGS, behind, time.time() + 601 - days))
    await control.acknowledged()
    assert (await client.ask(request())).body == b"web"


async def test_without_the_control_process_everything_goes_on(rig: Rig, control: Control) -> None:
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    client, workspace = await open_tunnel(rig)
    control.stop()
    await client.send(b"x")
    assert await workspace.exactly(1) == b"x"
    rig.alice.script = None
    assert (await rig.ask(request())).body == b"alice"


async def test_a_restarted_control_process_is_found_and_cuts_only_what_changed(
    rig: Rig, control: Control, tmp_path: Path
) -> None:
    control.send(Snapshot(50, SETTINGS, rig.table))
    await control.acknowledged()
    client, workspace = await open_tunnel(rig)

    async def stream(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await wire.rest()

    rig.bob.script = stream
    other = await rig.client()
    await other.send(request(b"GET /camp/intro/slow", user=BOB))
    await other.until(b"first")
    control.stop()
    Path(control.path).unlink(missing_ok=True)
    await control.start()
    await control.connected()
    without_bob = rig.table.apply(Delta(sessions={session_of("token-of-bob"): None}))
    control.send(Snapshot(1, SETTINGS, without_bob))
    assert await control.acknowledged() == 1
    assert await other.closed() == b""
    await rig.bob.all_closed()
    await client.send(b"x")
    assert await workspace.exactly(1) == b"x"
    assert (await rig.ask(request(user=BOB))).body == b"web"


async def test_a_gap_in_the_sequence_asks_anew_and_serves_on(rig: Rig, control: Control) -> None:
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    control.send(Change(3, Delta(routes={(ALICE, INTRO): None})))
    await control.connected()
    assert (await rig.ask(request())).body == b"alice"
    control.send(Snapshot(3, SETTINGS, RouteTable(sessions=rig.table.sessions)))
    assert await control.acknowledged() == 3
    assert (await rig.ask(request())).body == b"web"


async def test_a_route_that_comes_again_as_it_is_keeps_its_connections(rig: Rig, control: Control) -> None:
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    rig.chill()
    await rig.ask(request())
    idle = rig.plane.pools.idle
    control.send(Change(2, Delta(routes={(ALICE, INTRO): rig.table.routes[ALICE, INTRO]})))
    await control.acknowledged()
    assert rig.plane.pools.idle == idle == 1


async def test_a_connection_that_was_made_for_a_route_that_is_gone_is_not_kept(rig: Rig, control: Control) -> None:
    """It was on its way while the change dropped what the route had."""
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    rig.chill()
    await rig.warm(ALICE)
    late = await rig.plane.pools.connect(rig.plane.route(asked(ALICE)))
    control.send(Change(2, Delta(routes={(ALICE, INTRO): None})))
    await control.acknowledged()
    late.pool.give(late, rig.plane.now())
    assert rig.plane.pools.idle == 0
    rig.plane.sweep(rig.plane.now())
    await rig.alice.all_closed()


async def test_a_route_that_comes_back_is_reached_the_short_way_again(rig: Rig, control: Control) -> None:
    route = rig.table.routes[ALICE, INTRO]
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    client = await rig.client()
    for _ in range(3):
        assert (await client.ask(request())).body == b"alice"
    control.send(Change(2, Delta(routes={(ALICE, INTRO): None})))
    control.send(Change(3, Delta(routes={(ALICE, INTRO): route})))
    await control.acknowledged()
    await control.acknowledged()
    for _ in range(3):
        assert (await client.ask(request())).body == b"alice"
    assert rig.alice.connections == 2  # a pool that was dropped keeps none, so each request would dial


@pytest.mark.parametrize("message", [Ack(1), Counters({})])
async def test_what_a_proxy_is_never_sent_ends_the_connection(rig: Rig, control: Control, message: FeedMessage) -> None:
    control.send(message)
    await control.connected()


async def test_counters_are_sent_now_and_then(rig: Rig, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COUNTERS_S", 0.02)
    control.writer.transport.abort()  # the pause is read when a connection begins
    await control.connected()
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    await rig.ask(request())
    await rig.ask(b"BREW / HTTP/1.1\r\n\r\n")
    active = set()
    while True:
        message = await asyncio.wait_for(control.messages.get(), PATIENCE_S)
        if not isinstance(message, Counters):
            continue
        active |= set(message.active)
        if message.values.get('mux_proxy_requests_total{code="5xx"}') and active:
            break
    assert message.values['mux_proxy_requests_total{code="2xx"}'] == 1
    assert message.values['mux_proxy_refusals_total{reason="method_unknown"}'] == 1
    assert active == {(ALICE, INTRO)}


async def test_which_workspaces_are_reached_and_which_not_is_sent_with_the_counters(
    rig: Rig, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COUNTERS_S", 0.02)
    control.writer.transport.abort()
    await control.connected()
    control.send(Snapshot(1, SETTINGS, rig.table))
    await control.acknowledged()
    await rig.bob.stop()
    assert (await rig.ask(request())).status == 200
    assert (await rig.ask(request(user=BOB))).code == "workspace_refused"
    reached, unreached = set[str](), set[str]()
    while not (reached and unreached):
        message = await asyncio.wait_for(control.messages.get(), PATIENCE_S)
        if isinstance(message, Paths):
            reached |= set(message.reached)
            unreached |= set(message.unreached)
    assert (reached, unreached) == ({rig.route(rig.alice).workspace}, {rig.route(rig.bob).workspace})
