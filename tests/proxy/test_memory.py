"""What one connection holds in buffers while nobody takes anything: no more than is said, on both loops, both ways."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from mux.proxy import limits
from mux.proxy.client import ClientConnection
from mux.proxy.exchange import Exchange
from mux.proxy.upstream import UpstreamConnection
from tests.proxy.rig import ALICE, BOB, Rig, Wire, request
from tests.proxy.test_messages import ORIGIN_LINE, eventually

BOTH_LOOPS = True
BOTH_WAYS = True
CHUNK = b"8000\r\n" + bytes(0x8000) + b"\r\n"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The size of each read of the plane."""
    sizes: list[int] = []
    for kind in (ClientConnection, UpstreamConnection):
        real = kind.data_received

        def received(connection: object, data: bytes, real: object = real) -> None:
            sizes.append(len(data))
            assert callable(real)
            real(connection, data)

        monkeypatch.setattr(kind, "data_received", received)
    yield sizes


def held(client: ClientConnection) -> int:
    """Bytes in the buffers of a connection and its upstream."""
    exchange = client.exchange
    assert isinstance(exchange, Exchange) and exchange.upstream is not None
    return (
        client._reader.buffered
        + client.transport.get_write_buffer_size()
        + sum(map(len, exchange._pending))
        + len(exchange._reader.leftover)
        + exchange.upstream.transport.get_write_buffer_size()
    )


async def test_a_connection_that_ended_is_freed_at_once(rig: Rig) -> None:
    """The collector comes seldom, and whoever is served waits for it as long as there is much to look through."""
    gc.collect()
    gc.disable()
    try:
        for fields in ((), (b"Connection: close",), (b"Connection: x",)):
            for _ in range(5):
                await (await rig.client()).ask(request(b"GET /camp/intro/lab", *fields))
        for client in rig._clients:
            client.writer.transport.abort()
        await eventually(lambda: not rig.plane._clients)
        await eventually(lambda: not any(isinstance(each, ClientConnection | Exchange) for each in gc.get_objects()))
    finally:
        gc.enable()


async def flood(wire: Wire, data: bytes) -> None:
    """Send the same until cancelled."""
    while True:
        await wire.send(data)


async def test_a_connection_of_which_nobody_takes_anything_holds_no_more_than_is_said(
    rig: Rig, reads: list[int]
) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await flood(wire, CHUNK)

    rig.alice.script = script
    wire = await rig.client()
    await wire.send(request(b"PUT /camp/intro/x", b"Transfer-Encoding: chunked", ORIGIN_LINE))
    sending = asyncio.create_task(flood(wire, CHUNK))
    await eventually(lambda: len(rig.plane._clients) == 1)
    (client,) = rig.plane._clients

    def stuck() -> bool:
        exchange = client.exchange
        full = isinstance(exchange, Exchange) and exchange.upstream is not None and exchange.upstream.write_paused
        return full and client.write_paused

    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio types it as one for writing
    await eventually(stuck)
    assert 2 * limits.WRITE_BUFFER_BYTES_HIGH < held(client) <= limits.CONNECTION_BYTES_MAX
    assert max(reads) <= limits.READ_BYTES_MAX
    sending.cancel()


async def test_requests_that_wait_hold_no_more_than_is_said(rig: Rig, reads: list[int]) -> None:
    over = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await over.wait()

    rig.alice.script = script
    wire = await rig.client()
    sending = asyncio.create_task(flood(wire, request() * 100))
    await eventually(lambda: len(rig.plane._clients) == 1)
    (client,) = rig.plane._clients
    await eventually(lambda: client._reader.buffered >= limits.PIPELINE_BYTES_MAX)
    before = len(reads)
    await eventually(lambda: rig.alice.connections == 1)
    assert client._reader.buffered <= limits.PIPELINE_BYTES_MAX + limits.READ_BYTES_MAX
    assert len(reads) == before, "nothing is read any more"
    assert max(reads) <= limits.READ_BYTES_MAX
    sending.cancel()
    over.set()


async def test_one_attendee_holds_no_more_than_is_said(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paused downloads of one attendee are ended from a sum on; the others' go on."""
    number = 6

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await flood(wire, CHUNK)

    rig.alice.script = rig.bob.script = script
    wires = []
    for user in (*[ALICE] * number, BOB):
        wire = await rig.client()
        await wire.send(request(user=user))
        await wire.head()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
        wires.append(wire)
    clients = rig.plane._clients
    await eventually(lambda: all(client.held for client in clients))
    monkeypatch.setattr(ClientConnection, "held", 100)
    monkeypatch.setattr(limits, "HELD_BYTES_MAX", 300)
    rig.plane.sweep(rig.plane.now())
    await eventually(lambda: rig.plane.tally.values['mux_proxy_broken_off_total{reason="too_much_held"}'] >= number - 3)
    await eventually(lambda: sum(client.holder == ALICE for client in clients) <= 3)
    assert [client.write_paused for client in clients if client.holder == BOB] == [True]


async def test_requests_that_wait_are_part_of_what_an_attendee_holds(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await over.wait()

    rig.alice.script = script
    wire = await rig.client()
    sending = asyncio.create_task(flood(wire, request() * 100))
    await eventually(lambda: len(rig.plane._clients) == 1)
    (client,) = rig.plane._clients
    await eventually(lambda: client._reader.buffered >= limits.PIPELINE_BYTES_MAX)
    monkeypatch.setattr(limits, "HELD_BYTES_MAX", 0)
    rig.plane.sweep(rig.plane.now())
    sending.cancel()
    assert b" 429 " in (await wire.closed()).split(b"\r\n")[0]
    over.set()
