"""A busy worker: new connections, new requests and new connections to workspaces each get their turn."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest

from mux.proxy import limits, sockets
from mux.proxy.accept import Acceptor
from mux.proxy.quick import Quick
from mux.proxy.turns import Late, Turns
from tests.proxy.rig import ALICE, INTRO, PATIENCE_S, Rig, Wire, answering, asked, request
from tests.proxy.test_messages import OK, eventually
from tests.proxy.test_tunnels import open_tunnel

BOTH_LOOPS = True
BOTH_WAYS = True


class Counting(asyncio.Protocol):
    """Connections that were made."""

    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).made += 1
        transport.close()


async def test_a_burst_is_taken_in_a_few_turns() -> None:
    sock = socket.create_server(("127.0.0.1", 0), backlog=limits.LISTEN_BACKLOG)
    tasks: set[asyncio.Task[None]] = set()

    def spawn(work: object, name: str) -> None:
        assert asyncio.iscoroutine(work)
        tasks.add(asyncio.create_task(work, name=name))

    Counting.made = 0
    acceptor = Acceptor(sock, Counting, None, spawn, expired=lambda: None)
    number = 200
    waiting = [socket.create_connection(sock.getsockname()) for _ in range(number)]
    await acceptor.start()
    turns = 0
    async with asyncio.timeout(PATIENCE_S):
        while Counting.made < number:
            turns += 1
            await asyncio.sleep(0)
    acceptor.close()
    assert turns < number / 2, "the loop alone takes one a turn"
    for client in waiting:
        client.close()
    await asyncio.gather(*tasks)


def always_late(turns: Turns) -> None:
    """Every turn has lasted too long from its beginning."""
    begin = turns._begin

    def begin_late(now: float) -> None:
        begin(now)
        turns.ends = -1.0

    turns._begin = begin_late  # type: ignore[method-assign]
    turns.ends = -1.0


class Taking:
    """A connection that keeps what it takes."""

    def __init__(self, taken: list[bytes], fault: Exception | None = None) -> None:
        self._taken = taken
        self._fault = fault
        self.transport = Mock()

    def received(self, data: bytes) -> None:
        if self._fault is not None:
            raise self._fault
        self._taken.append(data)

    def read_on(self) -> None:
        pass


async def test_what_comes_late_in_a_turn_is_taken_in_the_next_and_in_order() -> None:
    turns, taken = Turns(asyncio.get_running_loop()), list[bytes]()
    connection = Taking(taken)
    assert not turns.put_off(1.0, connection, b"in time")
    assert turns.ends == 1.0 + limits.TURN_S
    assert turns.put_off(2.0, connection, b"one")
    assert turns.put_off(2.0, connection, b"two")
    assert taken == []
    await asyncio.sleep(0)
    assert taken == [b"one", b"two"]
    assert not turns.put_off(3.0, connection, b"in time again")


async def test_what_was_put_off_can_be_taken_before_the_next_turn() -> None:
    turns, taken = Turns(asyncio.get_running_loop()), list[bytes]()
    turns.put_off(1.0, Taking(taken), b"")
    turns.put_off(2.0, Taking(taken), b"one")
    turns.catch_up()
    assert taken == [b"one"]
    await asyncio.sleep(0)
    assert taken == [b"one"]


async def test_a_defect_with_one_connection_costs_no_other_its_bytes() -> None:
    turns, taken = Turns(asyncio.get_running_loop()), list[bytes]()
    broken, well = Taking(taken, RuntimeError("a defect")), Taking(taken)
    turns.put_off(1.0, well, b"")
    turns.put_off(2.0, broken, b"one")
    turns.put_off(2.0, well, b"two")
    turns.catch_up()
    assert taken == [b"two"]
    broken.transport.abort.assert_called_once()


@pytest.fixture
def late(rig: Rig) -> Rig:
    """A rig whose every turn is late: whatever can be put off is."""

    def put_off(now: float, connection: Late, data: bytes) -> bool:
        turns._kept.append((connection, data))
        asyncio.get_running_loop().call_soon(turns.catch_up)
        return True

    turns = rig.plane.turns
    turns.put_off = put_off  # type: ignore[method-assign]
    turns.ends = -1.0
    return rig


async def test_requests_that_are_put_off_are_answered_in_order(late: Rig) -> None:
    client = await late.client()
    await client.send(request() + request(b"GET /camp/") + request())
    assert [(await client.response()).body for _ in range(3)] == [b"alice", b"web", b"alice"]
    half = request()
    await client.send(half[:10])
    await client.send(half[10:])
    assert (await client.response()).body == b"alice"


async def test_a_request_that_is_put_off_is_answered_though_its_client_says_no_more(late: Rig) -> None:
    client = await late.client()
    client.writer.write(request())
    client.writer.write_eof()
    assert (await client.response()).body == b"alice"
    assert await client.rest() == b""


async def test_a_client_that_leaves_what_is_put_off_is_forgotten(late: Rig) -> None:
    client = await late.client()
    await client.send(request())
    client.writer.transport.abort()
    assert (await late.ask(request())).body == b"alice"
    await eventually(lambda: len(late.plane._clients) == 1)


async def two_for_one_connection(rig: Rig, *, stale: bool) -> list[Wire]:
    """Two clients have asked: the one is served by the only connection, the other waits, and its dial never ends.

    ``stale``: the workspace ends the connection after its first answer.
    """
    rig.chill()
    asked, release, dialling = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await rig.alice.request(wire)
            asked.set()
            await release.wait()
            if stale:
                rig.alice.script = None
            await wire.send(OK)
            if stale:
                return

    async def never(destination: object) -> object:
        dialling.set()
        return await asyncio.Future()

    rig.alice.script = script
    clients = [await rig.client(), await rig.client()]
    await clients[0].send(request())
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    connect = rig.plane.pools.connect
    rig.plane.pools.connect = never  # type: ignore[method-assign, assignment]
    await clients[1].send(request())
    await asyncio.wait_for(dialling.wait(), PATIENCE_S)
    rig.plane.pools.connect = connect  # type: ignore[method-assign]
    release.set()
    return clients


async def test_a_request_is_served_by_a_connection_that_comes_back_before_one_that_is_dialled(rig: Rig) -> None:
    for client in await two_for_one_connection(rig, stale=False):
        assert (await client.response()).status == 200
    assert rig.alice.connections == 1


async def test_a_connection_that_came_back_stale_is_no_failure_of_whoever_waited_for_it(rig: Rig) -> None:
    first, second = await two_for_one_connection(rig, stale=True)
    assert (await first.response()).status == 200
    assert (await second.response()).body == b"alice"


async def test_a_dial_that_fails_is_the_failure_of_whoever_waited_longest(rig: Rig) -> None:
    for _ in range(2):  # the second time its head is known
        await rig.ask(request())
        rig.chill()
    dials: list[asyncio.Future[None]] = []
    connect = rig.plane.pools.connect

    async def refused(destination: object) -> object:
        dials.append(asyncio.get_running_loop().create_future())
        await dials[-1]
        raise ConnectionRefusedError

    rig.plane.pools.connect = refused  # type: ignore[method-assign, assignment]
    clients = []
    for number in (1, 2):
        clients.append(await rig.client())
        await clients[-1].send(request())
        async with asyncio.timeout(PATIENCE_S):
            while len(dials) < number:
                await asyncio.sleep(0)
    dials[1].set_result(None)
    assert (await clients[0].response()).status == 503
    rig.plane.pools.connect = connect  # type: ignore[method-assign]
    await rig.warm(ALICE)
    assert (await clients[1].response()).body == b"alice"
    dials[0].set_result(None)
    assert (await rig.ask(request())).body == b"alice"


async def test_whoever_leaves_while_waiting_leaves_the_connection_to_others(rig: Rig) -> None:
    for _ in range(2):
        await rig.ask(request())
        rig.chill()
    connect, go, dials = rig.plane.pools.connect, asyncio.Event(), 0

    async def slow(destination: object) -> object:
        nonlocal dials
        dials += 1
        await go.wait()
        return await connect(destination)  # type: ignore[arg-type]

    rig.plane.pools.connect = slow  # type: ignore[method-assign, assignment]
    gone = await rig.client()
    await gone.send(request())
    await eventually(lambda: dials == 1)
    sockets.reset(cast(asyncio.Transport, gone.writer.transport))
    pool = rig.plane.pools.of(rig.plane.route(asked(ALICE)).pool)
    await eventually(lambda: not pool._waiting)
    stays = await rig.client()
    await stays.send(request())
    await eventually(lambda: len(pool._waiting) == 1)
    go.set()
    assert (await stays.response()).body == b"alice"
    assert dials == 1


async def test_a_route_that_ends_ends_what_waits_for_a_connection(rig: Rig) -> None:
    for _ in range(2):
        await rig.ask(request())
        rig.chill()
    dialling = asyncio.Event()

    async def never(destination: object) -> object:
        dialling.set()
        return await asyncio.Future()

    rig.plane.pools.connect = never  # type: ignore[method-assign, assignment]
    client = await rig.client()
    await client.send(request())
    await asyncio.wait_for(dialling.wait(), PATIENCE_S)
    key = (ALICE, INTRO)
    await rig.plane.put_in_force(rig.router(rig.table), "Test Camp", (), {key: rig.table.routes[key]})
    response = await client.response()
    assert (response.status, response.code) == (503, "workspace_moved")


async def test_answers_of_many_at_once_are_each_their_own(rig: Rig) -> None:
    rig.alice.script = answering(rig.alice, OK)
    rig.chill()
    answers = await asyncio.gather(*(rig.ask(request()) for _ in range(60)))
    assert {answer.status for answer in answers} == {200}
    assert rig.alice.accepted <= 60 + 3


async def test_an_answer_that_fills_its_clients_buffer_comes_once(tmp_path: Path) -> None:
    size = 16 << 20
    async with Rig(tmp_path, warm=1) as rig:
        asked, go, hold = asyncio.Event(), asyncio.Event(), False

        async def script(wire: Wire) -> None:
            while True:
                await rig.alice.request(wire)
                if hold:  # answered below, as if by this workspace
                    asked.set()
                    await go.wait()
                else:
                    await wire.send(OK)

        rig.alice.script = script
        for _ in range(2):
            await rig.ask(request())
        seen, hold = len(rig.alice.requests), True
        client = await rig.client()
        await client.send(request())
        await asyncio.wait_for(asked.wait(), PATIENCE_S)
        [quick] = [each.exchange for each in rig.plane._clients if isinstance(each.exchange, Quick)]
        quick.upstream_data(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        hold = False
        go.set()
        assert len((await client.response()).body) == size
        assert (await client.ask(request(b"GET /camp/"))).body == b"web"
        assert len(rig.alice.requests) == seen + 1


async def test_a_defect_in_a_dial_is_told_to_whoever_waits(rig: Rig) -> None:
    for _ in range(2):
        await rig.ask(request())
        rig.chill()

    async def broken(destination: object) -> object:
        raise UnicodeError("a label too long")

    rig.plane.pools.connect = broken  # type: ignore[method-assign, assignment]
    assert (await rig.ask(request())).status == 503


async def test_bytes_that_were_put_off_come_before_what_a_drained_buffer_begins(rig: Rig) -> None:
    client = await rig.client()
    assert (await client.ask(request())).body == b"alice"
    [connection] = rig.plane._clients
    connection.write_paused = True
    post = b"POST /camp/intro/x HTTP/1.1\r\nHost: camp.test:8000\r\nOrigin: http://camp.test:8000\r\n"
    post += b"Cookie: mux_session=token-of-alice\r\nContent-Length: 8\r\n\r\n"
    connection.data_received(post)
    turns = rig.plane.turns
    turns.put_off(turns.ends + 1.0, connection, b"")
    turns.put_off(turns.ends + 1.0, connection, b"AAAA")
    connection.resume_writing()
    connection.data_received(b"BBBB")
    assert (await client.response()).body == b"alice"
    assert rig.alice.bodies[-1] == b"AAAABBBB"


async def test_no_more_is_put_off_than_is_said(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    bound, size = 1000, 8 << 20
    monkeypatch.setattr("mux.proxy.turns.PUT_OFF_BYTES_MAX", bound)
    client = await rig.client()
    assert (await client.ask(request())).body == b"alice"
    [connection] = rig.plane._clients
    turns, loop = rig.plane.turns, asyncio.get_running_loop()
    await eventually(lambda: not turns._due)
    turns._loop = Mock()  # the turn has no end
    turns.put_off(0.0, connection, b"")
    post = request(b"POST /camp/intro/x", b"Origin: http://camp.test:8000", b"Content-Length: %d" % size)
    sending = asyncio.create_task(client.send(post + bytes(size)))
    await eventually(lambda: turns._bytes > bound)
    for _ in range(100):
        await asyncio.sleep(0)
    assert turns._bytes <= bound + limits.READ_BYTES_MAX
    turns._loop = loop
    turns._next()
    assert (await client.response()).body == b"alice"
    assert rig.alice.bodies[-1] == bytes(size)
    await sending


async def test_bodies_that_come_late_in_a_turn_are_read_on_by_a_few_at_a_time() -> None:
    number, order, turns = 3 * limits.READ_ON_MAX, list[int](), Turns(asyncio.get_running_loop())
    bodies = [Mock(read_on=lambda at=at: order.append(at)) for at in range(number)]
    for body in bodies:
        body.transport.is_closing.return_value = False
        turns.rest(1.0, body, body.transport)
    stopped = [body.transport.pause_reading.called for body in bodies]
    assert stopped == [False, *[True] * (number - 1)], "the first begins the turn"
    for turn in range(1, 4):
        await asyncio.sleep(0)
        assert len(order) <= turn * limits.READ_ON_MAX
    assert order == list(range(1, number))


async def test_large_bodies_pass_whole_however_long_turns_are(rig: Rig) -> None:
    """Both ways at once, with every turn too long from its beginning."""
    body = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    number, end = 100, b"0\r\n\r\n"

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(number):
            await wire.send(await wire.exactly(len(body)))
        await wire.send(await wire.exactly(len(end)))

    async def ask() -> bytes:
        client = await rig.client()
        await client.send(
            request(b"PUT /camp/intro/x", b"Origin: http://camp.test:8000", b"Transfer-Encoding: chunked")
        )
        sending = asyncio.create_task(client.send(body * number + end))
        await client.head()
        echoed = await client.exactly(len(body) * number + len(end))
        await sending
        return echoed

    rig.alice.script = script
    always_late(rig.plane.turns)
    for echoed in await asyncio.gather(*(ask() for _ in range(3))):
        assert echoed == body * number + end


async def test_a_tunnel_that_brings_much_in_a_late_turn_is_read_on_in_a_later_one(rig: Rig) -> None:
    ends = await open_tunnel(rig)
    tunnel = next(iter(rig.plane._tunnels))
    tunnel.watch(on=True)
    leg, turns = cast(Any, tunnel._client.get_protocol()), rig.plane.turns
    turns.rest(0.0, leg, tunnel._client)  # begins the turn
    turns.ends = -1.0
    leg.data_received(bytes(limits.REST_BYTES_MIN - 1))
    assert tunnel._client.is_reading()
    leg.data_received(bytes(limits.REST_BYTES_MIN))
    assert not tunnel._client.is_reading()
    leg.other.full = True  # by then the workspace takes no more
    turns._next()
    assert not tunnel._client.is_reading()
    leg.other.resume_writing()
    assert tunnel._client.is_reading()
    assert len(ends) == 2


async def test_tunnels_are_watched_only_while_turns_are_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message costs no Python frame else."""
    monkeypatch.setattr("mux.proxy.watch.WATCH_S", 3600.0)  # it is looked from here
    monkeypatch.setattr("mux.proxy.watch.WATCH_QUIET_S", 3600.0)
    watch, early = rig.plane._watch, await open_tunnel(rig)

    def watched() -> set[bool]:
        legs = [leg.get_protocol() for tunnel in rig.plane._tunnels for leg in (tunnel._client, tunnel._upstream)]
        return {getattr(leg.data_received, "__self__", None) is leg for leg in cast(list[Any], legs)}

    assert watched() == {False}
    watch._spent -= 3600.0 + 2 * limits.TURN_S
    watch._look()
    late = await open_tunnel(rig)
    assert watched() == {True}
    watch._until = 0.0
    watch._look()
    assert watched() == {False}
    rig.plane.turns.rests += 1
    watch._look()
    assert watched() == {True}
    for client, workspace in (early, late):
        await client.send(b"one way")
        assert await workspace.exactly(7) == b"one way"
        await workspace.send(b"the other")
        assert await client.exactly(9) == b"the other"


async def test_nobody_looks_where_there_are_no_tunnels(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mux.proxy.watch.WATCH_S", 0.001)
    assert rig.plane._watch._timer is None
    client, _ = await open_tunnel(rig)
    assert rig.plane._watch._timer is not None
    sockets.reset(cast(asyncio.Transport, client.writer.transport))
    await eventually(lambda: rig.plane._watch._timer is None)


async def test_tunnels_pass_whole_however_long_turns_are(rig: Rig) -> None:
    """Both ways at once, with every turn too long from its beginning."""
    size, ends = 4 << 20, [await open_tunnel(rig) for _ in range(3)]
    for tunnel in rig.plane._tunnels:
        tunnel.watch(on=True)
    always_late(rig.plane.turns)

    async def one_way(source: Wire, sink: Wire, number: int) -> None:
        said = b"%08d" % number * (size // 8)
        sending = asyncio.create_task(source.send(said))
        assert await sink.exactly(size) == said
        await sending

    await asyncio.gather(
        *(one_way(client, workspace, number) for number, (client, workspace) in enumerate(ends)),
        *(one_way(workspace, client, 100 + number) for number, (client, workspace) in enumerate(ends)),
    )
