"""Whatever way bytes are split, the outcome is the same: properties of the readers, and the same on the wire."""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.proxy.body import CHUNKED, ChunkedBody
from mux.proxy.inbound import RequestReader
from mux.proxy.refusal import Malformed
from mux.proxy.response import Mark, ResponseHead, ResponseReader
from tests.proxy.rig import HOST, Rig, Wire, request
from tests.proxy.test_messages import ORIGIN_LINE

REQUESTS = [
    request(),
    request(b"HEAD /camp/intro/x?y", b"Accept: text/html"),
    request(b"PUT /camp/intro/x", b"Content-Length: 11", ORIGIN_LINE, body=b"hello\r\n\r\nGE"),
    request(
        b"POST /camp/intro/x",
        b"Transfer-Encoding: chunked",
        body=b"3;a=b\r\na\r\n\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    ),
    b"\r\n" + request(b"GET http://camp.test:8000/"),
    b"GET / HTTP/1.0\r\n" + HOST + b"\r\n",
    b"\x16\x03\x01",
    b"GET / HTTP/1.1\nHost: x\n\n",
    request(b"GET /", b"X: a\rb"),
    request(b"GET /", b" folded"),
    request(b"POST /x", b"Transfer-Encoding: chunked", body=b"3\r\nabcd\r\n0\r\n\r\n"),
    request(b"POST /x", b"Transfer-Encoding: chunked", body=b"0\r\nCookie: y\r\n\r\n"),
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello\r\n\r\nHT",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\na\r\n\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nto the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
]


@st.composite
def streams(draw: st.DrawFn, messages: list[bytes], most: int) -> tuple[bytes, list[bytes]]:
    """Bytes of some messages, perhaps with one octet spoilt; whole, and in pieces."""
    whole = b"".join(draw(st.lists(st.sampled_from(messages), min_size=1, max_size=most)))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(whole) - 1))
        whole = whole[:at] + draw(st.sampled_from([b"", b"\r", b"\n", b"\0", b" ", b":", b"0", b"x"])) + whole[at + 1 :]
    return whole, pieces_of(whole, draw(st.lists(st.integers(1, max(1, len(whole) - 1)), max_size=12)))


def read_requests(pieces: list[bytes]) -> list[object]:
    """What a client connection would see, with bodies joined."""
    reader, body = RequestReader(), b""
    seen: list[object] = []
    try:
        for piece in pieces:
            if reader.body_done:
                reader.receive(piece)
            else:
                body += reader.body(piece)
            while reader.body_done:
                if body:
                    seen.append(body)
                    body = b""
                head = reader.next_head()
                if head is None:
                    break
                seen.append((head.method, head.target, head.minor, tuple(head.fields), head.body, head.keep_alive))
                if not reader.body_done:
                    body += reader.body(reader.take())
    except Malformed as fault:
        seen.append(fault.code)
        return seen
    if reader.body_done:
        seen.append(reader.take())
    return seen


def read_response(pieces: list[bytes], method: bytes) -> list[object]:
    """What an exchange would see, with bodies joined."""
    reader, body = ResponseReader(method, None), b""
    seen: list[object] = []
    try:
        for piece in pieces:
            for event in reader.receive(piece):
                if isinstance(event, bytes):
                    body += event
                elif isinstance(event, ResponseHead):
                    seen.append((event.status, event.reason, tuple(event.fields), event.body))
                elif event is Mark.END:
                    seen.append(body)
    except Malformed as fault:
        return [fault.code]  # what was passed on before it depends on the split: with one piece it is nothing
    if not reader.done:
        chunked = reader.head is not None and reader.head.body == CHUNKED
        return [*seen, reader.started, reader.eof(), b"" if chunked else body]
    return [*seen, reader.reusable, reader.leftover]


@settings(max_examples=300, deadline=None)
@given(streams(REQUESTS, 4))
def test_requests_are_read_the_same_whatever_way_they_are_split(stream: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = stream
    expected = read_requests([whole])
    assert read_requests(pieces) == expected
    assert read_requests([whole[i : i + 1] for i in range(len(whole))]) == expected


@settings(max_examples=300, deadline=None)
@given(streams(RESPONSES, 2), st.sampled_from([b"GET", b"HEAD"]))
def test_responses_are_read_the_same_whatever_way_they_are_split(
    stream: tuple[bytes, list[bytes]], method: bytes
) -> None:
    whole, pieces = stream
    expected = read_response([whole], method)
    assert read_response(pieces, method) == expected
    assert read_response([whole[i : i + 1] for i in range(len(whole))], method) == expected


def test_what_passes_is_the_same_whatever_way_it_is_split() -> None:
    """On the wire: a body's bytes are the body's bytes, in both directions."""
    ask, answer = REQUESTS[3], RESPONSES[1]
    sent = ask.partition(b"\r\n\r\n")[2]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, tempfile.TemporaryDirectory() as directory:
        rig = Rig(Path(directory))
        runner.run(rig.__aenter__())

        async def pass_on(cuts_in: list[int], cuts_out: list[int]) -> tuple[bytes, bytes]:
            """What the workspace got of the body, and what the client got."""

            async def script(wire: Wire) -> None:
                await wire.head()
                rig.alice.bodies.append(await wire.exactly(len(sent)))
                for piece in pieces_of(answer, cuts_out):
                    await wire.send(piece)
                    await asyncio.sleep(0)

            rig.alice.script = script
            client = await rig.client()
            for piece in pieces_of(ask, cuts_in):
                await client.send(piece)
                await asyncio.sleep(0)
            seen = await client.exactly(len(answer))
            client.close()
            return rig.alice.bodies[-1], seen

        @settings(max_examples=40, deadline=None)
        @given(cuts(ask), cuts(answer))
        def check(cuts_in: list[int], cuts_out: list[int]) -> None:
            assert runner.run(pass_on(cuts_in, cuts_out)) == (sent, answer)

        try:
            check()
        finally:
            runner.run(rig.__aexit__(None, None, None))


def cuts(data: bytes) -> st.SearchStrategy[list[int]]:
    """Some places inside ``data``."""
    return st.lists(st.integers(1, len(data) - 1), max_size=6)


def pieces_of(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` cut at these places."""
    return [data[a:b] for a, b in itertools.pairwise(sorted({0, *places, len(data)}))]


SMALL = [
    b"1\r\nx\r\n",
    b"a\r\n\r\n01234567\r\n",
    b"A\r\n0123456789\r\n",
    b"3f\r\n" + b"y" * 63 + b"\r\n",
    b"40\r\n" + b"z" * 64 + b"\r\n",
]
ODD = [
    b"1;a=b\r\nx\r\n",
    b"01\r\nx\r\n",
    b"2\r\nx\r\n",
    b"1\r\nxy\r\n",
    b"1\nx\r\n",
    b"1\r\nx\n",
    b"0\r\n",
    b"0\r\n\r\n",
    b"\r\n",
    b"g\r\n",
]


def walk(pieces: list[bytes]) -> tuple[bytes, bytes, bool | str]:
    """What passes, what is left, and how it ended; only the last if it is malformed."""
    body, passed, left = ChunkedBody(), b"", b""
    try:
        for piece in pieces:
            if body.done:
                left += piece
                continue
            forward, rest = body.feed(piece)
            passed, left = passed + forward, left + rest
    except Malformed as fault:
        return b"", b"", fault.code
    return passed, left, body.done


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(SMALL * 4 + ODD), max_size=30), st.lists(st.integers(0, 600), max_size=4))
def test_small_chunks_are_read_the_same_whatever_way_they_are_split(chunks: list[bytes], at: list[int]) -> None:
    """Runs of them are taken at once."""
    whole = b"".join(chunks)
    octets = [whole[i : i + 1] for i in range(len(whole))]
    assert walk(pieces_of(whole, at)) == walk(octets) == walk([whole])


@pytest.mark.parametrize("chunk", SMALL[:4])
def test_ten_thousand_small_chunks_cost_little(chunk: bytes) -> None:
    """One client that sends a chunk for each octet must not hold up the others: counted are calls, not time."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    body, data = ChunkedBody(), chunk * 10_000
    sys.setprofile(count)
    try:
        forward, rest = body.feed(data)
    finally:
        sys.setprofile(None)
    assert (forward, rest) == (data, b"")
    assert calls < 100
