"""Large bodies through the kernel: the bytes are the bytes, and every end is the one that it would be without."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mux.core.routes import Delta
from mux.proxy import limits
from mux.proxy.splice import Splice
from tests.proxy.rig import PATIENCE_S, Response, Rig, Wire, answering, request, session_of

BOTH_LOOPS = True
BOTH_WAYS = True
STRICT_IS_LONG = True

SIZE = 6 << 20
BODY = random.Random(7).randbytes(SIZE)
HEAD = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: %d\r\n\r\n" % SIZE


@pytest.fixture(params=[True, False], ids=["spliced", "by hand"])
def spliced(request: pytest.FixtureRequest) -> bool:
    """Whether the rig's plane may splice; that it does is checked by who asks."""
    return bool(request.param)


@pytest.fixture
async def plane(tmp_path: Path, way: dict[str, Any], spliced: bool) -> AsyncIterator[Rig]:
    """A rig of either way, with and without splice."""
    async with Rig(tmp_path, **way | {"splice": spliced}) as rig:
        yield rig


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Splice]:
    """Every splice that is begun."""
    seen: list[Splice] = []
    real = Splice.start

    def start(splice: Splice) -> None:
        if splice not in seen:
            seen.append(splice)
        real(splice)

    monkeypatch.setattr(Splice, "start", start)
    return seen


async def test_a_download_passes_whole(plane: Rig, spliced: bool, begun: list[Splice]) -> None:
    plane.alice.script = answering(plane.alice, HEAD + BODY)
    client = await plane.client()
    for _ in range(3):
        assert (await client.ask(request())).body == BODY
    assert plane.alice.connections == 1, "the connection is used again"
    assert len(begun) == (3 if spliced else 0)


async def test_an_upload_passes_whole(plane: Rig, spliced: bool, begun: list[Splice]) -> None:
    client = await plane.client()
    for _ in range(3):
        raw = request(b"PUT /camp/intro/x", b"Content-Length: %d" % SIZE, body=BODY)
        assert (await client.ask(raw)).body == b"alice"
    assert plane.alice.bodies == [BODY] * 3
    assert len(begun) == (3 if spliced else 0)


async def test_what_follows_a_large_body_is_read_as_a_request(plane: Rig) -> None:
    plane.alice.script = answering(plane.alice, HEAD + BODY)
    client = await plane.client()
    await client.send(request() + request(b"GET /camp/intro/second") + request(b"GET /camp/intro/third"))
    for _ in range(3):
        assert (await client.response()).body == BODY
    assert [head.split(b" ")[1] for head in plane.alice.requests][1:] == [b"/camp/intro/second", b"/camp/intro/third"]
    raw = request(b"PUT /camp/intro/x", b"Content-Length: %d" % SIZE, body=BODY) + request(b"GET /camp/intro/last")
    sending = asyncio.create_task(client.send(raw))
    assert [(await client.response()).body for _ in range(2)] == [BODY] * 2
    await sending
    assert plane.alice.requests[-1].startswith(b"GET /camp/intro/last ")


async def test_both_directions_at_once(plane: Rig) -> None:
    """An echo that begins before the request has ended."""

    async def echo(wire: Wire) -> None:
        await wire.head()
        await wire.send(HEAD)
        for _ in range(SIZE // 65536):
            await wire.send(await wire.exactly(65536))

    plane.alice.script = echo
    client = await plane.client()
    raw = request(b"POST /camp/intro/x", b"Content-Length: %d" % SIZE, body=BODY)
    sending = asyncio.create_task(client.send(raw))
    assert (await client.response()).body == BODY
    await sending


async def test_a_stalled_download_goes_on(plane: Rig) -> None:
    plane.alice.script = answering(plane.alice, HEAD + BODY)
    client = await plane.client()
    await client.send(request())
    head = await client.head()
    first = await client.exactly(100_000)
    for _ in range(50):
        await asyncio.sleep(0.005)  # the sink is full by now, in whatever way
    assert first + await client.exactly(SIZE - 100_000) == BODY
    assert head == HEAD


async def test_a_stalled_download_holds_little(plane: Rig) -> None:
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        while True:
            await wire.send(bytes(1 << 16))
            sent += 1 << 16

    plane.alice.script = script
    clients = [await plane.client() for _ in range(8)]
    for client in clients:
        await client.send(request())
        await client.head()
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.2)
    assert sent < 8 * (32 << 20), "what the kernel's socket buffers take"
    held = sum(client.transport.get_write_buffer_size() for client in plane.plane._clients)
    assert held <= 8 * 2 * limits.WRITE_BUFFER_BYTES_HIGH + 8 * 65536 * 4


async def test_an_upstream_that_breaks_off_breaks_off_the_download(plane: Rig) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(HEAD + BODY[: SIZE // 2])

    plane.alice.script = script
    client = await plane.client()
    await client.send(request())
    got = await client.closed()
    assert got.startswith(HEAD) and len(got) < SIZE
    assert BODY.startswith(got[len(HEAD) :])


async def test_a_client_that_leaves_ends_the_download(plane: Rig) -> None:
    plane.alice.script = answering(plane.alice, HEAD + BODY)
    client = await plane.client()
    await client.send(request())
    await client.exactly(100_000)
    client.writer.transport.abort()
    await plane.alice.all_closed()
    assert (await plane.ask(request())).body == BODY


async def test_a_client_that_leaves_ends_the_upload(plane: Rig) -> None:
    client = await plane.client()
    await client.send(request(b"PUT /camp/intro/x", b"Content-Length: %d" % SIZE) + BODY[: SIZE // 2])
    client.writer.transport.abort()
    await plane.alice.all_closed()
    assert plane.alice.bodies == []


async def test_an_answer_before_the_upload_has_ended(plane: Rig) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await wire.rest()  # a server that closes with unread bytes resets, and may take its answer back

    plane.alice.script = script
    client = await plane.client()
    sending = asyncio.create_task(client.send(request(b"PUT /camp/intro/x", b"Content-Length: %d" % SIZE, body=BODY)))
    response: Response = await client.response()
    assert response.status == 413
    client.writer.transport.abort()
    await asyncio.gather(sending, return_exceptions=True)


async def test_a_session_that_ends_cuts_the_download(plane: Rig) -> None:
    plane.alice.script = answering(plane.alice, HEAD + BODY)
    client = await plane.client()
    await client.send(request())
    await client.exactly(100_000)
    gone = session_of("token-of-alice")
    table = plane.table.apply(Delta(sessions={gone: None}))
    await plane.plane.put_in_force(plane.router(table), "", [gone], {})
    assert len(await client.closed()) < SIZE
    await plane.alice.all_closed()


async def test_descriptors_are_given_back(plane: Rig) -> None:
    async def script(wire: Wire) -> None:
        asked = (await plane.alice.request(wire)).head
        await wire.send(HEAD + (BODY if b"whole" in asked else BODY[: SIZE // 2]))

    def open_now() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    plane.alice.script = script
    counts = []
    for _ in range(6):
        for target in (b"GET /camp/intro/whole", b"GET /camp/intro/half"):
            client = await plane.client()
            await client.send(request(target))
            if target.endswith(b"whole"):
                await client.exactly(SIZE // 3)
                client.writer.transport.abort()
            else:
                await client.closed()
            await plane.alice.all_closed()
        async with asyncio.timeout(PATIENCE_S):
            while plane.plane._clients:
                await asyncio.sleep(0.01)
        counts.append(open_now())
    assert counts[-1] <= counts[1] + 2, counts
