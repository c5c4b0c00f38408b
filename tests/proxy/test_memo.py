"""Remembered heads: what passes is what the strict way would pass, and nothing outlives what it came with."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.core.routes import Delta, SessionEntry
from mux.proxy import limits
from mux.proxy.body import CHUNKED
from mux.proxy.bounded import Bounded
from mux.proxy.dates import Dates
from mux.proxy.like import LikeHead
from mux.proxy.lines import RequestLines
from mux.proxy.memo import Memo
from mux.proxy.refusal import Malformed, Refusal
from mux.proxy.request import PLAIN_LINE, WRITE_LINE, RequestHead, parse_request
from mux.proxy.response import parse_response
from mux.proxy.rewrite import Peer, client_head, upstream_head
from mux.proxy.routing import FeedRouter
from mux.proxy.upstream import Pools
from tests.proxy.rig import ALICE, BOB, HOST, INTRO, SETTINGS, Rig, Wire, answering, cookie, request, session_of
from tests.proxy.test_parsers_agree import LINES

PEER = Peer.of("127.0.0.1")
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def spawn(work: Coroutine[Any, Any, None], name: str) -> None:
    """Nothing is dialled here."""
    work.close()
    raise AssertionError(name)


FIELDS = st.one_of(
    LINES,
    st.sampled_from(
        [
            HOST[:-2],
            b"host: CAMP.test:8000",
            cookie(ALICE)[:-2],
            cookie(BOB)[:-2],
            b"Cookie: a=b; mux_session=token-of-alice; mux_x=1",
            b"Cookie: a=b",
            b"Connection: keep-alive",
            b"Connection: Keep-Alive, X-Sum",
            b"Connection: Close",
            b"Keep-Alive: 5",
            b"Authorization: Basic YTpi",
            b"Accept: */*  ",
            b"Accept:",
            b"X-Forwarded-For: 1.2.3.4",
            b"X_Y: z",
            b"X-Sum: \xe4",
            b"TE: trailers",
            b"Proxy-Connection: keep-alive",
            b"Origin: http://camp.test:8000",
            b"Origin: http://evil.test",
            b"Sec-Fetch-Site: same-origin",
            b"sec-fetch-site: cross-site",
            b"Content-Length: 0",
            b"content-length:\t17 ",
            b"Transfer-Encoding: Chunked",
            b"Expect: 100-continue",
        ]
    ),
)
REQUEST_LINES = st.sampled_from(
    [
        b"GET /camp/intro/lab HTTP/1.1",
        b"HEAD /camp/intro/x?y=/../%2f HTTP/1.1",
        b"GET /camp/intro HTTP/1.1",
        b"GET /camp/other/ HTTP/1.1",
        b"GET / HTTP/1.1",
        b"GET /camp/intro/a\\b HTTP/1.1",
        b"GET /camp/intro/a?\\b#c HTTP/1.1",
        b"GET /camp/intro/ HTTP/1.0",
        b"POST /camp/intro/ HTTP/1.1",
        b"DELETE /camp/intro/x?y HTTP/1.1",
        b"PROPFIND /camp/intro/x HTTP/1.1",
        b"GET http://camp.test:8000/camp/intro/ HTTP/1.1",
    ]
)
HEADS = st.builds(
    lambda line, fields: b"\r\n".join([line, *fields, b"", b""]),
    REQUEST_LINES,
    st.lists(FIELDS, max_size=7).flatmap(lambda fields: st.permutations([*fields, HOST[:-2], cookie(ALICE)[:-2]])),
)


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> FeedRouter:
    """The rig's table, with nobody behind it."""
    with asyncio.Runner() as runner:
        rig = Rig(tmp_path_factory.mktemp("router"))
        runner.run(rig.__aenter__())
        runner.run(rig.__aexit__(None, None, None))
    return FeedRouter(SETTINGS, rig.table, "/web")


def strictly(head: bytes, router: FeedRouter) -> bytes | None:
    """What a workspace gets of a head, by the strict parser; None if it is refused, or goes elsewhere."""
    try:
        asked = parse_request(head)
        destination = router.route(asked, 0.0)
    except (Malformed, Refusal):
        return None
    return upstream_head(asked, destination, PEER) if destination.workspace else None


def remembered(head: bytes, router: FeedRouter, memo: Memo) -> tuple[bytes, RequestHead] | None:
    """The same by what is remembered, and the head as it would be handed over."""
    read = PLAIN_LINE.match(head)
    match = read or WRITE_LINE.match(head)
    place = router.place(match[3]) if match else None
    known = None
    if match and place is not None:
        known = memo.head(PEER, head, match.end()) if read else memo.write(PEER, head[match.end() :])
    if match is None or known is None:
        return None
    known.peer = PEER
    way = known.ways.get(place)
    if way is None or not way.door.open(router, 0.0):
        try:
            way = memo.way(known, place, router, method=match[1], target=match[2], now=0.0)
        except Refusal:
            return None
    return (match.group() + way.rest, known.request(match[1], match[2])) if way else None


@settings(max_examples=1500, deadline=None)
@given(st.lists(HEADS, min_size=1, max_size=3))
def test_a_remembered_request_head_is_passed_on_as_the_strict_way_would(router: FeedRouter, heads: list[bytes]) -> None:
    """Once, twice and three times, among others, so that heads, lines and doors are all of them new and known."""
    memo = Memo(router.session_cookie, Pools(8, spawn))
    for head in heads * 3:
        short = remembered(head, router, memo)
        if short is not None:
            assert short[0] == strictly(head, router)
            assert replace(short[1], options=frozenset()) == replace(parse_request(head), options=frozenset())
            assert short[1].options == parse_request(head).options


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """Heads on one connection, each with some lines of the first one exchanged, dropped or added."""
    first = draw(
        st.lists(FIELDS, max_size=6).flatmap(lambda some: st.permutations([*some, HOST[:-2], cookie(ALICE)[:-2]]))
    )
    heads, usual = [], draw(st.integers(0, len(first) - 1))
    for _ in range(5):
        fields = list(first)
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.sampled_from([usual, draw(st.integers(0, len(fields) - 1))]))
            name = fields[at].partition(b":")[0]
            value = draw(
                st.sampled_from(
                    [b" 1", b" a b\t\xe4", b" ", b"", b" x ", b" a\rb", b" a\nb: c", b"1", b" \x00", b" \x7f"]
                )
            )
            fields[at : at + draw(st.integers(0, 1))] = [draw(st.one_of(st.just(name + b":" + value), FIELDS))]
        heads.append(b"\r\n".join([draw(REQUEST_LINES), *fields, b"", b""]))
    return heads


@settings(max_examples=2500, deadline=None)
@given(alike())
def test_a_head_like_the_last_one_is_passed_on_as_the_strict_way_would(router: FeedRouter, heads: list[bytes]) -> None:
    memo = Memo(router.session_cookie, Pools(8, spawn))
    like = None
    for head in heads:
        match = PLAIN_LINE.match(head)
        place = router.place(match[3]) if match else None
        if match is None or place is None:
            continue
        if like is not None and like.place == place:
            short = like.rest_as_before(head, match.end())
            rest = like.rest(head, match.end())
            assert short in (None, rest)
            if rest is not None:
                assert match.group() + rest == strictly(head, router)
                continue
        if remembered(head, router, memo) is not None:
            known = memo.head(PEER, head, match.end())
            assert known is not None
            known.peer = PEER
            way = memo.way(known, place, router, method=match[1], target=match[2], now=0.0)
            assert way is not None
            like = LikeHead(head, match.end(), known, way, place)


def test_a_browsers_next_head_is_like_its_last(router: FeedRouter) -> None:
    memo = Memo(router.session_cookie, Pools(8, spawn))
    heads = [request(b"GET /camp/intro/lab", b"Connection: keep-alive", b"Accept: */*", b"X: %d" % n) for n in range(3)]
    match = PLAIN_LINE.match(heads[0])
    assert match is not None and remembered(heads[0], router, memo) is not None
    known = memo.head(PEER, heads[0], match.end())
    assert known is not None
    known.peer, place = PEER, router.place(match[3])
    way = memo.way(known, place, router, method=match[1], target=match[2], now=0.0)
    assert way is not None
    like = LikeHead(heads[0], match.end(), known, way, place)
    for head in (heads[1], heads[1], heads[2], heads[0]):
        rest = like.rest(head, match.end())
        assert rest is not None and match.group() + rest == strictly(head, router)
        assert like.rest_as_before(head, match.end()) == rest
    assert like.rest(heads[0].replace(b"token-of-alice", b"token-of-bobby"), match.end()) is None
    assert like.rest(heads[0].replace(b"camp.test", b"camp.best"), match.end()) is None


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"])
def test_a_browsers_write_is_remembered(router: FeedRouter, framing: bytes) -> None:
    """And not as a read: nothing that it was allowed."""
    memo = Memo(router.session_cookie, Pools(8, spawn))
    saved = request(b"PUT /camp/intro/x", framing, b"Origin: http://camp.test:8000", b"Sec-Fetch-Site: same-origin")
    first = remembered(saved, router, memo)
    assert first is not None and first[0] == strictly(saved, router)
    assert [remembered(saved, router, memo) for _ in range(2)] == [first, first]
    assert (len(memo.heads), len(memo.writes)) == (0, 1)
    assert remembered(saved.replace(b"camp.test:8000\r\nSec", b"evil.test\r\nSec"), router, memo) is None
    read = remembered(saved.replace(b"PUT", b"GET"), router, memo)
    assert (read is None) == (framing != b"X: y")


def test_a_browsers_head_is_remembered(router: FeedRouter) -> None:
    """The property above would hold for a memory that takes nothing."""
    memo = Memo(router.session_cookie, Pools(8, spawn))
    browsers = request(b"GET /camp/intro/lab", b"Connection: keep-alive", b"Accept: */*", b"X_Y: z")
    first = remembered(browsers, router, memo)
    assert first is not None and len(memo.heads) == 0, "what comes once is not worth its memory"
    assert [remembered(browsers, router, memo) for _ in range(2)] == [first, first]
    assert len(memo.heads) == 1


@pytest.mark.parametrize("octet", range(256))
def test_a_line_that_is_remembered_is_one_that_llhttp_takes(octet: int) -> None:
    """llhttp reads plain lines octet by octet: every octet, in every place."""
    lines = RequestLines(b"mux_session")
    byte = bytes([octet])
    for line in (
        byte + b": b",
        b"a" + byte + b"c: d",
        b"a:" + byte,
        b"a: b" + byte + b"c",
        b"a: b" + byte,
        b"a" + byte + b":",
    ):
        if lines.read(line) is not None:
            httptools.HttpRequestParser(None).feed_data(b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n")


RESPONSE_FIELDS = st.one_of(
    LINES,
    st.sampled_from(
        [
            b"Content-Length: 5",
            b"Content-Length: 05",
            b"Content-Type: text/html",
            b"Content-Type: text/event-stream",
            b"Transfer-Encoding: chunked",
            b"Connection: keep-alive",
            b"Connection: close",
            b"Connection: X-Sum",
            b"Keep-Alive: timeout=5",
            b"X-Sum: 1",
            b"Set-Cookie: a=b",
            b"Location: /x",
            b"Service-Worker-Allowed: /",
            b"Server:  a ",
            b"Date: Tue, 15 Nov 1994 08:12:31 GMT",
            b"date:",
            b"Proxy-Authenticate: x",
        ]
    ),
)


@settings(max_examples=1500, deadline=None)
@given(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 404 ",
            b"HTTP/1.1 304 Not Modified",
            b"HTTP/1.1 204 No",
            b"HTTP/1.0 200 OK",
            b"HTTP/1.1 101 X",
            b"HTTP/1.1 200",
        ]
    ),
    st.lists(RESPONSE_FIELDS, max_size=5),
    st.booleans(),
)
def test_a_remembered_response_head_is_passed_on_as_the_strict_way_would(
    router: FeedRouter, line: bytes, fields: list[bytes], head_only: bool
) -> None:
    memo = Memo(router.session_cookie, Pools(8, spawn))
    asked = parse_request(request())
    raw = b"\r\n".join([line, *fields, b"", b""])
    for _ in range(3):
        known = memo.answer(raw, head_only=head_only)
        if known is None:
            continue
        response = parse_response(raw, b"HEAD" if head_only else b"GET")
        passed = known.head + (b"" if known.whole else DATE) + b"\r\n"
        assert known.whole in (b"", passed)
        assert passed == client_head(response, asked, router.route(asked, 0.0), close=False, date=DATE)
        assert known.same == (passed == raw)
        assert (known.body, known.status_class) == (response.body, response.status // 100)
        assert response.keep_alive and known.body >= CHUNKED
        assert not response.interim and response.status != 101


def test_a_date_is_made_once_a_second() -> None:
    dates = Dates()
    assert dates.line(784111777.0) is dates.line(784111777.9) == DATE
    assert dates.line(784111778.0) == DATE.replace(b":37", b":38")


# -- on the wire ------------------------------------------------------------------------------------------------------


async def test_a_session_that_ends_is_noticed_with_the_next_request(rig: Rig) -> None:
    client = await rig.client()
    assert [(await client.ask(request())).body for _ in range(4)] == [b"alice"] * 4
    await rig.publish(rig.table.apply(Delta(sessions={session_of("token-of-alice"): None})))
    assert (await client.ask(request())).body == b"web"
    await rig.publish(rig.table.apply(Delta(sessions={session_of("token-of-alice"): SessionEntry(BOB, 2**40)})))
    assert [(await client.ask(request())).body for _ in range(4)] == [b"bob"] * 4


async def test_a_session_that_expires_is_noticed_with_the_next_request(rig: Rig) -> None:
    client = await rig.client()
    assert [(await client.ask(request())).body for _ in range(4)] == [b"alice"] * 4
    rig.plane.ahead += 601
    assert (await client.ask(request())).body == b"web"
    assert len(rig.alice.requests) == 4


async def test_a_workspace_that_moves_is_reached_where_it_is(rig: Rig) -> None:
    client = await rig.client()
    assert [(await client.ask(request())).body for _ in range(4)] == [b"alice"] * 4
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): rig.route(rig.bob, "moved")})))
    assert [(await client.ask(request())).body for _ in range(4)] == [b"bob"] * 4
    assert b"token secret-bob" in rig.bob.requests[-1]


async def test_the_same_request_again_is_another_attendees_on_the_same_connection(rig: Rig) -> None:
    """Behind a load balancer, connections are shared."""
    client = await rig.client()
    asked = [ALICE, ALICE, BOB, ALICE, ALICE, BOB, BOB, BOB, ALICE]
    bodies = [(await client.ask(request(user=user))).body for user in asked]
    assert bodies == [user.removeprefix("u-").encode() for user in asked]


async def test_heads_that_differ_in_a_line_are_passed_on_whole(rig: Rig) -> None:
    client = await rig.client()
    for number in range(12):
        sent = request(b"GET /camp/intro/%d" % (number // 3), b"Accept: */*", b"X-Turn: %d" % number)
        assert (await client.ask(sent)).body == b"alice"
        got = rig.alice.requests[-1]
        assert got.startswith(b"GET /camp/intro/%d HTTP/1.1\r\n" % (number // 3))
        assert b"X-Turn: %d\r\n" % number in got and got.count(b"Authorization: token secret-alice") == 1
        assert b"mux_session" not in got


async def test_heads_that_differ_in_a_line_find_their_own_workspace(rig: Rig) -> None:
    client = await rig.client()
    asked = [ALICE, ALICE, ALICE, BOB, ALICE, BOB, BOB, BOB, ALICE, ALICE]
    for number, user in enumerate(asked):
        sent = request(b"GET /camp/intro/", b"X-Turn: %d" % number, user=user)
        assert (await client.ask(sent)).body == user.removeprefix("u-").encode()
        got = (rig.alice if user == ALICE else rig.bob).requests[-1]
        assert b"X-Turn: %d\r\n" % number in got


async def test_a_line_that_is_too_long_is_refused_before_a_head_that_is_known(rig: Rig) -> None:
    for _ in range(3):
        assert (await rig.ask(request())).body == b"alice"
    response = await rig.ask(request(b"GET /camp/intro/" + b"a" * limits.HEAD_BYTES_MAX))
    assert (response.status, response.code) == (414, "line_too_long")
    room = limits.HEAD_BYTES_MAX - len(request(b"GET /camp/intro/"))
    assert (await rig.ask(request(b"GET /camp/intro/" + b"a" * room))).body == b"alice"
    assert (await rig.ask(request(b"GET /camp/intro/" + b"a" * (room + 1)))).code == "head_too_large"
    assert len(rig.alice.requests) == 4


@pytest.mark.parametrize("dated", [False, True])
async def test_a_client_that_wants_one_answer_gets_it_by_the_short_way(rig: Rig, dated: bool) -> None:
    date = b"Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n" if dated else b""
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\nX: y\r\n" + date + b"Content-Length: 2\r\n\r\nok")
    heads = []
    for _ in range(5):
        client = await rig.client()
        await client.send(request(b"GET /camp/intro/lab", b"Connection: close"))
        answer = await client.rest()
        heads.append(re.sub(rb"Date: [^\r]+", b"", answer))
    assert heads == [heads[0]] * 5 and b"\r\nConnection: close\r\n" in heads[0] and heads[0].endswith(b"\r\n\r\nok")
    assert rig.alice.connections == 1 and len(rig.alice.requests) == 5
    assert all(b"onnection" not in got for got in rig.alice.requests)
    assert rig.plane.memo is not None and len(rig.plane.memo.heads) == 1


async def test_large_heads_are_not_remembered(rig: Rig) -> None:
    client = await rig.client()
    for _ in range(4):
        assert (await client.ask(request(b"GET /camp/intro/", b"X-Large: " + b"x" * 5000))).body == b"alice"
    assert rig.plane.memo is not None and len(rig.plane.memo.heads) == 0


async def test_an_answer_in_pieces_is_the_same_as_in_one(rig: Rig) -> None:
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 6\r\n\r\nabc", b"def")
    client = await rig.client()
    assert [(await client.ask(request())).body for _ in range(4)] == [b"abcdef"] * 4
    assert rig.alice.connections == 1


async def test_chunked_answers_that_begin_alike_are_passed_on_as_they_are(rig: Rig) -> None:
    head = b"HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nTransfer-Encoding: chunked\r\n\r\n"
    bodies = [
        *[(b"5\r\naaaaa\r\n0\r\n\r\n",)] * 3,
        (b"5\r\nbbbbb\r\n0\r\n\r\n",),
        (b"5\r\nccccc\r\n1\r\nc\r", b"\n0\r\n\r\n"),
        (b"5\r\nddddd\r\n2\r\ndd\r\n0\r\n\r\n",),
        (b"6\r\neeeeee\r\n0\r\n\r\n",),
        (b"5\r\nfffff\r\n0\r\n\r\n",),
    ]

    async def script(wire: Wire) -> None:
        for body in bodies:
            await rig.alice.request(wire)
            await wire.send(head + body[0])
            for piece in body[1:]:
                await got.wait()
                await wire.send(piece)

    rig.alice.script = script
    client, got = await rig.client(), asyncio.Event()
    for body in bodies:
        got.clear()
        await client.send(request())
        assert await client.exactly(len(head) + len(body[0]) - 1) == (head + body[0])[:-1]
        got.set()
        assert await client.exactly(1 + len(b"".join(body[1:]))) == body[0][-1:] + b"".join(body[1:])
    assert rig.alice.connections == 1


@pytest.mark.parametrize("data", [b"", b"\r\nAnd more: x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
async def test_a_connection_with_bytes_after_the_answer_is_not_used_again(rig: Rig, data: bytes) -> None:
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + data)
    client = await rig.client()
    assert [(await client.ask(request())).body for _ in range(4)] == [b"ok"] * 4
    assert rig.alice.connections == (4 if data else 1)


def test_what_is_remembered_is_bounded() -> None:
    known: Bounded[int, int] = Bounded(10)
    for number in range(1000):
        known.put(number, number)
        assert known.get(0 if number < 5 else number) is not None
    assert len(known) <= 20
    assert known.get(999) == 999 and known.get(1) is None


def test_what_is_used_is_not_forgotten() -> None:
    known: Bounded[int, int] = Bounded(10)
    known.put(-1, 7)
    for number in range(1000):
        known.put(number, number)
        assert known.get(-1) == 7


# -- pieces -----------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12), st.binary(max_size=12))
def test_a_plain_request_line_is_one_that_the_strict_parser_takes(path: bytes, query: bytes) -> None:
    for line in (
        b"GET /" + path + b" HTTP/1.1\r\n",
        b"HEAD /" + path + b"?" + query + b" HTTP/1.1\r\n",
        b"PUT /" + path + b"?" + query + b" HTTP/1.1\r\n",
    ):
        match = PLAIN_LINE.match(line) or WRITE_LINE.match(line)
        if match is not None:
            head = parse_request(line + HOST + b"\r\n")
            assert (head.method, head.target, head.path) == match.groups()


async def test_an_undated_answer_is_remembered_for_longer_than_its_date(rig: Rig) -> None:
    second = 0
    rig.plane.wall = lambda: 784111777.9 + second
    for second in range(9):
        response = await rig.ask(request())
        assert response.values("date") == [f"Sun, 06 Nov 1994 08:49:{37 + second} GMT"]
    assert rig.plane.memo is not None
    (known,) = rig.plane.memo.answers.young.values()
    assert not known.whole
