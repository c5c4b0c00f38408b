"""What people and programs are told when an upstream fails, and what is tried before."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from mux.proxy import limits, sockets
from mux.proxy.plane import Plane
from mux.proxy.upstream import Pool
from tests.proxy.rig import ALICE, HOST, Response, Rig, Wire, answering, asked, request
from tests.proxy.test_messages import OK, ORIGIN_LINE, eventually

BOTH_WAYS = True

HTML = b"Accept: text/html,application/xhtml+xml;q=0.9"


async def test_a_workspace_that_refuses_is_a_page_that_reloads_itself(rig: Rig) -> None:
    await rig.alice.stop()
    response = await rig.ask(request(b"GET /camp/intro/lab", HTML))
    assert response.status == 503
    assert response.values("refresh") == ["3"]
    assert response.values("content-type") == ["text/html; charset=utf-8"]
    assert response.values("cache-control") == ["no-store"]
    policy = response.values("content-security-policy")[0]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert b'<meta http-equiv="refresh" content="3">' in response.body
    assert b"Test Camp" in response.body
    assert b"<script" not in response.body


async def test_programs_get_json(rig: Rig) -> None:
    await rig.alice.stop()
    response = await rig.ask(request(b"GET /camp/intro/api", b"Accept: */*"))
    assert (response.status, response.code) == (503, "workspace_refused")
    assert response.values("refresh") == []
    assert response.values("retry-after") == ["3"]


async def test_own_answers_are_dated(rig: Rig) -> None:
    """RFC 9110 section 6.6.1: whoever has a clock says when it answered."""
    rig.plane.wall = lambda: 784111777.9
    response = await rig.ask(b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (response.status, response.values("date")) == (501, ["Sun, 06 Nov 1994 08:49:37 GMT"])


async def test_a_failed_save_is_no_page(rig: Rig) -> None:
    await rig.alice.stop()
    response = await rig.ask(request(b"PUT /camp/intro/api", HTML, ORIGIN_LINE, b"Content-Length: 2", body=b"{}"))
    assert (response.status, response.code) == (503, "workspace_refused")


async def test_an_answer_to_head_has_no_body(rig: Rig) -> None:
    await rig.alice.stop()
    client = await rig.client()
    await client.send(request(b"HEAD /camp/intro/api"))
    assert (await client.rest()).endswith(b"\r\n\r\n")


async def test_a_workspace_is_reached_again_as_soon_as_it_listens(rig: Rig) -> None:
    await rig.alice.stop()
    assert (await rig.ask(request())).status == 503
    await rig.alice.start()
    assert (await rig.ask(request())).body == b"alice"


async def test_the_control_process_being_gone_leaves_workspaces_alone(rig: Rig) -> None:
    await rig.web.stop()
    response = await rig.ask(request(b"GET /camp/", HTML))
    assert (response.status, response.values("refresh")) == (503, ["3"])
    assert b"back in a few seconds" in response.body
    assert (await rig.ask(request(b"POST /login", b"Content-Length: 0"))).code == "control_refused"
    form = request(b"POST /login", HTML, b"Sec-Fetch-Mode: navigate", b"Content-Length: 0")
    sent = await rig.ask(form)
    assert (sent.values("content-type"), sent.values("refresh")) == (["text/html; charset=utf-8"], [])
    assert (await rig.ask(request())).body == b"alice"


async def test_a_wrong_host_is_told_the_right_address(rig: Rig) -> None:
    raw = b"GET /camp/intro/ HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n" + HTML + b"\r\n\r\n"
    response = await rig.ask(raw)
    assert response.status == 421
    assert b'<a href="http://camp.test:8000/">' in response.body
    assert response.values("refresh") == []


async def test_a_workspace_that_hangs_up_before_its_head_is_a_502(rig: Rig) -> None:
    rig.chill()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)

    rig.alice.script = script
    response = await rig.ask(request())
    assert (response.status, response.code) == (502, "workspace_reset")
    assert len(rig.alice.requests) == 1


async def test_half_a_head_is_a_502(rig: Rig) -> None:
    rig.alice.script = answering(rig.alice, b"HTTP/1.1 200 OK\r\nContent-Le", close=True)
    assert (await rig.ask(request())).status == 502


async def closing_after_one(rig: Rig, go: asyncio.Event) -> None:
    """Alice's server answers one request of each connection, and hangs up when it is told to and has read the next."""

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(OK)
        await go.wait()
        await rig.alice.request(wire)

    rig.alice.script = script


@pytest.mark.parametrize("method", [b"GET", b"OPTIONS"])
async def test_a_safe_request_on_a_stale_connection_is_sent_once_more(rig: Rig, method: bytes) -> None:
    """RFC 9110 section 9.2.2 and RFC 9112 section 9.3.1."""
    go = asyncio.Event()
    await closing_after_one(rig, go)
    client = await rig.client()
    assert (await client.ask(request())).body == b"ok"
    go.set()
    assert (await client.ask(request(method + b" /camp/intro/x"))).body == b"ok"
    assert (rig.alice.connections, len(rig.alice.requests)) == (2, 3)
    assert rig.plane.counters().values["mux_proxy_retries_total"] == 1


async def test_it_is_sent_once_more_and_not_again(rig: Rig) -> None:
    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        if rig.alice.connections == 1:
            await wire.send(OK)
            await rig.alice.request(wire)

    rig.alice.script = script
    client = await rig.client()
    assert (await client.ask(request())).body == b"ok"
    assert (await client.ask(request())).status == 502
    assert len(rig.alice.requests) == 3


WRITES = [b"PUT", b"POST", b"DELETE", b"PATCH"]
PUT = request(b"PUT /camp/intro/x", b"Content-Length: 2", ORIGIN_LINE, body=b"{}")


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_travels_on_a_connection_that_was_just_used(
    rig: Rig, method: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FRESH_S", 3600.0)
    client = await rig.client()
    assert (await client.ask(request())).body == b"alice"
    for line in (method + b" /camp/intro/x", method + b" /camp/intro/y"):
        assert (await client.ask(request(line, b"Content-Length: 2", ORIGIN_LINE, body=b"{}"))).body == b"alice"
    assert rig.alice.connections == 1
    assert rig.alice.bodies == [b"", b"{}", b"{}"]


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_never_travels_on_a_connection_that_may_be_stale(
    rig: Rig, method: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may not be repeated, and a save must not fail because a server closed an idle connection."""
    monkeypatch.setattr(limits, "FRESH_S", -1.0)
    go = asyncio.Event()
    await closing_after_one(rig, go)
    client = await rig.client()
    assert (await client.ask(request())).body == b"ok"
    go.set()
    assert (
        await client.ask(request(method + b" /camp/intro/x", b"Content-Length: 2", ORIGIN_LINE, body=b"{}"))
    ).body == b"ok"
    assert rig.alice.bodies.count(b"{}") == 1


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length: %d" % (limits.FRESH_BODY_BYTES_MAX + 1), bytes(limits.FRESH_BODY_BYTES_MAX + 1)),
        (b"Transfer-Encoding: chunked", b"8000\r\n" + bytes(0x8000) + b"\r\n0\r\n\r\n"),
    ],
    ids=["long", "chunked"],
)
async def test_a_body_that_may_be_long_gets_a_connection_of_its_own(
    rig: Rig, fields: tuple[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace that is busy for longer than REUSED_USER_TIMEOUT_MS must not lose the upload."""
    monkeypatch.setattr(limits, "FRESH_S", 3600.0)
    client = await rig.client()
    assert (await client.ask(request())).body == b"alice"
    framing, body = fields
    assert (await client.ask(request(b"PUT /camp/intro/x", framing, ORIGIN_LINE, body=body))).body == b"alice"
    assert rig.alice.connections == 2


async def test_a_chunked_body_that_has_not_come_whole_gets_a_connection_of_its_own(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may become long."""
    monkeypatch.setattr(limits, "FRESH_S", 3600.0)
    client = await rig.client()
    assert (await client.ask(request())).body == b"alice"
    whole = request(b"PUT /camp/intro/x", b"Transfer-Encoding: chunked", ORIGIN_LINE, body=b"2\r\n{}\r\n0\r\n\r\n")
    assert (await client.ask(whole)).body == b"alice"
    assert rig.alice.connections == 1
    await client.send(whole[:-2])
    await eventually(lambda: rig.alice.connections == 2)
    assert (await client.ask(whole[-2:])).body == b"alice"


async def test_a_write_is_not_sent_where_the_end_has_come_already(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the event loop has not looked yet."""
    monkeypatch.setattr(limits, "FRESH_S", 3600.0)
    rig.chill()
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(OK)
        if rig.alice.connections == 1:
            await go.wait()

    rig.alice.script = script
    client = await rig.client()
    assert (await client.ask(request())).body == b"ok"
    [idle] = rig.plane.pools.of(rig.plane.route(asked(ALICE)).pool).idle
    idle.transport.pause_reading()
    go.set()
    await eventually(lambda: not sockets.silent(idle.transport))
    assert (await client.ask(PUT)).body == b"ok"
    assert (rig.alice.connections, rig.alice.bodies) == (2, [b"", b"{}"])


@pytest.mark.parametrize("ending", ["in order", "reset"])
async def test_a_write_that_got_no_answer_is_a_502_and_never_sent_twice(
    rig: Rig, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9112 section 9.3.1: a proxy must not repeat it, for it may have been done."""
    monkeypatch.setattr(limits, "FRESH_S", 3600.0)

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(OK)
        await rig.alice.request(wire)
        if ending == "reset":
            sockets.reset(cast(asyncio.Transport, wire.writer.transport))

    rig.alice.script = script
    client = await rig.client()
    assert (await client.ask(request())).body == b"ok"
    response = await client.ask(PUT)
    assert (response.status, response.code) == (502, "workspace_reset")
    assert (rig.alice.connections, rig.alice.bodies) == (1, [b"", b"{}"])


async def test_no_write_is_done_twice_by_a_server_that_ends_every_connection(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without saying so, and at once: each is answered, or was in vain."""
    monkeypatch.setattr(limits, "FRESH_S", 3600.0)
    rig.alice.script = answering(rig.alice, OK, close=True)
    answers = {}
    for number in range(50):
        body = b"%02d" % number
        answers[body] = await rig.ask(request(b"POST /camp/intro/x", b"Content-Length: 2", ORIGIN_LINE, body=body))
    done = [body for body in rig.alice.bodies if body]
    assert len(done) == len(set(done))
    assert {body for body, answer in answers.items() if answer.status == 200} <= set(done)
    assert {answer.status for answer in answers.values()} <= {200, 502}


async def test_a_request_with_a_body_is_never_repeated(rig: Rig) -> None:
    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)

    rig.alice.script = script
    response = await rig.ask(request(b"GET /camp/intro/x", b"Content-Length: 2", body=b"{}"))
    assert (response.status, len(rig.alice.requests)) == (502, 1)


async def test_a_response_that_has_begun_is_never_repeated(rig: Rig) -> None:
    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.send(OK)
        await rig.alice.request(wire)
        await wire.send(b"HTTP/1.1 200")

    rig.alice.script = script
    client = await rig.client()
    await client.ask(request())
    assert (await client.ask(request())).status == 502
    assert len(rig.alice.requests) == 2


async def test_a_workspace_that_does_not_answer_is_waited_for_and_then_a_504(rig: Rig) -> None:
    """RFC 9110 section 15.6.5; notebook handlers may work for many minutes."""
    assert limits.RESPONSE_HEAD_S >= 600

    async def script(wire: Wire) -> None:
        await rig.alice.request(wire)
        await wire.rest()

    rig.alice.script = script
    client = await rig.client()
    await client.send(request())
    await eventually(lambda: len(rig.alice.requests) == 1)
    rig.plane.sweep(rig.plane.now() + 600)
    assert next(iter(rig.plane._clients)).exchange is not None
    rig.plane.sweep(rig.plane.now() + limits.RESPONSE_HEAD_S + 1)
    response = await client.response()
    assert (response.status, response.code) == (504, "workspace_response_timeout")
    await rig.alice.all_closed()


@pytest.mark.parametrize(("control_up", "limit_s"), [(False, limits.CONTROL_GONE_S), (True, limits.WEB_HEAD_S)])
async def test_pages_are_waited_for_as_long_as_a_restart_takes(rig: Rig, control_up: bool, limit_s: float) -> None:
    """The supervisor holds the socket: while the control process is gone, a connection to it waits there."""

    async def script(wire: Wire) -> None:
        await rig.web.request(wire)
        await wire.rest()

    rig.web.script = script
    rig.plane.control_up = control_up
    client = await rig.client()
    await client.send(request(b"GET /camp/", HTML))
    await eventually(lambda: len(rig.web.requests) == 1)
    rig.plane.sweep(rig.plane.now() + limit_s - 1)
    assert next(iter(rig.plane._clients)).exchange is not None
    rig.plane.sweep(rig.plane.now() + limit_s + 1)
    response = await client.response()
    assert response.status == (504 if control_up else 503)
    assert response.values("refresh") == ["3"]


# -- clients that are slow, idle or many ------------------------------------------------------------------------------


def closed(rig: Rig) -> dict[str, float]:
    """Connections that were closed over a limit, by reason."""
    counted = {name.partition('{reason="'): value for name, value in rig.plane.counters().values.items()}
    return {rest.removesuffix('"}'): value for (name, _, rest), value in counted.items() if "closed" in name}


async def test_an_idle_client_is_closed_in_time(rig: Rig) -> None:
    fresh, used = await rig.client(), await rig.client()
    await used.ask(request())
    await eventually(lambda: len(rig.plane._clients) == 2)
    rig.plane.sweep(rig.plane.now() + limits.IDLE_S - 1)
    assert len(rig.plane._clients) == 2
    rig.plane.sweep(rig.plane.now() + limits.IDLE_S + 1)
    assert await fresh.rest() == b""
    assert await used.rest() == b""
    assert closed(rig) == {"first_byte": 1, "idle": 1}


async def test_half_a_head_is_a_408_in_time_however_it_drips(rig: Rig) -> None:
    """RFC 9110 section 15.5.9: the time runs from the head's first byte, not from its latest."""
    client = await rig.client()
    await client.send(b"GET / HT")
    connection = next(iter(rig.plane._clients))
    await eventually(lambda: connection._reader.buffered == 8)
    rig.plane.sweep(rig.plane.now() + limits.HEAD_S - 1)
    connection._head_began -= limits.HEAD_S
    await client.send(b"T")
    await eventually(lambda: connection._reader.buffered == 9)
    rig.plane.sweep(rig.plane.now() + 1)
    assert (await client.response()).code == "head_timeout"


async def test_a_body_that_stalls_is_a_408(rig: Rig) -> None:
    client = await rig.client()
    await client.send(request(b"PUT /camp/intro/x", b"Content-Length: 10", ORIGIN_LINE, body=b"half"))
    await eventually(lambda: rig.alice.connections == 1)
    rig.plane.sweep(rig.plane.now() + limits.BODY_STALL_S + 1)
    assert (await client.response()).code == "body_timeout"
    await rig.alice.all_closed()


async def test_a_client_that_does_not_hang_up_after_a_refusal_is_closed(rig: Rig) -> None:
    client = await rig.client()
    await client.send(b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await client.response()).status == 501
    assert len(rig.plane._clients) == 1
    rig.plane.sweep(rig.plane.now() + limits.LINGER_S + 1)
    await eventually(lambda: not rig.plane._clients)
    assert closed(rig) == {"linger": 1}


async def test_a_client_that_sends_without_end_after_a_refusal_is_closed(rig: Rig) -> None:
    client = await rig.client()
    await client.send(b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n")
    await client.response()
    with pytest.raises(ConnectionError):
        while True:
            await client.send(b"x" * 65536)
    await eventually(lambda: not rig.plane._clients)
    assert closed(rig) == {"linger": 1}


async def test_connections_are_bounded(rig: Rig) -> None:
    rig.plane._connections_max = 2
    kept = [await rig.client() for _ in range(2)]
    await eventually(lambda: len(rig.plane._clients) == 2)
    refused = await rig.client()
    response = Response(await refused.head())
    assert response.status == 503
    assert b"too_many_connections" in await refused.closed()
    assert (await kept[0].ask(request())).body == b"alice"


async def test_idle_upstream_connections_are_closed_in_time(rig: Rig) -> None:
    rig.chill()
    await rig.ask(request())
    assert rig.plane.pools.idle == 1
    rig.plane.sweep(rig.plane.now() + limits.POOL_IDLE_S - 1)
    assert rig.plane.pools.idle == 1
    rig.plane.sweep(rig.plane.now() + limits.POOL_IDLE_S + 1)
    assert rig.plane.pools.idle == 0
    await rig.alice.all_closed()


async def test_idle_upstream_connections_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = 40
    monkeypatch.setattr("mux.proxy.routing.POOL_IDLE_MAX_WORKSPACE", bound)
    monkeypatch.setattr(Pool.give, "__defaults__", (bound,))
    rig.chill()
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await rig.alice.request(wire)
            await release.wait()
            await wire.send(OK)

    rig.alice.script = script
    number = bound + 3
    asking = [asyncio.ensure_future(rig.ask(request())) for _ in range(number)]
    await eventually(lambda: len(rig.alice.requests) == number)
    release.set()
    await asyncio.gather(*asking)
    assert rig.plane.pools.idle == bound


async def test_before_any_feed_there_is_a_page_that_reloads_itself() -> None:
    import socket

    plane = Plane()
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await plane.listen(sock)
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    response = await wire.ask(request(b"GET /camp/", HTML))
    assert (response.status, response.values("refresh")) == (503, ["3"])
    wire.close()
    await plane.close()
