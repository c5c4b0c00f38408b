"""Whatever way bytes are split, the outcome is the same: properties of the readers, and the same on the wire."""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mux.proxy.body import CHUNKED, ChunkedBody
from mux.proxy.inbound import RequestReader
from mux.proxy.refusal import Malformed
from mux.proxy.response import Mark, ResponseHead, ResponseReader
from tests.proxy.conftest import STRICT
from tests.proxy.rig import HOST, Rig, Wire, request
from tests.proxy.test_messages import ORIGIN_LINE, eventually
from tests.proxy.test_tunnels import HANDSHAKE, SWITCH

BOTH_WAYS = True
NOW = 784111777.9
"""Undated answers get a date: the same, however long it takes."""
END = b"\r\n\r\n"
Outcome = tuple[list[bytes], bytes]
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
TWO_FAULTS = request(b"GET/", b"X: a\rb")
"""It depended on the split which one was seen first."""
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


def pieces_of(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` cut at these places."""
    return [data[a:b] for a, b in itertools.pairwise(sorted({0, *places, len(data)}))]


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
@example((TWO_FAULTS, pieces_of(TWO_FAULTS, [len(TWO_FAULTS) - 4])))
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


@dataclass(frozen=True)
class Talk:
    """What is said on one connection of a client.

    Args:
        asks: requests, each whole; behind a handshake, what the client sends without waiting for the answer.
        answers: one for each, head and body.
        pipelined: whether all requests are sent before the first answer has come.
    """

    asks: tuple[bytes, ...]
    answers: tuple[bytes, ...]
    pipelined: bool = False

    @property
    def writes(self) -> tuple[bytes, ...]:
        """What the client sends without waiting for answers."""
        return (b"".join(self.asks),) if self.pipelined else self.asks


PLAIN = [request(), *(request(b"GET /camp/intro/%d" % number) for number in range(4))]
"""May be remembered."""
TALKS = {
    "chunked": Talk((REQUESTS[3],), (RESPONSES[1],)),
    "with a length": Talk((REQUESTS[2],) * 2, (RESPONSES[0],) * 2),
    "reads and writes": Talk((request(), REQUESTS[2], REQUESTS[3], request()), (RESPONSES[0], RESPONSES[1]) * 2),
    "the same again": Talk((request(),) * 4, (RESPONSES[0],) * 4),
    "answers differ": Talk((request(),) * 4, (RESPONSES[0], RESPONSES[1]) * 2),
    "pipelined": Talk(tuple(PLAIN[1:]), (RESPONSES[1], RESPONSES[0]) * 2, pipelined=True),
    "WebSocket": Talk((HANDSHAKE + b"from the page \r\n\r\n",), (SWITCH + b"from the workspace \r\n\r\n",)),
}


class Workspace:
    """Takes and answers what a talk has, in pieces."""

    def __init__(self, rig: Rig) -> None:
        rig.alice.script = self._script

    def begin(self, talk: Talk, places: list[int]) -> None:
        """The next talk, and where its answers are cut."""
        self._talk, self._places = talk, places
        self.got: list[bytes] = []

    async def _script(self, wire: Wire) -> None:
        while True:
            head = await wire.reader.readuntil(END)
            number = len(self.got) // 2
            ask, answer = self._talk.asks[number], self._talk.answers[number]
            if ask.startswith(HANDSHAKE):  # what is behind it passes once it is answered
                await send(wire, answer, self._places)
            self.got += [head, await wire.exactly(len(ask.partition(END)[2]))]
            if not ask.startswith(HANDSHAKE):
                await send(wire, answer, self._places)


async def converse(rig: Rig, workspace: Workspace, talk: Talk, ins: list[int], outs: list[int]) -> Outcome:
    """What the workspace got, and what the client got, of a talk that is cut at these places."""
    workspace.begin(talk, outs)
    client = await rig.client()
    seen, answers = b"", iter(talk.answers)
    for data in talk.writes:
        await send(client, data, ins)
        for answer in answers if talk.pipelined else itertools.islice(answers, 1):
            seen += await client.head() + await client.exactly(len(answer.partition(END)[2]))
    await eventually(lambda: len(workspace.got) == 2 * len(talk.asks))
    client.close()
    return workspace.got, seen


async def send(wire: Wire, data: bytes, places: list[int]) -> None:
    """Send ``data`` in pieces, each in a turn of its own."""
    for piece in pieces_of(data, places):
        await wire.send(piece)
        await asyncio.sleep(0)


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
def test_what_passes_is_the_same_whatever_way_it_is_split(talk: Talk, way: dict[str, Any]) -> None:
    """On the wire, in both directions, and as the strict way passes it in one piece."""

    async def whole(directory: Path) -> Outcome:
        async with Rig(directory, **STRICT) as rig:
            rig.plane.wall = lambda: NOW
            return await converse(rig, Workspace(rig), talk, [], [])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, tempfile.TemporaryDirectory() as directory:
        expected = runner.run(whole(Path(directory)))
        rig = Rig(Path(directory), **way)
        runner.run(rig.__aenter__())
        rig.plane.wall = lambda: NOW
        workspace = Workspace(rig)

        @settings(max_examples=30, deadline=None)
        @given(cuts(max(talk.writes, key=len)), cuts(max(talk.answers, key=len)))
        def check(ins: list[int], outs: list[int]) -> None:
            assert runner.run(converse(rig, workspace, talk, ins, outs)) == expected

        try:
            for _ in range(2):  # what comes once is not remembered
                assert runner.run(converse(rig, workspace, talk, [], [])) == expected
            memo = rig.plane.memo
            if memo is not None and not talk.pipelined:
                assert (len(memo.heads) > 0) == any(ask in PLAIN for ask in talk.asks)
                assert (len(memo.writes) > 0) == any(ask in REQUESTS[2:4] for ask in talk.asks)
            check()
        finally:
            runner.run(rig.__aexit__(None, None, None))
    assert expected[0][1::2] == [ask.partition(END)[2] for ask in talk.asks]
    assert expected[1].endswith(talk.answers[-1].partition(END)[2])


def cuts(data: bytes) -> st.SearchStrategy[list[int]]:
    """Some places inside ``data``, wherever, or behind an empty line."""
    ends = [found.end() for found in re.finditer(END, data[:-1])]
    return st.lists(st.integers(1, len(data) - 1) | st.sampled_from(ends or [1]), max_size=6)


SMALL = [
    b"1\r\nx\r\n",
    b"a\r\n\r\n01234567\r\n",
    b"A\r\n0123456789\r\n",
    b"3f\r\n" + b"y" * 63 + b"\r\n",
    b"01\r\nx\r\n",
    b"00000000003F\r\n" + b"y" * 63 + b"\r\n",
    b"40\r\n" + b"z" * 64 + b"\r\n",
    b"0fF\r\n" + b"y" * 255 + b"\r\n",
    b"100\r\n" + b"z" * 256 + b"\r\n",
    b"000000000101\r\n" + b"z" * 257 + b"\r\n",
]
ODD = [
    b"1;a=b\r\nx\r\n",
    b"0000000000001\r\nx\r\n",
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


@pytest.mark.parametrize("chunk", SMALL[:8])
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
