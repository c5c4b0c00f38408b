"""Further ports of a workspace: who is asked for what, and what comes back, in bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mux.core.model import PortName, WorkspaceId
from mux.core.routes import Delta, Route, RoutePort, RouteTable
from mux.proxy.cookies import confined_set_cookie
from mux.proxy.routing import FeedRouter
from tests.proxy.rig import ALICE, BOB, INTRO, ORIGIN, Rig, Upstream, Wire, answering, request
from tests.proxy.test_tunnels import HANDSHAKE, SWITCH

BOTH_WAYS = True
DASH, KEPT = PortName("dash"), PortName("kept")
BASE = b"/camp/intro/port/dash"


@pytest.fixture
async def port(rig: Rig) -> AsyncIterator[Upstream]:
    """A program at Alice's further port, with the prefix taken off at ``dash`` and kept at ``kept``."""
    program = Upstream("program")
    await program.start()
    route = replace(
        rig.route(rig.alice), ports=(RoutePort(DASH, program.port), RoutePort(KEPT, program.port, with_prefix=True))
    )
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): route})))
    yield program
    await program.stop()
    assert program.failures == []


def without_prefix(head: bytes) -> bytes:
    return head.split(b" ", 2)[1]


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (BASE + b"/", b"/"),
        (BASE + b"/?a=/camp/intro/port/dash/", b"/?a=/camp/intro/port/dash/"),
        (BASE + b"/a%40b/%2e%2E/%zz;x?q=%20+|{}^", b"/a%40b/%2e%2E/%zz;x?q=%20+|{}^"),
        (BASE + b"/../../lab", b"/../../lab"),
        (BASE + b"//evil.test/", b"//evil.test/"),
        (BASE + b"/port/dash/", b"/port/dash/"),
        (b"http://camp.test:8000" + BASE + b"/x", b"/x"),
        (b"/camp/intro/port/kept/a%40b?c", b"/camp/intro/port/kept/a%40b?c"),
        (b"/camp/intro/port/kept", b"/camp/intro/port/kept"),
    ],
)
async def test_a_program_is_asked_for_what_follows_its_name_or_for_all(
    rig: Rig, port: Upstream, target: bytes, asked: bytes
) -> None:
    for _ in range(3):
        assert (await rig.ask(request(b"GET " + target))).body == b"program"
    assert [without_prefix(head) for head in port.requests] == [asked] * 3
    assert rig.reached == []


@pytest.mark.parametrize(
    "target",
    [
        b"/camp/intro/port/../port/dash/",
        b"/camp/intro/port/./dash/",
        b"/camp/intro/port//dash/",
        b"/camp/intro//port/dash/",
        b"/camp/intro/port/%64ash/",
        b"/camp/intro/%70ort/dash/",
        b"/camp/intro/port%2fdash/",
        b"/camp/intro/port/dash%2f",
        b"/camp/intro/port/dash;/",
        b"/camp/intro/port/Dash/",
        b"/camp/intro/port/dash2/",
        b"/camp/intro/port/das/",
        b"/camp/intro/port/",
        b"/camp/intro/port",
        b"/camp/intro/ports/dash/",
        b"/camp/intro/lab/port/dash/",
        b"/camp/intro/port/other?/port/dash/",
    ],
)
async def test_any_other_spelling_is_the_workspaces_own_path(rig: Rig, port: Upstream, target: bytes) -> None:
    for _ in range(3):
        assert (await rig.ask(request(b"GET " + target))).body == b"alice"
    assert {without_prefix(head) for head in rig.alice.requests} == {target}
    assert port.requests == []


@pytest.mark.parametrize("query", [b"", b"?a=b//c"])
async def test_a_name_without_a_slash_leads_to_the_same_with_one(rig: Rig, port: Upstream, query: bytes) -> None:
    led = await rig.ask(request(b"GET " + BASE + query))
    assert (led.status, led.code) == (308, "to_slash")
    assert led.values("location") == [(ORIGIN.encode() + BASE + b"/" + query).decode()]
    assert port.requests == []


async def test_nobody_elses_port_is_reached_nor_without_a_login(rig: Rig, port: Upstream) -> None:
    assert (await rig.ask(request(b"GET " + BASE + b"/", user=None))).body == b"web"
    assert (await rig.ask(request(b"GET " + BASE + b"/", user=BOB))).body == b"bob"
    assert port.requests == []


async def test_another_site_is_refused_at_a_port_as_everywhere(rig: Rig, port: Upstream) -> None:
    posted = request(b"POST " + BASE + b"/", b"Origin: http://evil.test", b"Content-Length: 0")
    assert (await rig.ask(posted)).code == "foreign_origin"
    opened = HANDSHAKE.replace(b"/camp/intro/ws", BASE + b"/ws").replace(ORIGIN.encode(), b"http://evil.test")
    assert (await rig.ask(opened)).code == "foreign_origin"
    assert port.requests == []


async def test_the_workspaces_token_and_the_muxs_cookie_stay_away(rig: Rig, port: Upstream) -> None:
    fields = (b"Authorization: Bearer mine", b"X-Forwarded-Prefix: /mine", b"Cookie: app=1")
    asked = request(b"GET " + BASE + b"/", *fields)
    await rig.ask(asked)
    await rig.ask(asked.replace(b"/dash/", b"/kept/"))
    for head in port.requests:
        assert b"authorization" not in head.lower()
        assert b"secret" not in head
        assert b"token-of-alice" not in head
        assert b"Cookie: app=1\r\n" in head
    stripped, kept = port.requests
    assert stripped.count(b"X-Forwarded-Prefix: ") == 1
    assert b"X-Forwarded-Prefix: " + BASE + b"\r\n" in stripped
    assert b"X-Forwarded-Prefix" not in kept


async def test_the_workspace_itself_gets_its_token_as_ever(rig: Rig, port: Upstream) -> None:
    await rig.ask(request(b"GET " + BASE + b"/"))
    await rig.ask(request(b"GET /camp/intro/lab"))
    assert b"Authorization: token secret-alice\r\n" in rig.alice.requests[0]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (b"/login?next=/", b"http://camp.test:8000/camp/intro/port/dash/login?next=/"),
        (b"/", b"http://camp.test:8000/camp/intro/port/dash/"),
        (b"http://camp.test:8000/a", b"http://camp.test:8000/camp/intro/port/dash/a"),
        (b"http://camp.test:8000", b"http://camp.test:8000/camp/intro/port/dash/"),
        (b"http://camp.test:8000?a", b"http://camp.test:8000/camp/intro/port/dash/?a"),
        (b"/camp/intro/port/dash/a", b"http://camp.test:8000/camp/intro/port/dash/a"),
        (b"/camp/intro/lab", b"http://camp.test:8000/camp/intro/lab"),
        (b"/camp/other/", b"http://camp.test:8000/camp/intro/port/dash/camp/other/"),
        (b"login", b"login"),
        (b"../x", b"../x"),
        (b"https://example.org/a", b"https://example.org/a"),
        (b"//example.org/a", b"//example.org/a"),
    ],
)
async def test_a_location_is_put_below_the_prefix(rig: Rig, port: Upstream, said: bytes, seen: bytes) -> None:
    port.script = answering(port, b"HTTP/1.1 302 Found\r\nLocation: " + said + b"\r\nContent-Length: 0\r\n\r\n")
    led = await rig.ask(request(b"GET " + BASE + b"/x"))
    assert led.values("location") == [seen.decode()]


async def test_the_programs_own_address_is_put_below_the_prefix(rig: Rig, port: Upstream) -> None:
    location = b"http://127.0.0.1:%d/a" % port.port
    port.script = answering(port, b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")
    led = await rig.ask(request(b"GET " + BASE + b"/x"))
    assert led.values("location") == ["http://camp.test:8000/camp/intro/port/dash/a"]


async def test_an_echoed_double_slash_leads_to_no_other_host(rig: Rig, port: Upstream) -> None:
    port.script = answering(port, b"HTTP/1.1 301 Moved\r\nLocation: //evil.test/a/\r\nContent-Length: 0\r\n\r\n")
    led = await rig.ask(request(b"GET " + BASE + b"//evil.test/a"))
    assert led.values("location") == ["http://camp.test:8000/camp/intro/port/dash//evil.test/a/"]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (b"a=1; Path=/", b"a=1; Path=/camp/intro/port/dash/"),
        (b"a=1; Path=/x; HttpOnly", b"a=1; Path=/camp/intro/port/dash/x; HttpOnly"),
        (b"a=1; Path=/camp/intro/port/dash/x", b"a=1; Path=/camp/intro/port/dash/x"),
        (b"a=1; Path=/camp/intro/", b"a=1; Path=/camp/intro/port/dash/camp/intro/"),
        (b"a=1", b"a=1"),
        (b"a=1; Path=x", b"a=1; Path=/camp/intro/port/dash/"),
        (b"mux_session=1; Path=/", None),
        (b"a=1; Domain=camp.test", None),
    ],
)
def test_cookies_are_put_below_the_prefix(said: bytes, seen: bytes | None) -> None:
    got = confined_set_cookie(said, b"mux_session", BASE, BASE + b"/page", below=True)
    if seen is None or got is None:
        assert got is seen
        return
    assert sorted(part.strip() for part in got.split(b";")) == sorted(part.strip() for part in seen.split(b";"))


async def test_a_websocket_opens_at_a_port_and_is_cut_with_the_route(rig: Rig, port: Upstream) -> None:
    async def echo(wire: Wire) -> None:
        port.requests.append(await wire.head())
        await wire.send(SWITCH)
        await wire.send(await wire.exactly(5))
        await wire.closed()

    port.script = echo
    client = await rig.client()
    await client.send(HANDSHAKE.replace(b"/camp/intro/ws", BASE + b"/ws"))
    assert (await client.head()).startswith(b"HTTP/1.1 101")
    await client.send(b"hello")
    assert await client.exactly(5) == b"hello"
    assert port.requests[0].startswith(b"GET /ws?token=%40 HTTP/1.1\r\n")
    assert b"secret" not in port.requests[0]
    table = rig.table.apply(Delta(routes={(ALICE, INTRO): None}))
    await rig.plane.put_in_force(rig.router(table), "Test Camp", (), {(ALICE, INTRO): rig.table.routes[ALICE, INTRO]})
    assert await client.closed() == b""


async def test_nothing_listens_and_the_answer_says_so(rig: Rig, port: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    await publish_ports(rig, RoutePort(DASH, free))
    page = await rig.ask(request(b"GET " + BASE + b"/", b"Accept: text/html"))
    assert page.status == 503
    assert b"Nothing answers at the port dash of your workspace" in page.body
    assert (await rig.ask(request(b"GET " + BASE + b"/"))).code == "port_refused"
    paths = rig.plane.paths.batch()
    assert paths is None or paths.unreached == ()
    assert rig.plane.tally.values['mux_proxy_upstream_failures_total{kind="port_refused"}'] == 2


async def test_an_engine_that_takes_connections_for_nobody_is_nobody_too(rig: Rig, port: Upstream) -> None:
    async def drop(wire: Wire) -> None:
        wire.close()

    port.script = drop
    answered = await rig.ask(request(b"GET " + BASE + b"/"))
    assert (answered.status, answered.code) == (503, "port_reset")


async def test_a_request_waits_through_a_swap_and_finds_the_port_of_the_new_workspace(rig: Rig, port: Upstream) -> None:
    route = rig.table.routes[ALICE, INTRO]
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): replace(route, hold=True)})))
    client = await rig.client()
    await client.send(request(b"GET " + BASE + b"/a"))
    async with asyncio.timeout(20):
        while rig.plane.tally.values["mux_proxy_holds_total"] < 1:
            await asyncio.sleep(0.005)
    assert port.requests == []
    moved = replace(route, workspace=WorkspaceId("ws-new"))
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): moved})))
    assert (await client.response()).body == b"program"
    assert without_prefix(port.requests[0]) == b"/a"


async def test_connections_of_a_port_are_shared_with_no_other(rig: Rig, port: Upstream) -> None:
    for target in (BASE + b"/", b"/camp/intro/lab", BASE + b"/"):
        await rig.ask(request(b"GET " + target))
    assert port.connections == 1
    assert len(rig.alice.requests) == 1


async def test_idle_connections_of_a_port_end_with_its_route(rig: Rig, port: Upstream) -> None:
    await rig.ask(request(b"GET " + BASE + b"/"))
    before = {(ALICE, INTRO): rig.table.routes[ALICE, INTRO]}
    table = rig.table.apply(Delta(routes={(ALICE, INTRO): None}))
    await rig.plane.put_in_force(rig.router(table), "Test Camp", (), before)
    await port.all_closed()


def test_a_place_is_never_that_of_a_port(rig: Rig) -> None:
    """What is remembered of a way to the workspace can never serve a port, whatever the workspace is called."""
    router: FeedRouter = rig.router(RouteTable())
    assert router.place(BASE + b"/") is None
    assert router.place(b"/camp/intro/port/x") is None
    assert router.place(b"/camp/intro/portal") == b"intro"


async def publish_ports(rig: Rig, *ports: RoutePort) -> None:
    route: Route = replace(rig.route(rig.alice), ports=ports)
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): route})))
