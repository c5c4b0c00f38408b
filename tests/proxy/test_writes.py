"""Requests with a body: by the short way as by the strict one, and never what a remembered read was allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mux.core.routes import Delta
from mux.proxy import inbound, limits
from mux.proxy.exchange import Exchange
from tests.proxy.conftest import SHORT
from tests.proxy.rig import ALICE, INTRO, Rig, Wire, answering, request, session_of
from tests.proxy.test_messages import OK, ORIGIN_LINE, eventually

BOTH_WAYS = True
CHUNKED = b"Transfer-Encoding: chunked"
FRAMED = {
    "length": (b"Content-Length: 5", b"hello"),
    "empty": (b"Content-Length: 0", b""),
    "chunked": (CHUNKED, b"3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\n\r\n"),
    "none": (b"X: y", b""),
}


@pytest.fixture(autouse=True)
def _connections_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are open from the beginning, too, however slow the machine is."""
    monkeypatch.setattr(limits, "FRESH_S", 3600.0)


def write(line: bytes = b"PUT /camp/intro/x", *fields: bytes, body: bytes = b"hello") -> bytes:
    """A write of Alice's, with a length."""
    return request(line, b"Content-Length: %d" % len(body), ORIGIN_LINE, *fields, body=body)


@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE"])
async def test_a_write_passes_whole_and_again(rig: Rig, method: bytes, framing: str) -> None:
    field, body = FRAMED[framing]
    client = await rig.client()
    for number in range(4):
        line = method + b" /camp/intro/%d?a=%%2f" % (number // 3)
        assert (await client.ask(request(line, field, ORIGIN_LINE, body=body))).body == b"alice"
        got = rig.alice.requests[-1]
        assert got.startswith(line + b" HTTP/1.1\r\n") and got.count(b"Authorization: token secret-alice\r\n") == 1
        assert b"mux_session" not in got and got.count(field + b"\r\n") == 1 and ORIGIN_LINE + b"\r\n" in got
    assert rig.alice.bodies == [body] * 4 and rig.alice.connections == 1


@pytest.mark.parametrize("framing", FRAMED)
async def test_a_browsers_write_is_not_parsed(tmp_path: Path, framing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of this module would pass without a short way."""
    monkeypatch.delattr(inbound, "parse_request")
    monkeypatch.delattr(Exchange, "upstream_data")
    field, body = FRAMED[framing]
    async with Rig(tmp_path, **SHORT) as rig:
        client = await rig.client()
        for _ in range(3):
            asked = request(b"POST /camp/intro/x", field, ORIGIN_LINE, b"Connection: keep-alive", body=body)
            assert (await client.ask(asked)).body == b"alice"
        assert rig.plane.memo is not None and (len(rig.plane.memo.writes), len(rig.plane.memo.heads)) == (1, 0)


# -- what a read was allowed ------------------------------------------------------------------------------------------


async def test_a_read_from_another_site_does_not_open_the_door_to_a_write(rig: Rig) -> None:
    """A link on another site may lead here; a form there may not."""
    client = await rig.client()
    for _ in range(4):
        assert (await client.ask(request(b"GET /camp/intro/x", b"Sec-Fetch-Site: cross-site"))).body == b"alice"
    for _ in range(3):
        response = await rig.ask(request(b"POST /camp/intro/x", b"Sec-Fetch-Site: cross-site"))
        assert (response.status, response.code) == (403, "foreign_site")
    assert len(rig.alice.requests) == 4


@pytest.mark.parametrize("origin", [b"http://evil.test", b"null", b"http://camp.test:8000, http://evil.test", b""])
async def test_a_write_of_ones_own_does_not_open_the_door_to_another_sites(rig: Rig, origin: bytes) -> None:
    client = await rig.client()
    for _ in range(4):
        assert (await client.ask(write())).body == b"alice"
    for _ in range(3):
        foreign = request(b"PUT /camp/intro/x", b"Content-Length: 5", b"Origin: " + origin, body=b"hello")
        response = await rig.ask(foreign)
        assert (response.status, response.code) == (403, "foreign_origin")
    assert len(rig.alice.requests) == 4


async def test_a_read_with_a_known_writes_head_keeps_its_body(rig: Rig) -> None:
    """What is known of a head says nothing of the method before it."""
    client = await rig.client()
    for method in (b"POST", b"POST", b"POST", b"GET", b"GET", b"GET", b"HEAD", b"POST"):
        await client.send(write(method + b" /camp/intro/x"))
        response = await client.response(head_only=method == b"HEAD")
        assert (response.status, response.body) == (200, b"" if method == b"HEAD" else b"alice")
    assert rig.alice.bodies == [b"hello"] * 8


async def test_a_session_that_ends_is_noticed_with_the_next_write(rig: Rig) -> None:
    client = await rig.client()
    for _ in range(4):
        assert (await client.ask(write())).body == b"alice"
    await rig.publish(rig.table.apply(Delta(sessions={session_of("token-of-alice"): None})))
    assert (await client.ask(write())).body == b"web"
    assert len(rig.alice.requests) == 4


async def test_a_workspace_that_moves_gets_the_next_write(rig: Rig) -> None:
    client = await rig.client()
    for _ in range(4):
        assert (await client.ask(write())).body == b"alice"
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): rig.route(rig.bob, "moved")})))
    assert [(await client.ask(write())).body for _ in range(3)] == [b"bob"] * 3


# -- bodies in pieces -------------------------------------------------------------------------------------------------


def holding(rig: Rig) -> list[bytes]:
    """Have Alice's workspace take bytes and say nothing; what it takes."""
    taken: list[bytes] = []

    async def script(wire: Wire) -> None:
        while data := await wire.reader.read(65536):
            taken.append(data)

    rig.alice.script = script
    return taken


@pytest.mark.parametrize("first", [0, 1, 4])
async def test_a_body_in_pieces_passes_as_it_comes(rig: Rig, first: int) -> None:
    taken = holding(rig)
    client = await rig.client()
    whole = write(body=b"hello")
    cut = len(whole) - 5 + first
    await client.send(whole[:cut])
    await eventually(lambda: b"".join(taken).endswith(b"\r\n\r\n" + b"hello"[:first]))
    for place in range(cut, len(whole)):
        await client.send(whole[place : place + 1])
        await eventually(lambda: b"".join(taken).endswith(whole[cut - first : place + 1]))  # noqa: B023
    assert b"".join(taken).count(b"hello") == 1


@pytest.mark.parametrize("first", [0, 1, 5, 12])
async def test_a_chunked_body_in_pieces_passes_whole(rig: Rig, first: int) -> None:
    client, body = await rig.client(), FRAMED["chunked"][1]
    for _ in range(4):
        await client.send(request(b"POST /camp/intro/x", CHUNKED, ORIGIN_LINE, body=body[:first]))
        await eventually(lambda: any(one.exchange is not None for one in rig.plane._clients))
        assert (await client.ask(body[first:])).body == b"alice"
    assert rig.alice.bodies == [body] * 4


async def test_what_follows_a_body_is_the_next_request(rig: Rig) -> None:
    client = await rig.client()
    first, second = write(body=b"hello"), write(body=b"world")
    await client.send(first[:-3])
    await client.send(first[-3:] + second)
    assert [(await client.response()).body for _ in range(2)] == [b"alice"] * 2
    await client.send(first + second + request())
    assert [(await client.response()).body for _ in range(3)] == [b"alice"] * 3
    assert rig.alice.bodies == [b"hello", b"world"] * 2 + [b""]


async def test_an_answer_before_the_end_of_a_body_ends_the_connection(rig: Rig) -> None:
    """RFC 9112 section 9.3: what is left of the body would be read as a request."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await wire.rest()

    rig.alice.script = script
    client = await rig.client()
    await client.send(write()[:-4])
    response = await client.response()
    assert (response.status, response.body, response.values("connection")) == (413, b"no", ["close"])
    await client.send(b"ello" + request())
    assert await client.closed() == b""
    await rig.alice.all_closed()


async def test_a_client_that_leaves_in_a_body_takes_the_connection_along(rig: Rig) -> None:
    taken = holding(rig)
    client = await rig.client()
    await client.send(write()[:-4])
    await eventually(lambda: b"".join(taken).endswith(b"\r\n\r\nh"))
    client.writer.transport.abort()
    await eventually(lambda: len(rig.alice._wires) == 0)
    assert b"".join(taken).count(b"PUT") == 1


async def test_a_client_that_ends_in_a_body_reads_why(rig: Rig) -> None:
    holding(rig)
    client = await rig.client()
    await client.send(write()[:-4])
    client.writer.write_eof()
    response = await client.response()
    assert (response.status, response.code) == (400, "body_incomplete")


async def test_a_workspace_that_ends_in_a_body_is_a_502(rig: Rig) -> None:
    async def script(wire: Wire) -> None:
        await wire.head()

    rig.alice.script = script
    client = await rig.client()
    await client.send(write()[:-4])
    response = await client.response()
    assert (response.status, response.code) == (502, "workspace_reset")
    assert rig.alice.connections == 1


async def test_a_session_that_ends_in_a_body_ends_the_request(rig: Rig) -> None:
    taken = holding(rig)
    client = await rig.client()
    await client.send(write()[:-4])
    await eventually(lambda: b"".join(taken).endswith(b"\r\n\r\nh"))
    session = session_of("token-of-alice")
    rig.table = rig.table.apply(Delta(sessions={session: None}))
    await rig.plane.put_in_force(rig.router(rig.table), "Test Camp", (session,), {})
    response = await client.response()
    assert (response.status, response.code) == (503, "workspace_moved")


async def test_a_body_that_the_workspace_is_slow_to_take_passes_whole(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece stops the client until it is taken."""
    monkeypatch.setattr(limits, "WRITE_BUFFER_BYTES_HIGH", 0)
    monkeypatch.setattr(limits, "WRITE_BUFFER_BYTES_LOW", 0)
    rig.chill()
    client, body = await rig.client(), bytes(range(256)) * (limits.FRESH_BODY_BYTES_MAX // 256)
    assert (await client.ask(request())).body == b"alice"
    for _ in range(3):
        whole = write(body=body)
        for start in range(0, len(whole), 5000):
            await client.send(whole[start : start + 5000])
            await asyncio.sleep(0)
        assert (await client.response()).body == b"alice"
    assert rig.alice.bodies[1:] == [body] * 3 and rig.alice.connections == 1


# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nLocation: /camp/intro/y\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["204", "204 with a length", "201", "205", "100 and 200"],
)
async def test_what_answers_a_write_passes_again_and_again(rig: Rig, answer: bytes) -> None:
    rig.plane.wall = lambda: 784111777.9
    rig.alice.script = answering(rig.alice, answer)
    client, seen = await rig.client(), set()
    for _ in range(4):
        await client.send(write())
        response = await client.response()
        if response.status < 200:
            response = await client.response()
        seen.add((response.head, response.body))
    assert len(seen) == 1 and rig.alice.connections == 1
    [(head, body)] = seen
    assert head.startswith(answer.rpartition(b"HTTP/1.1 ")[2][:3].join((b"HTTP/1.1 ", b" "))) and body in (b"", b"ok")
    assert (b"ontent-Length" in head) == (b" 204 " not in head)


async def test_whose_answers_are_not_plain_is_active_too(rig: Rig) -> None:
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok")
    client = await rig.client()
    for asked in (request(), write()):
        for _ in range(3):
            assert (await client.ask(asked)).body == b"ok"
            assert rig.plane.counters().active == ((ALICE, INTRO),)


async def test_a_write_without_an_octet_of_an_answer_is_not_repeated(rig: Rig) -> None:
    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(OK)
        await rig.alice.request(wire)

    rig.alice.script = script
    client = await rig.client()
    assert (await client.ask(write())).body == b"ok"
    response = await client.ask(write())
    assert (response.status, response.code, len(rig.alice.requests)) == (502, "workspace_reset", 2)
