"""What a hostile workspace answers: its own attendee reads that it failed, and nobody reads anything else.

Each answer comes several times, so that what might be remembered is asked for, and once octet by octet.
"""

from __future__ import annotations

import asyncio

import pytest

from mux.proxy import limits
from tests.proxy.rig import BOB, Response, Rig, Wire, answering, request
from tests.proxy.test_messages import OK, ORIGIN_LINE
from tests.proxy.test_trust import answer_with

BOTH_WAYS = True
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL = HEAD + b"Content-Length: 4\r\n\r\nevil"
SAVE = request(b"PUT /camp/intro/x", b"Content-Length: 2", ORIGIN_LINE, body=b"{}")
TIMES = 3

BAD_HEADS = {
    "status 000": b"HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 1000 Odd\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n",
    "a signed status": b"HTTP/1.1 +20 Odd\r\nContent-Length: 0\r\n\r\n",
    "two spaces before the status": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "a tab before the status": b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
    "a name in lower case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "a line end before the answer": b"\r\n" + OK,
    "an answer in the answer's place": b"GET / HTTP/1.1\r\nHost: camp.test:8000\r\n\r\n",
    "lengths that differ": HEAD + b"Content-Length: 2\r\nContent-Length: 20\r\n\r\nok",
    "a list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\nok",
    "a length of 10^20": HEAD + b"Content-Length: 100000000000000000000\r\n\r\nok",
    "a length with a sign": HEAD + b"Content-Length: -2\r\n\r\nok",
    "a length in hexadecimal": HEAD + b"Content-Length: 0x2\r\n\r\nok",
    "a length that begins with zero": HEAD + b"Content-Length: 02\r\n\r\nok",
    "an empty length": HEAD + b"Content-Length: \r\n\r\nok",
    "a coding and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
    "a vertical tab in the coding": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a folded field": HEAD + b"X: a\r\n\tb\r\nContent-Length: 2\r\n\r\nok",
    "a fold before the first field": HEAD + b" X: a\r\nContent-Length: 2\r\n\r\nok",
    "a folded coding": HEAD + b"X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
    "a bare LF": HEAD + b"X: a\nContent-Length: 2\r\n\r\nok",
    "a bare CR": HEAD + b"X: a\rContent-Length: 2\r\n\r\nok",
    "a NUL in a value": HEAD + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "a NUL in a name": HEAD + b"X\0: a\r\nContent-Length: 2\r\n\r\nok",
    "no name": HEAD + b": a\r\nContent-Length: 2\r\n\r\nok",
    "no colon": HEAD + b"X a\r\nContent-Length: 2\r\n\r\nok",
    "white space before a colon": HEAD + b"Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\nok",
    "101 without a handshake": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + EVIL,
    "interims without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK,
    "too many fields": HEAD + b"X: y\r\n" * limits.HEAD_FIELDS_MAX + b"Content-Length: 2\r\n\r\nok",
    "a head without end": HEAD + b"X: y\r\n" * (limits.HEAD_BYTES_MAX // 6),
    "a line without end": HEAD + b"X: " + b"y" * limits.HEAD_BYTES_MAX,
}


async def in_octets(wire: Wire, data: bytes) -> None:
    """Send each octet by itself, until nobody listens any more."""
    for place in range(len(data)):
        if wire.writer.transport.is_closing():
            return
        wire.writer.write(data[place : place + 1])
        await asyncio.sleep(0)


def hostile(rig: Rig, raw: bytes, *, octets: bool) -> None:
    """Have Alice's workspace answer so."""

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await (in_octets(wire, raw) if octets else wire.send(raw))
        await wire.rest()

    rig.alice.script = script


async def final(client: Wire) -> Response:
    """The response that is no interim one."""
    while (response := await client.response()).status < 200:
        pass
    return response


@pytest.mark.parametrize("raw", BAD_HEADS.values(), ids=BAD_HEADS)
async def test_a_bad_head_is_a_502_and_the_end_of_both_connections(rig: Rig, raw: bytes) -> None:
    for asked in [request()] * TIMES + [SAVE] * 2:
        hostile(rig, raw, octets=asked == SAVE and len(raw) < 1000)
        client = await rig.client()
        await client.send(asked)
        response = await final(client)
        assert (response.status, response.code) == (502, "workspace_malformed")
        assert await client.closed() == b""
        await rig.alice.all_closed()
    assert (await rig.ask(request(user=BOB))).body == b"bob"


BAD_BODIES = {
    "a size of 13 digits": b"1000000000002\r\nok\r\n0\r\n\r\n",
    "a size beyond 2^64": b"10000000000000002\r\nok\r\n0\r\n\r\n",
    "a signed size": b"+2\r\nok\r\n0\r\n\r\n",
    "a size with a mark": b"0x2\r\nok\r\n0\r\n\r\n",
    "white space after a size": b"2 \r\nok\r\n0\r\n\r\n",
    "no size": b"\r\nok\r\n0\r\n\r\n",
    "a line that ends with LF": b"2\nok\r\n0\r\n\r\n",
    "data that ends with LF": b"2\r\nok\n0\r\n\r\n",
    "more data than the size": b"2\r\nokay\r\n0\r\n\r\n",
    "a large extension": b"2;a=" + b"b" * limits.CHUNK_LINE_BYTES_MAX + b"\r\nok\r\n0\r\n\r\n",
    "many extensions": (b"1;a=" + b"b" * 200 + b"\r\nx\r\n") * 100 + b"0\r\n\r\n",
    "a quote without end": b'2;a="\r\nok\r\n0\r\n\r\n',
    "large trailers": b"0\r\n" + b"X: y\r\n" * limits.TRAILER_BYTES_MAX + b"\r\n",
    "a folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
    "a trailer without colon": b"0\r\nX\r\n\r\n",
    "a trailer Set-Cookie": b"0\r\nSet-Cookie: mux_session=evil\r\n\r\n",
    "a trailer Content-Length": b"0\r\nContent-Length: 4\r\n\r\n",
    "a trailer Transfer-Encoding": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a trailer with an underscore": b"0\r\nTransfer_Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("raw", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_bad_body_is_never_ended_in_order(rig: Rig, raw: bytes) -> None:
    """Perhaps it began in order; then it breaks off."""
    for asked in [request()] * TIMES + [SAVE] * 2:
        hostile(rig, CHUNKED + raw, octets=asked == SAVE and len(raw) < 1000)
        client = await rig.client()
        await client.send(asked)
        seen = await client.closed()
        assert not seen.endswith(b"\r\n0\r\n\r\n") and b"evil" not in seen
        if seen.startswith(b"HTTP/1.1 502"):
            assert b'"workspace_malformed"' in seen
        await rig.alice.all_closed()
    assert (await rig.ask(request(user=BOB))).body == b"bob"


ANSWERS = {
    "length": (b"GET", OK, b"ok"),
    "chunked": (b"GET", CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"),
    "HEAD": (b"HEAD", HEAD + b"Content-Length: 4\r\n\r\n", b""),
    "HEAD, chunked": (b"HEAD", CHUNKED, b""),
    "204": (b"PUT", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "204 with a length": (b"PUT", b"HTTP/1.1 204 No Content\r\nContent-Length: 37\r\n\r\n", b""),
    "204, chunked": (b"PUT", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    "304": (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 37\r\n\r\n", b""),
    "304, chunked": (b"GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    "a save": (b"PUT", OK, b"ok"),
}


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_what_follows_an_answer_answers_nobody(
    rig: Rig, answer: tuple[bytes, bytes, bytes], late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue of answers cannot be poisoned: neither on the client's connection nor on another one of anybody."""
    monkeypatch.setattr(limits, "FRESH_S", 3600.0)
    method, raw, body = answer
    after = asyncio.Event()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(raw if late else raw + EVIL)
        if late:
            await after.wait()
            await wire.send(EVIL)
        await wire.rest()

    rig.alice.script = script
    client = await rig.client()
    fields = [b"Content-Length: 2", ORIGIN_LINE] if method == b"PUT" else []
    asked = request(method + b" /camp/intro/x", *fields, body=b"{}" if fields else b"")
    for _ in range(2 * TIMES):
        after.clear()
        await client.send(asked)
        response = await client.response(head_only=method == b"HEAD")
        assert (response.head[:12], response.body) == (raw[:12], body)
        after.set()
        await rig.alice.all_closed()
    for user in (BOB, BOB):
        assert (await rig.ask(request(user=user))).body == b"bob"


async def test_an_answer_that_nobody_asked_for_is_no_answer(rig: Rig) -> None:
    """On a connection that is open ahead: it is ended, and the request goes elsewhere."""
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(OK)
        if rig.alice.connections == 1:
            await go.wait()
            await wire.send(EVIL * 3)
            await wire.rest()

    rig.alice.script = script
    client = await rig.client()
    assert (await client.ask(request())).body == b"ok"
    go.set()
    await rig.alice.all_closed()
    for asked in (request(), SAVE):
        assert (await rig.ask(asked)).body == b"ok"


@pytest.mark.parametrize(
    ("field", "seen"),
    [
        (b"Set-Cookie: __Host-a=b; Path=/; Secure", "__Host-a=b; Secure; Path=/camp/intro/"),
        (b"Set-Cookie: __Secure-a=b; Path=/camp/; Secure", "__Secure-a=b; Secure; Path=/camp/intro/"),
        (b"Set-Cookie: a=b; Path=/camp/spark/", "a=b; Path=/camp/intro/"),
        (b"Set-Cookie: a=b; Path=/camp/intro/../spark/", "a=b; Path=/camp/intro/../spark/"),
        (b"Set-Cookie: a=b; Domain=test", None),
        (b"Set-Cookie: __host-MUX-x=b; Path=/; Secure", None),
        (b"Set-Cookie: mux_session =b", None),
        (b"Location: //evil.test/", "//evil.test/"),
        (b"Location: javascript:alert(1)", "javascript:alert(1)"),
        (b"Location: http://camp.test:8000/camp/spark/", "http://camp.test:8000/camp/spark/"),
    ],
)
async def test_what_a_workspace_says_of_other_places(rig: Rig, field: bytes, seen: str | None) -> None:
    """Cookies stay in its prefix: browsers compare paths as text. Where it leads a browser is its own affair."""
    rig.alice.script = answering(rig.alice, answer_with(field, status=b"302 Found"))
    client = await rig.client()
    name = field.partition(b":")[0].decode()
    for asked in [request()] * TIMES + [SAVE] * TIMES:
        assert (await client.ask(asked)).values(name) == ([] if seen is None else [seen])
