"""HTTP/1.1 as a whole, on both loops: framing, streaming, pipelining, interim responses, ends of every kind."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable

import pytest

from mux.proxy import limits
from mux.proxy.exchange import Exchange
from tests.proxy.rig import HOST, Response, Rig, Wire, answering, cookie, request

BOTH_LOOPS = True
BOTH_WAYS = True
ORIGIN_LINE = b"Origin: http://camp.test:8000"
CHUNKED = b"Transfer-Encoding: chunked"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOW, DATE = 784111777.9, b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


async def eventually(condition: Callable[[], bool]) -> None:
    """Until something that no event tells is so."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


# -- responses --------------------------------------------------------------------------------------------------------


async def test_a_chunked_response_passes_byte_for_byte(rig: Rig) -> None:
    body = b"5;ext=1\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 15\r\n\r\n"
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\n" + DATE + b"Transfer-Encoding: Chunked\r\n\r\n", body)
    client = await rig.client()
    for _ in range(2):
        await client.send(request())
        assert await client.head() == b"HTTP/1.1 200 OK\r\n" + DATE + b"Transfer-Encoding: chunked\r\n\r\n"
        assert await client.exactly(len(body)) == body
    assert rig.alice.connections == 1


async def test_a_response_without_length_ends_with_its_connection(rig: Rig) -> None:
    """RFC 9112 section 6.3, rule 8."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\n" + DATE + b"\r\n", b"to the", b" end", close=True)
    client = await rig.client()
    await client.send(request())
    assert await client.rest() == b"HTTP/1.1 200 OK\r\n" + DATE + b"Connection: close\r\n\r\nto the end"


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b""]
)
async def test_a_response_to_head_has_no_body(rig: Rig, fields: bytes) -> None:
    """RFC 9110 section 9.3.2."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    client = await rig.client()
    for _ in range(2):
        await client.send(request(b"HEAD /camp/intro/x"))
        assert (await client.response(head_only=True)).status == 200
    assert rig.alice.connections == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_204_and_304_have_no_body(rig: Rig, status: bytes) -> None:
    """RFC 9112 section 6.3, rule 1."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
    client = await rig.client()
    for _ in range(2):
        assert (await client.ask(request())).status == int(status[:3])
    assert rig.alice.connections == 1


async def test_304_keeps_its_content_length_and_204_loses_it(rig: Rig) -> None:
    """RFC 9110 sections 8.6 and 15.4.5."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n")
    assert (await rig.ask(request())).values("content-length") == ["9"]
    rig.bob.script = answering(rig.bob, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
    head = await rig.ask(request().replace(b"token-of-alice", b"token-of-bob"))
    assert head.values("content-length") == []


async def test_interim_responses_pass(rig: Rig) -> None:
    """RFC 9110 section 15.2; 103 is RFC 8297."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 102 Processing\r\n\r\n", hints + OK)
    client = await rig.client()
    await client.send(request())
    assert [(await client.head()).split(b"\r\n")[0] for _ in range(3)] == [
        b"HTTP/1.1 102 Processing",
        b"HTTP/1.1 103 Early Hints",
        b"HTTP/1.1 200 OK",
    ]


async def test_a_reason_may_be_missing(rig: Rig) -> None:
    """RFC 9112 section 4: the reason phrase is optional; some servers leave its space out too."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")
    assert (await rig.ask(request())).status == 200


async def test_an_upstream_of_http_1_0_is_read_to_its_end(rig: Rig) -> None:
    rig.alice.script = answering(rig.alice, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client = await rig.client()
    for _ in range(2):
        response = await client.ask(request())
        assert (response.body, response.head[:8]) == (b"ok", b"HTTP/1.1")
    assert rig.alice.connections == 2


MALFORMED_RESPONSES = {
    "no status line": b"hello\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\n\r\n",
    "status out of range": b"HTTP/1.1 999 Odd\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "length with coding": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "doubled length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "odd length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "coding in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "too large": b"HTTP/1.1 200 OK\r\nX: " + b"a" * limits.HEAD_BYTES_MAX + b"\r\n\r\n",
    "too many interims": b"HTTP/1.1 103 Early Hints\r\n\r\n" * (limits.INTERIM_RESPONSES_MAX + 1) + OK,
    "bad chunk at once": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED_RESPONSES.values(), ids=MALFORMED_RESPONSES)
async def test_a_malformed_response_is_a_502(rig: Rig, raw: bytes) -> None:
    """RFC 9112 sections 2.2, 5, 6 and RFC 9110 section 15.6.3: an invalid response from an inbound server."""
    rig.alice.script = answering(rig.alice, raw)
    client = await rig.client()
    response = await client.ask(request(b"POST /camp/intro/x", b"Content-Length: 0"))
    while response.status < 200:
        response = await client.response()
    assert (response.status, response.code) == (502, "workspace_malformed")
    assert await client.closed() == b""
    await rig.alice.all_closed()


async def test_a_response_that_breaks_off_breaks_off_for_the_client_too(rig: Rig) -> None:
    """RFC 9112 section 8: an incomplete response must not look complete."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", close=True)
    client = await rig.client()
    await client.send(request())
    assert (await client.closed()).partition(b"\r\n\r\n")[2] in (b"half", b"")
    assert rig.plane.counters().values['mux_proxy_upstream_failures_total{kind="reset"}'] == 1


async def test_a_response_without_length_that_is_reset_is_reset_for_the_client(rig: Rig) -> None:
    """RFC 9112 section 8: only an orderly end completes it."""
    begun = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await begun.wait()
        sock = wire.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.writer.transport.abort()

    rig.alice.script = script
    client = await rig.client()
    await client.send(request())
    await client.until(b"half")
    begun.set()
    with pytest.raises(ConnectionResetError):
        await client.rest()


async def test_a_chunked_response_that_turns_malformed_is_never_ended_in_order(rig: Rig) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    rig.alice.script = answering(rig.alice, head + b"2\r\nok\r\n", b"zz\r\n0\r\n\r\n")
    client = await rig.client()
    await client.send(request())
    assert b"0\r\n\r\n" not in await client.closed()


async def test_bytes_after_a_response_reach_nobody(rig: Rig) -> None:
    """A workspace cannot answer a request that was not sent yet (response splitting)."""
    rig.alice.script = answering(rig.alice, OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    client = await rig.client()
    for _ in range(3):
        assert (await client.ask(request())).body == b"ok"
    assert rig.alice.connections == 3


async def test_bytes_on_an_idle_upstream_connection_end_it(rig: Rig) -> None:
    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(OK)
        await asked.wait()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await wire.rest()

    asked = asyncio.Event()
    rig.alice.script = script
    client = await rig.client()
    assert (await client.ask(request())).body == b"ok"
    asked.set()
    await rig.alice.all_closed()
    assert (await client.ask(request())).body == b"ok"


@pytest.mark.parametrize("head_only", [False, True])
async def test_an_undated_response_gets_the_date_at_which_it_came(rig: Rig, head_only: bool) -> None:
    """RFC 9110 section 6.6.1; also one that is remembered."""
    rig.alice.script = answering(rig.alice, OK[: -2 if head_only else None])
    client = await rig.client()
    rig.plane.wall = lambda: NOW + second
    for second in (0, 0, 0, 1, 1, 0):
        await client.send(request(b"HEAD /camp/intro/x" if head_only else b"GET /camp/intro/x"))
        response = await client.response(head_only=head_only)
        assert response.head == OK[:-4] + b"Date: Sun, 06 Nov 1994 08:49:%d GMT\r\n\r\n" % (37 + second)
        assert response.body == (b"" if head_only else b"ok")


async def test_an_undated_chunked_response_gets_a_date(rig: Rig) -> None:
    rig.plane.wall = lambda: NOW
    head, body = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n", b"2\r\nok\r\n0\r\n\r\n"
    rig.alice.script = answering(rig.alice, head + b"\r\n" + body)
    client = await rig.client()
    for _ in range(4):
        response = await client.ask(request())
        assert (response.head, response.body) == (head + DATE + b"\r\n", body)


@pytest.mark.parametrize("line", [b"Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n", b"date: soon\r\n"])
async def test_a_dated_response_keeps_its_date(rig: Rig, line: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + line + b"Content-Length: 2\r\n\r\n"
    rig.alice.script = answering(rig.alice, head + b"ok")
    client = await rig.client()
    for _ in range(4):
        assert (await client.ask(request())).head == head


async def test_a_date_for_one_hop_is_no_date(rig: Rig) -> None:
    """RFC 9110 section 7.6.1."""
    rig.plane.wall = lambda: NOW
    named = b"HTTP/1.1 200 OK\r\nConnection: Date\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"
    rig.alice.script = answering(rig.alice, named)
    assert (await rig.ask(request())).head == OK[:-4] + DATE + b"\r\n"


async def test_interim_responses_are_not_dated(rig: Rig) -> None:
    rig.plane.wall = lambda: NOW
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    rig.alice.script = answering(rig.alice, hints + OK)
    client = await rig.client()
    await client.send(request())
    assert [await client.head(), await client.head()] == [hints, OK[:-4] + DATE + b"\r\n"]


# -- requests ---------------------------------------------------------------------------------------------------------


async def test_a_chunked_request_passes_byte_for_byte(rig: Rig) -> None:
    body = b"5;ext=1\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 15\r\n\r\n"

    async def script(wire: Wire) -> None:
        heads.append(await wire.head())
        heads.append(await wire.exactly(len(body)))
        await wire.send(OK)

    heads: list[bytes] = []
    rig.alice.script = script
    assert (await rig.ask(request(b"PUT /camp/intro/x", CHUNKED, ORIGIN_LINE, body=body))).body == b"ok"
    assert b"\r\nTransfer-Encoding: chunked\r\n" in heads[0]
    assert heads[1] == body


async def test_an_empty_line_before_a_request_is_skipped(rig: Rig) -> None:
    """RFC 9112 section 2.2: at least one empty line."""
    client = await rig.client()
    assert (await client.ask(b"\r\n" + request())).body == b"alice"
    assert (await client.ask(b"\r\n" + request())).body == b"alice"


async def test_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    """RFC 9112 section 9.3.2; also across a body, and across workspaces and pages."""
    client = await rig.client()
    put = request(b"PUT /camp/intro/x", b"Content-Length: 5", ORIGIN_LINE, body=b"hello")
    await client.send(request() + put + request(user=None) + request(b"GET /camp/intro/last"))
    assert [(await client.response()).body for _ in range(4)] == [b"alice", b"alice", b"web", b"alice"]
    assert rig.alice.bodies == [b"", b"hello", b""]


async def test_pipelined_requests_before_the_end_of_the_stream_are_answered(rig: Rig) -> None:
    client = await rig.client()
    await client.send(request() + request() + request(b"GET /camp/intro/last"))
    client.writer.write_eof()
    assert [(await client.response()).body for _ in range(3)] == [b"alice"] * 3
    assert await client.rest() == b""


async def test_pipelining_is_bounded(rig: Rig) -> None:
    """While a request is under way, what follows it is not read without end."""
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await rig.alice.request(wire)
            await release.wait()
            await wire.send(OK)

    rig.alice.script = script
    sock = socket.create_connection(("127.0.0.1", rig.port))
    sock.setblocking(False)
    one = request(b"GET /camp/intro/lab", b"X: " + b"x" * 16_000)
    await asyncio.get_running_loop().sock_sendall(sock, one)
    await eventually(lambda: len(rig.alice.requests) == 1)
    sent = await push_until_stuck(sock, one * 20)
    client = next(iter(rig.plane._clients))
    assert client._reader.buffered < limits.PIPELINE_BYTES_MAX + 300_000  # and one read of the loop
    assert len(rig.alice.requests) == 1
    release.set()
    wire = Wire(*await asyncio.open_connection(sock=sock))
    for _ in range(1 + sent // len(one)):
        assert (await wire.response()).body == b"ok"


async def push_until_stuck(sock: socket.socket, data: bytes) -> int:
    """Write whole multiples of ``data``'s start until the other side reads no more; bytes written."""
    loop = asyncio.get_running_loop()
    sent = 0
    while True:
        try:
            sent += sock.send(data[sent % len(data) :])
        except BlockingIOError:
            writable = asyncio.Event()
            loop.add_writer(sock, writable.set)
            try:
                await asyncio.wait_for(writable.wait(), 0.5)
            except TimeoutError:
                return sent
            finally:
                loop.remove_writer(sock)


async def test_expect_100_continue_passes_both_ways(rig: Rig) -> None:
    """RFC 9110 section 10.1.1."""

    async def script(wire: Wire) -> None:
        head = Response(await wire.head())
        assert head.values("expect") == ["100-continue"]
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        rig.alice.bodies.append(await wire.exactly(5))
        await wire.send(OK)

    rig.alice.script = script
    client = await rig.client()
    await client.send(request(b"PUT /camp/intro/x", b"Content-Length: 5", b"Expect: 100-continue", ORIGIN_LINE))
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.ask(b"hello")).body == b"ok"
    assert rig.alice.bodies == [b"hello"]


async def test_a_final_answer_to_expect_ends_the_connection(rig: Rig) -> None:
    """The client may or may not send the body now, so the next request's place is in doubt."""
    rig.alice.script = reject
    client = await rig.client()
    await client.send(request(b"PUT /camp/intro/x", b"Content-Length: 5", b"Expect: 100-continue", ORIGIN_LINE))
    response = await client.response()
    assert (response.status, response.values("connection")) == (417, ["close"])
    assert await client.closed() == b""


async def reject(wire: Wire) -> None:
    await wire.head()
    await wire.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
    await wire.rest()


async def test_an_early_answer_reaches_a_client_that_is_still_sending(rig: Rig) -> None:
    """RFC 9112 section 9.6: the client's unread bytes must not destroy the answer by a reset."""
    rig.alice.script = reject
    client = await rig.client()
    await client.send(request(b"PUT /camp/intro/x", b"Content-Length: 1000000", ORIGIN_LINE, body=b"x" * 300_000))
    assert (await client.response()).status == 417


async def answered_and_reset(rig: Rig, answer: bytes) -> Wire:
    """A client in the middle of an upload, whose workspace has answered and reset; the plane notices when it writes."""
    come, said = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        come.set()
        await said.wait()
        await wire.send(answer)
        sock = wire.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    rig.alice.script = script
    client = await rig.client()
    await client.send(request(b"PUT /camp/intro/x", CHUNKED, ORIGIN_LINE, body=b"3\r\nabc\r\n"))
    await come.wait()
    exchange = next(iter(rig.plane._clients)).exchange
    assert isinstance(exchange, Exchange)
    assert exchange.upstream is not None
    exchange.upstream.transport.pause_reading()  # so that the reset is noticed by writing, as on a busy machine
    said.set()
    await rig.alice.all_closed()
    await client.send(b"3\r\nabc\r\n")
    return client


@pytest.mark.parametrize("answer_bytes", [2, 20_000])
async def test_an_answer_before_a_reset_reaches_a_client_that_is_still_sending(rig: Rig, answer_bytes: int) -> None:
    """A workspace that takes no more of a body says why, and resets."""
    body = b"x" * answer_bytes
    answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    client = await answered_and_reset(rig, answer)
    response = await client.response()
    assert (response.status, len(response.body)) == (413, answer_bytes)
    assert response.values("connection") == ["close"]


async def test_half_an_answer_before_a_reset_breaks_off(rig: Rig) -> None:
    """What came is passed on, and never ended in order."""
    client = await answered_and_reset(rig, b"HTTP/1.1 413 Content Too Large\r\n\r\nhalf")
    with pytest.raises(ConnectionResetError):
        await client.rest()


async def test_426_names_the_protocol(rig: Rig) -> None:
    """RFC 9110 sections 7.8 and 15.5.22: a 426 has Upgrade, and Connection names it."""
    rig.alice.script = answering(
        rig.alice,
        b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    )
    client = await rig.client()
    for _ in range(2):
        response = await client.ask(request(b"GET /camp/intro/socket"))
        assert (response.status, response.values("upgrade")) == (426, ["websocket"])
        assert response.values("connection") == ["Upgrade"]
    response = await client.ask(request(b"GET /camp/intro/socket", b"Connection: close"))
    assert (response.values("upgrade"), response.values("connection")) == (["websocket"], ["Upgrade, close"])


async def test_max_forwards_is_counted_down(rig: Rig) -> None:
    """RFC 9110 section 7.6.2: each hop takes one from it, and whoever finds none left answers."""
    client = await rig.client()
    await client.ask(request(b"OPTIONS /camp/intro/", b"max-forwards: 007"))
    await client.ask(request(b"OPTIONS /camp/intro/", b"Max-Forwards: some"))
    await client.ask(request(b"GET /camp/intro/", b"Max-Forwards: 3"))
    found = [Response(head).values("max-forwards") for head in rig.alice.requests]
    assert found == [["6"], ["some"], ["3"]]
    response = await client.ask(request(b"OPTIONS /camp/intro/", b"Max-Forwards: 0"))
    assert (response.status, response.values("allow")) == (200, ["GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"])
    assert len(rig.alice.requests) == 3


async def test_http_1_0_is_answered_and_closed(rig: Rig) -> None:
    """RFC 9112 section 9.3: no persistence unless asked for; RFC 9110 section 15.2: no interim responses."""
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    rig.alice.script = answering(rig.alice, hints + OK)
    rig.plane.wall = lambda: NOW
    client = await rig.client()
    await client.send(b"GET /camp/intro/ HTTP/1.0\r\n" + HOST + cookie() + b"\r\n")
    assert await client.rest() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n" + DATE + b"\r\nok"
    assert rig.alice.requests[0].startswith(b"GET /camp/intro/ HTTP/1.0\r\n")
    assert b"\r\nConnection: close\r\n" in rig.alice.requests[0]


async def test_http_1_0_is_kept_for_whoever_asks_for_it(rig: Rig) -> None:
    """RFC 9112 section 9.3 and appendix C.2.2: as an origin server does it, and on both connections."""
    kept = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"
    rig.alice.script = answering(rig.alice, kept)
    rig.plane.wall = lambda: NOW
    client = await rig.client()
    asked = b"GET /camp/intro/ HTTP/1.0\r\n" + HOST + cookie() + b"Connection: Keep-Alive\r\n\r\n"
    for _ in range(2):
        await client.send(asked)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n" + DATE + b"\r\nok"
        assert await client.exactly(len(head)) == head
    assert rig.alice.connections == 1
    assert rig.alice.requests[0].count(b"Connection: keep-alive\r\n") == 1
    await client.send(request(b"GET /camp/intro/x", b"Connection: close"))
    assert (await client.response()).body == b"ok"


async def test_http_1_0_ends_with_an_answer_that_has_no_length(rig: Rig) -> None:
    """RFC 9112 section 6.3, rule 8."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nto the end", close=True)
    client = await rig.client()
    await client.send(b"GET /camp/intro/ HTTP/1.0\r\n" + HOST + cookie() + b"Connection: keep-alive\r\n\r\n")
    answer = await client.rest()
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nto the end")


async def test_a_connection_that_was_asked_in_http_1_0_is_used_again_only_if_the_workspace_says_so(rig: Rig) -> None:
    """RFC 9112 section 9.3: servers answer HTTP/1.0 as HTTP/1.1, and close."""
    rig.chill()
    rig.alice.script = answering(rig.alice, OK)
    client = await rig.client()
    for _ in range(2):
        await client.send(b"GET /camp/intro/ HTTP/1.0\r\n" + HOST + cookie() + b"Connection: keep-alive\r\n\r\n")
        assert (await client.response()).body == b"ok"
    assert rig.alice.connections == 2


async def test_chunked_to_http_1_0_is_a_502(rig: Rig) -> None:
    """RFC 9112 section 6.1: chunked must not be sent to a client that did not speak HTTP/1.1."""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    response = await rig.ask(b"GET /camp/intro/ HTTP/1.0\r\n" + HOST + cookie() + b"\r\n")
    assert (response.status, response.code) == (502, "workspace_malformed")


async def test_connection_close_is_honoured(rig: Rig) -> None:
    """RFC 9112 section 9.6."""
    client = await rig.client()
    response = await client.ask(request(b"GET /camp/intro/", b"Connection: close"))
    assert response.values("connection") == ["close"]
    assert await client.rest() == b""


async def test_a_half_closed_client_gets_its_answer(rig: Rig) -> None:
    """RFC 9112 section 9.6: the end of what it sends is not the end of what it reads."""
    asked, release = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        asked.set()
        await release.wait()
        await wire.send(OK)

    rig.alice.script = script
    client = await rig.client()
    await client.send(request())
    client.writer.write_eof()
    await asked.wait()
    release.set()
    assert (await client.rest()).endswith(b"ok")


async def start_a_stream(rig: Rig) -> Wire:
    """A client with a response that has begun and does not move."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await wire.rest()

    rig.alice.script = script
    client = await rig.client()
    await client.send(request())
    await client.head()
    return client


async def test_a_client_that_resets_ends_its_upstream_connection(rig: Rig) -> None:
    client = await start_a_stream(rig)
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()
    await rig.alice.all_closed()


async def test_a_client_that_leaves_in_order_ends_its_upstream_connection_in_time(rig: Rig) -> None:
    """Its FIN is also a half-close, so it is given HALF_CLOSED_STALL_S."""
    client = await start_a_stream(rig)
    client.close()
    connection = next(iter(rig.plane._clients))
    await eventually(lambda: connection.ended)
    rig.plane.sweep(rig.plane.now() + limits.HALF_CLOSED_STALL_S - 1)
    assert connection.exchange is not None
    rig.plane.sweep(rig.plane.now() + limits.HALF_CLOSED_STALL_S + 1)
    await rig.alice.all_closed()


# -- streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_passes_as_it_comes(rig: Rig) -> None:
    """An event stream is not collected: each event arrives before the next is sent."""
    more = asyncio.Queue[bytes]()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while event := await more.get():
            await wire.send(event)

    rig.alice.script = script
    client = await rig.client()
    await client.send(request())
    await client.head()
    for _ in range(3):
        more.put_nowait(b"9\r\ndata: x\n\n\r\n")
        assert await client.exactly(14) == b"9\r\ndata: x\n\n\r\n"
    more.put_nowait(b"0\r\n\r\n")
    more.put_nowait(b"")
    assert await client.exactly(5) == b"0\r\n\r\n"


async def test_a_large_download_waits_for_a_slow_reader(rig: Rig) -> None:
    """Backpressure from the client to the workspace: the plane holds a bounded part of an endless response."""
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await wire.send(b"x" * 65536)
            sent += 65536

    rig.alice.script = script
    sock = socket.create_connection(("127.0.0.1", rig.port))
    sock.sendall(request())
    await stands_still(lambda: sent)
    assert sent < 30_000_000  # kernel buffers of two connections, and ours
    held = next(iter(rig.plane._clients)).transport.get_write_buffer_size()
    assert held < limits.WRITE_BUFFER_BYTES_HIGH + 300_000
    before = sent
    wire = Wire(*await asyncio.open_connection(sock=sock))
    await wire.head()
    await wire.exactly(20_000_000)
    await eventually(lambda: sent > before)
    wire.writer.transport.abort()


async def test_a_large_upload_waits_for_a_slow_workspace(rig: Rig) -> None:
    """Backpressure from the workspace to the client."""
    release = asyncio.Event()
    size = 60_000_000

    async def script(wire: Wire) -> None:
        await wire.head()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await release.wait()
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        left = size
        while left:
            left -= len(await wire.reader.read(1 << 20))
        await wire.send(OK)

    rig.alice.script = script
    client = await rig.client()
    written = 0

    async def upload() -> None:
        nonlocal written
        await client.send(request(b"PUT /camp/intro/x", b"Content-Length: %d" % size, ORIGIN_LINE))
        while written < size:
            await client.send(b"x" * 100_000)
            written += 100_000

    uploading = asyncio.ensure_future(upload())
    await stands_still(lambda: written)
    assert written < 30_000_000
    connection = next(iter(rig.plane._clients)).exchange.upstream  # type: ignore[union-attr]
    assert connection is not None
    assert connection.transport.get_write_buffer_size() < limits.WRITE_BUFFER_BYTES_HIGH + 300_000
    release.set()
    await uploading
    assert (await client.response()).body == b"ok"


async def stands_still(value: Callable[[], int]) -> None:
    """Until a number has risen and then no longer does."""
    await eventually(lambda: value() > 0)
    last, since = value(), time.monotonic()
    while time.monotonic() - since < 0.4:
        await asyncio.sleep(0.02)
        if value() != last:
            last, since = value(), time.monotonic()


async def test_download_and_upload_at_once(rig: Rig) -> None:
    """An upstream that answers while it reads: both directions flow, neither waits for the other's end."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        for _ in range(3):
            await wire.send(await wire.exactly(10))

    rig.alice.script = script
    client = await rig.client()
    await client.send(request(b"POST /camp/intro/x", b"Content-Length: 30", ORIGIN_LINE))
    await client.head()
    for part in (b"a" * 10, b"b" * 10, b"c" * 10):
        await client.send(part)
        assert await client.exactly(10) == part
