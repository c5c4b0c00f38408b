"""Tunnels on both loops: handshakes, bytes both ways, ends, backpressure, and revocation."""

from __future__ import annotations

import asyncio
import base64
import socket

import aiohttp
import pytest
from aiohttp import web

from mux.core.routes import Delta
from mux.proxy import limits, sockets
from mux.proxy.response import websocket_accept
from tests.proxy.rig import ALICE, INTRO, SETTINGS, Response, Rig, Wire, answering, request, session_of
from tests.proxy.test_messages import eventually, stands_still
from tests.proxy.test_refusals import WEBSOCKET

BOTH_LOOPS = True
BOTH_WAYS = True
KEY = base64.b64encode(b"0123456789abcdef")
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + websocket_accept(KEY) + b"\r\nSec-WebSocket-Protocol: v1\r\n\r\n"
)
HANDSHAKE = request(b"GET /camp/intro/ws?token=%40", *WEBSOCKET, b"Sec-WebSocket-Extensions: permessage-deflate")


async def open_tunnel(rig: Rig, handshake: bytes = HANDSHAKE) -> tuple[Wire, Wire]:
    """A client's end and a workspace's end of one tunnel."""
    ends: asyncio.Queue[Wire] = asyncio.Queue()
    done = asyncio.Event()

    async def script(wire: Wire) -> None:
        rig.alice.requests.append(await wire.head())
        await wire.send(SWITCH)
        ends.put_nowait(wire)
        await done.wait()

    rig.alice.script = script
    client = await rig.client()
    await client.send(handshake)
    assert Response(await client.head()).status == 101
    return client, await ends.get()


async def test_a_handshake_passes_and_bytes_flow_untouched(rig: Rig) -> None:
    client, workspace = await open_tunnel(rig)
    head = rig.alice.requests[0]
    assert head.startswith(b"GET /camp/intro/ws?token=%40 HTTP/1.1\r\n")
    assert head.count(b"Connection: Upgrade\r\nUpgrade: websocket\r\n") == 1
    assert b"Authorization: token secret-alice\r\n" in head
    assert b"Sec-WebSocket-Extensions: permessage-deflate\r\n" in head
    assert b"mux_session" not in head
    for data in (b"\x81\x05hello", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 10):
        await client.send(data)
        assert await workspace.exactly(len(data)) == data
        await workspace.send(data[::-1])
        assert await client.exactly(len(data)) == data[::-1]
    assert rig.plane.counters().values["mux_proxy_tunnels"] == 1


@pytest.mark.parametrize("offer", [b"websocket, h2c", b"h2c,,WebSocket/13, websocket", b"foo/2, WebSocket"])
async def test_of_a_list_of_protocols_the_workspace_is_offered_websocket_alone(rig: Rig, offer: bytes) -> None:
    """RFC 9110 section 7.8: which of them is spoken is the server's to choose, and must not be in doubt."""
    client, workspace = await open_tunnel(rig, HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: " + offer))
    head = rig.alice.requests[0]
    assert head.lower().count(b"upgrade:") == 1 and b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in head
    await client.send(b"\x81\x05hello")
    assert await workspace.exactly(7) == b"\x81\x05hello"


async def test_a_workspace_that_chooses_another_protocol_is_a_502(rig: Rig) -> None:
    rig.alice.script = answering(rig.alice, SWITCH.replace(b"Upgrade: WebSocket", b"Upgrade: h2c"))
    response = await rig.ask(HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: websocket, h2c"))
    assert (response.status, response.code) == (502, "workspace_malformed")


async def test_the_answer_to_a_handshake_is_passed_on(rig: Rig) -> None:
    rig.alice.script = answering(rig.alice, SWITCH)
    rig.plane.wall = lambda: 784111777.9
    client = await rig.client()
    await client.send(HANDSHAKE)
    head = await client.head()
    assert head == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + websocket_accept(KEY) + b"\r\n"
        b"Sec-WebSocket-Protocol: v1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"
    )


async def test_bytes_before_and_with_the_101_keep_their_order(rig: Rig) -> None:
    asked = asyncio.Event()
    received = bytearray()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await asked.wait()
        await wire.send(SWITCH + b"first")
        await wire.send(b" second")
        received.extend(await wire.exactly(12))

    rig.alice.script = script
    client = await rig.client()
    await client.send(HANDSHAKE + b"early")
    await client.send(b" bird")
    asked.set()
    await client.head()
    assert await client.exactly(12) == b"first second"
    await client.send(b" ok")
    await eventually(lambda: bytes(received) == b"early bird o")


async def test_a_refused_handshake_is_an_ordinary_response(rig: Rig) -> None:
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    client = await rig.client()
    response = await client.ask(HANDSHAKE)
    assert (response.status, response.body) == (403, b"no")
    assert (await client.ask(request())).body == b"no"


async def test_frames_after_a_refused_handshake_are_not_read_as_requests(rig: Rig) -> None:
    """Otherwise a script that can choose frames could choose requests."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    client = await rig.client()
    await client.send(HANDSHAKE + request(b"GET /camp/intro/smuggled"))
    assert (await client.response()).status == 403
    assert await client.closed() == b""
    assert len(rig.alice.requests) == 1


@pytest.mark.parametrize(
    "switch",
    [
        SWITCH.replace(websocket_accept(KEY), websocket_accept(b"another")),
        SWITCH.replace(b"Upgrade: WebSocket\r\n", b""),
        SWITCH.replace(b"Connection: Upgrade\r\n", b""),
        SWITCH.replace(b"Upgrade: WebSocket", b"Upgrade: h2c"),
        SWITCH.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Accept: x\r\n\r\n"),
    ],
)
async def test_a_101_that_does_not_answer_the_handshake_is_a_502(rig: Rig, switch: bytes) -> None:
    """RFC 6455 section 4.1: a client would fail the connection; a tunnel to something else must not open."""
    rig.alice.script = answering(rig.alice, switch)
    response = await rig.ask(HANDSHAKE)
    assert (response.status, response.code) == (502, "workspace_malformed")
    assert rig.plane.counters().values["mux_proxy_tunnels"] == 0


async def test_a_tunnel_never_gets_a_used_connection(rig: Rig) -> None:
    await rig.ask(request())
    await open_tunnel(rig)
    assert rig.alice.connections == 2


async def test_the_pages_may_have_websockets_too(rig: Rig) -> None:
    rig.web.script = answering(rig.web, SWITCH + b"hi")
    client = await rig.client()
    await client.send(request(b"GET /live", *WEBSOCKET))
    assert Response(await client.head()).status == 101
    assert await client.exactly(2) == b"hi"


@pytest.mark.parametrize("who", ["client", "workspace"])
async def test_an_end_of_stream_is_passed_on_and_the_other_direction_lives(rig: Rig, who: str) -> None:
    client, workspace = await open_tunnel(rig)
    first, second = (client, workspace) if who == "client" else (workspace, client)
    await first.send(b"last words")
    first.writer.write_eof()
    assert await second.rest() == b"last words"
    await second.send(b"still here")
    assert await first.exactly(10) == b"still here"
    second.writer.write_eof()
    assert await first.rest() == b""
    await eventually(lambda: not rig.plane._tunnels)


async def test_a_client_that_ends_its_stream_before_the_101_is_passed_on(rig: Rig) -> None:
    ended, heard = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await ended.wait()
        await wire.send(SWITCH)
        assert await wire.rest() == b"bye"
        heard.set()
        await wire.send(b"still here")

    rig.alice.script = script
    client = await rig.client()
    await client.send(HANDSHAKE + b"bye")
    client.writer.write_eof()
    connection = next(iter(rig.plane._clients))
    await eventually(lambda: connection.ended)
    ended.set()
    assert (await client.rest()).endswith(b"still here")
    assert heard.is_set()


@pytest.mark.parametrize("who", ["client", "workspace"])
async def test_a_reset_ends_both_legs(rig: Rig, who: str) -> None:
    client, workspace = await open_tunnel(rig)
    first, second = (client, workspace) if who == "client" else (workspace, client)
    first.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    first.writer.transport.abort()
    await second.closed()
    await eventually(lambda: not rig.plane._tunnels)


async def test_backpressure_stops_the_other_leg(rig: Rig) -> None:
    client, workspace = await open_tunnel(rig)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while sent < 100_000_000:
            await workspace.send(b"x" * 100_000)
            sent += 100_000

    flooding = asyncio.ensure_future(flood())
    await stands_still(lambda: sent)
    assert sent < 40_000_000
    tunnel = next(iter(rig.plane._tunnels))
    assert tunnel._client.get_write_buffer_size() < limits.WRITE_BUFFER_BYTES_HIGH + 300_000
    await client.send(b"the other way")
    assert await workspace.exactly(13) == b"the other way"
    before = sent
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await client.exactly(20_000_000)
    await eventually(lambda: sent > before)
    flooding.cancel()


async def test_no_sweep_ever_ends_an_idle_tunnel(rig: Rig) -> None:
    client, workspace = await open_tunnel(rig)
    rig.plane.sweep(rig.plane.now() + 1_000_000)
    await client.send(b"x")
    assert await workspace.exactly(1) == b"x"


async def test_both_legs_find_dead_peers_in_the_kernel(rig: Rig) -> None:
    await open_tunnel(rig)
    tunnel = next(iter(rig.plane._tunnels))
    for transport in (tunnel._client, tunnel._upstream):
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == limits.TUNNEL_USER_TIMEOUT_MS
        idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        interval = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        # With a user timeout the first probe after it ends the connection.
        assert idle + interval * -(-(limits.TUNNEL_USER_TIMEOUT_MS / 1000 - idle) // interval) < 45


async def test_a_tunnel_that_moves_bytes_is_active_and_one_that_answers_pings_is_not(rig: Rig) -> None:
    client, workspace = await open_tunnel(rig)
    assert (await rig.plane.batch()).active == ((ALICE, INTRO),)  # the handshake itself
    await rig.plane.batch()
    assert (await rig.plane.batch()).active == ()
    await workspace.send(b"\x89\x00")
    await client.exactly(2)
    await client.send(b"\x8a\x80mask")
    await workspace.exactly(6)
    assert (await rig.plane.batch()).active == ()
    await client.send(b"x" * limits.TUNNEL_ACTIVE_BYTES_MIN)
    await workspace.exactly(limits.TUNNEL_ACTIVE_BYTES_MIN)
    assert (await rig.plane.batch()).active == ((ALICE, INTRO),)


async def test_a_look_at_many_tunnels_leaves_turns_to_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TUNNELS_AT_ONCE", 1)
    for _ in range(3):
        await open_tunnel(rig)
    looking = asyncio.ensure_future(rig.plane.batch())
    turns = 0
    while not looking.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 3
    assert (await looking).active == ((ALICE, INTRO),)


async def test_the_kernels_byte_counts_are_read_right(rig: Rig) -> None:
    client, workspace = await open_tunnel(rig)
    tunnel = next(iter(rig.plane._tunnels))
    before = sockets.bytes_moved(tunnel._client)
    await client.send(b"x" * 1000)
    await workspace.exactly(1000)
    await workspace.send(b"y" * 234)
    await client.exactly(234)
    await eventually(lambda: sockets.bytes_moved(tunnel._client) - before == 1234)


# -- revocation -------------------------------------------------------------------------------------------------------


async def revoke(rig: Rig, delta: Delta) -> None:
    """Put a delta in force as the feed does."""
    from mux.proxy.routing import FeedRouter

    table = rig.table.apply(delta)
    before = {key: rig.table.routes[key] for key in delta.routes}
    await rig.plane.put_in_force(FeedRouter(SETTINGS, table, rig.web_path), "", delta.sessions, before)


@pytest.mark.parametrize(
    "delta", [Delta(sessions={session_of("token-of-alice"): None}), Delta(routes={(ALICE, INTRO): None})]
)
async def test_a_revoked_tunnel_is_gone_when_the_change_is_in_force(rig: Rig, delta: Delta) -> None:
    client, workspace = await open_tunnel(rig)
    await revoke(rig, delta)
    assert not rig.plane._tunnels
    assert await client.closed() == b""
    assert await workspace.closed() == b""


async def test_a_revoked_stream_is_gone_when_the_change_is_in_force(rig: Rig) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n")
        await wire.rest()

    for upstream, line in ((rig.alice, b"GET /camp/intro/events"), (rig.web, b"GET /camp/events")):
        upstream.script = script
        client = await rig.client()
        await client.send(request(line))
        await client.until(b"data: x\n\n")
        await revoke(rig, Delta(sessions={session_of("token-of-alice"): None}))
        assert await client.closed() == b""
        await upstream.all_closed()
        await rig.publish(rig.table)


async def test_the_logout_that_revokes_a_session_is_answered(rig: Rig) -> None:
    """The control process waits for the proxies before it answers: its own request must survive that."""
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        await rig.web.request(wire)
        await release.wait()
        await wire.send(b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    rig.web.script = script
    client = await rig.client()
    await client.send(request(b"POST /logout", b"Content-Length: 0"))
    await eventually(lambda: len(rig.web.requests) == 1)
    await revoke(rig, Delta(sessions={session_of("token-of-alice"): None}))
    release.set()
    assert (await client.response()).status == 303


async def test_a_request_that_waits_for_a_revoked_workspace_is_told(rig: Rig) -> None:
    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.rest()

    rig.alice.script = script
    client = await rig.client()
    await client.send(request())
    await eventually(lambda: len(rig.alice.requests) == 1)
    await revoke(rig, Delta(routes={(ALICE, INTRO): None}))
    response = await client.response()
    assert (response.status, response.code) == (503, "workspace_moved")
    await rig.alice.all_closed()


async def test_idle_connections_of_a_changed_route_are_dropped(rig: Rig) -> None:
    rig.chill()
    await rig.ask(request())
    assert rig.plane.pools.idle == 1
    await revoke(rig, Delta(routes={(ALICE, INTRO): rig.route(rig.bob, "ws-new")}))
    assert rig.plane.pools.idle == 0
    assert (await rig.ask(request())).body == b"bob"


async def test_other_attendees_tunnels_live_on(rig: Rig) -> None:
    client, workspace = await open_tunnel(rig)
    await revoke(rig, Delta(sessions={session_of("token-of-bob"): None}))
    await client.send(b"x")
    assert await workspace.exactly(1) == b"x"


async def test_a_tunnel_ends_with_its_session(rig: Rig) -> None:
    """Expiry ends what is open, too."""
    import time

    from mux.core.routes import SessionEntry

    client, _ = await open_tunnel(rig)
    expired = Delta(sessions={session_of("token-of-alice"): SessionEntry(ALICE, time.time() - 1)})
    await rig.publish(rig.table.apply(expired))
    rig.plane.sweep(rig.plane.now())
    assert await client.closed() == b""


# -- with real WebSockets ---------------------------------------------------------------------------------------------


async def test_real_websockets_pass_messages_of_any_size(rig: Rig) -> None:
    async def echo(http_request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(max_msg_size=0)
        await websocket.prepare(http_request)
        async for message in websocket:
            await websocket.send_bytes(message.data)
        return websocket

    app = web.Application()
    app.router.add_get("/camp/intro/ws", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, sock).start()
    rig.alice.port = sock.getsockname()[1]
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): rig.route(rig.alice)})))
    headers = {"Host": "camp.test:8000", "Origin": "http://camp.test:8000", "Cookie": "mux_session=token-of-alice"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(f"http://127.0.0.1:{rig.port}/camp/intro/ws", compress=15, max_msg_size=0) as websocket,
    ):
        for size in (0, 1, 126, 65536, 3_000_000):
            await websocket.send_bytes(b"x" * size)
            assert await websocket.receive_bytes() == b"x" * size
    await runner.cleanup()
