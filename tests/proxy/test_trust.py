"""The trust lines of the design that the data plane keeps: who is who, what passes towards whom."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from mux.core.model import ProjectName
from mux.core.routes import Delta, Route, RouteTable, SessionEntry
from tests.proxy.rig import ALICE, BOB, HOST, INTRO, SPARK, Rig, answering, cookie, request, session_of
from tests.proxy.test_refusals import WEBSOCKET

BOTH_WAYS = True

ORIGIN_LINE = b"Origin: http://camp.test:8000"


async def upstream_fields(rig: Rig, raw: bytes) -> list[bytes]:
    """The field lines of the one request that reached a workspace."""
    await rig.ask(raw)
    assert len(rig.alice.requests) == 1
    return rig.alice.requests[0].split(b"\r\n")[1:-2]


# -- who is who -------------------------------------------------------------------------------------------------------


async def test_each_attendee_reaches_their_own_workspace(rig: Rig) -> None:
    assert (await rig.ask(request(user=ALICE))).body == b"alice"
    assert (await rig.ask(request(user=BOB))).body == b"bob"


async def test_a_connection_whose_cookie_changes_reaches_the_other_workspace(rig: Rig) -> None:
    client = await rig.client()
    bodies = [(await client.ask(request(user=user))).body for user in (ALICE, BOB, ALICE, None, BOB, ALICE)]
    assert bodies == [b"alice", b"bob", b"alice", b"web", b"bob", b"alice"]


async def test_upstream_connections_are_reused_by_their_attendee_only(rig: Rig) -> None:
    """Interleaved keep-alive connections of two attendees: one upstream connection each, never the other's."""
    first, second = await rig.client(), await rig.client()
    for _ in range(5):
        assert (await first.ask(request(user=ALICE))).body == b"alice"
        assert (await second.ask(request(user=BOB))).body == b"bob"
        assert (await first.ask(request(user=BOB))).body == b"bob"
    assert (rig.alice.connections, rig.bob.connections) == (1, 1)
    assert all(b"secret-alice" in head and b"secret-bob" not in head for head in rig.alice.requests)


async def test_two_attendees_on_one_port_do_not_share_connections(rig: Rig) -> None:
    """The pool goes by attendee and workspace, not by address."""
    await rig.publish(rig.table.apply(Delta(routes={(BOB, INTRO): replace(rig.route(rig.alice), token="b")})))
    await rig.ask(request(user=ALICE))
    await rig.ask(request(user=BOB))
    assert rig.alice.connections == 2


@pytest.mark.parametrize(
    "cookies",
    [
        b"Cookie: mux_session=unknown",
        b'Cookie: mux_session="token-of-alice"',
        b"Cookie: Mux_Session=token-of-alice",
        b"Cookie: mux_session=token-of-alice; mux_session=token-of-bob",
        b"Cookie: mux_session=token-of-alice; mux_session=",
        b"Cookie: mux_session=token-of-alice\r\nCookie: mux_session=token-of-bob",
        b"X: y",
    ],
)
async def test_no_session_or_two_reach_the_pages_only(rig: Rig, cookies: bytes) -> None:
    assert (await rig.ask(request(b"GET /camp/intro/lab", cookies, user=None))).body == b"web"


async def test_the_same_cookie_twice_is_one_session(rig: Rig) -> None:
    raw = request(b"GET /camp/intro/", b"Cookie: mux_session=token-of-alice; mux_session=token-of-alice", user=None)
    assert (await rig.ask(raw)).body == b"alice"


async def test_an_expired_session_reaches_the_pages_only(rig: Rig) -> None:
    expired = SessionEntry(ALICE, time.time() - 1)
    await rig.publish(rig.table.apply(Delta(sessions={session_of("token-of-alice"): expired})))
    assert (await rig.ask(request())).body == b"web"


# -- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [b"/camp/intro", b"/camp/intro/", b"/camp/intro?x=/camp/other/", b"/camp/intro//x"])
async def test_targets_of_a_project_reach_its_workspace(rig: Rig, target: bytes) -> None:
    assert (await rig.ask(request(b"GET " + target))).body == b"alice"
    assert rig.alice.requests[0].startswith(b"GET " + target + b" HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "target",
    [
        b"/camp/introx/",
        b"/camp/intro%2f",
        b"/camp/%69ntro/",
        b"/camp/intro;x/",
        b"/camp//intro/",
        b"//camp/intro/",
        b"/Camp/intro/",
        b"/camp/Intro/",
        b"/camp/./intro/",
        b"/x/../camp/intro/",
        b"/camp/other/../intro/",
        b"/camp",
        b"/",
        b"//evil.test/camp/intro/",
    ],
)
async def test_no_other_spelling_reaches_a_workspace(rig: Rig, target: bytes) -> None:
    assert (await rig.ask(request(b"GET " + target))).body == b"web"
    assert rig.web.requests[0].startswith(b"GET " + target + b" HTTP/1.1\r\n")


@pytest.mark.parametrize("target", [b"/camp/intro/../other/x", b"/camp/intro/%2e%2e/other/", b"/camp/intro/..%2fother"])
async def test_a_dotted_target_stays_with_the_workspace_it_names_first(rig: Rig, target: bytes) -> None:
    """Never normalised: it cannot reach the other project's workspace, and is seen exactly as sent."""
    other = Route(rig.route(rig.bob).workspace, "127.0.0.1", rig.bob.port, "")
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, ProjectName("other")): other})))
    assert (await rig.ask(request(b"GET " + target))).body == b"alice"
    assert rig.alice.requests[0].startswith(b"GET " + target + b" HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "target", [b'/camp/intro/a%40b/%2e%2E/%zz?q=%20+|{}^`"<>&x=http://a/', b"/camp/intro/;a=b,c@d"]
)
async def test_targets_pass_byte_for_byte(rig: Rig, target: bytes) -> None:
    await rig.ask(request(b"GET " + target))
    assert rig.alice.requests[0].startswith(b"GET " + target + b" HTTP/1.1\r\n")


async def test_an_absolute_target_is_cut_to_its_path(rig: Rig) -> None:
    """RFC 9112 section 3.2.2: servers accept absolute-form."""
    await rig.ask(request(b"GET http://camp.test:8000/camp/intro/a%40b?c"))
    assert rig.alice.requests[0].startswith(b"GET /camp/intro/a%40b?c HTTP/1.1\r\n")
    await rig.ask(request(b"GET HTTP://CAMP.test:8000", user=None))
    assert rig.web.requests[0].startswith(b"GET / HTTP/1.1\r\n")


async def test_options_of_the_server_reaches_the_pages(rig: Rig) -> None:
    """RFC 9112 section 3.2.4: OPTIONS * is for the server as a whole."""
    assert (await rig.ask(request(b"OPTIONS *"))).body == b"web"


async def test_the_host_is_compared_without_case(rig: Rig) -> None:
    raw = b"GET /camp/intro/ HTTP/1.1\r\nHost: Camp.TEST:8000\r\n" + cookie() + b"\r\n"
    assert (await rig.ask(raw)).body == b"alice"
    assert b"\r\nHost: Camp.TEST:8000\r\n" in rig.alice.requests[0]


# -- origin -----------------------------------------------------------------------------------------------------------

UNSAFE = [b"POST", b"PUT", b"PATCH", b"DELETE", b"PROPFIND"]


@pytest.mark.parametrize("path", [b"/camp/intro/api", b"/login"])
@pytest.mark.parametrize(
    "fields",
    [
        [b"Origin: http://evil.test"],
        [b"Origin: null"],
        [b"Origin: https://camp.test:8000"],
        [b"Origin: http://camp.test"],
        [b"Origin: http://camp.test:8000, http://evil.test"],
        [ORIGIN_LINE, b"Origin: http://evil.test"],
        [b"Origin:"],
        [b"Sec-Fetch-Site: cross-site"],
        [b"Sec-Fetch-Site: same-site"],
        [b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Site: cross-site"],
        [b"Sec-Fetch-Site: CROSS-SITE"],
    ],
)
async def test_writes_from_another_origin_are_refused(rig: Rig, path: bytes, fields: list[bytes]) -> None:
    """RFC 6454 section 7.3 and Fetch Metadata; the token that is added switches off the workspace's own checks."""
    for method in UNSAFE:
        response = await rig.ask(request(method + b" " + path, b"Content-Length: 0", *fields))
        assert (response.status, response.code[:7]) == (403, "foreign")
    assert rig.reached == []


@pytest.mark.parametrize(
    "fields",
    [[ORIGIN_LINE], [b"Sec-Fetch-Site: same-origin"], [b"Sec-Fetch-Site: none"], [ORIGIN_LINE, b"Sec-Fetch-Site: x"]],
)
async def test_writes_from_the_public_address_pass(rig: Rig, fields: list[bytes]) -> None:
    for method in UNSAFE:
        assert (await rig.ask(request(method + b" /camp/intro/api", b"Content-Length: 0", *fields))).status == 200


async def test_writes_of_programs_pass(rig: Rig) -> None:
    """Neither Origin nor Fetch Metadata: no browser, so nobody's cookie is used against them."""
    assert (await rig.ask(request(b"POST /camp/intro/api", b"Content-Length: 0"))).status == 200


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
async def test_reads_need_no_origin(rig: Rig, method: bytes) -> None:
    client = await rig.client()
    await client.send(request(method + b" /camp/intro/", b"Origin: http://evil.test", b"Sec-Fetch-Site: cross-site"))
    assert (await client.response(head_only=True)).status == 200


@pytest.mark.parametrize("path", [b"/camp/intro/ws", b"/live"])
@pytest.mark.parametrize("origin", [b"http://evil.test", b"null", b"http://camp.test", b""])
async def test_upgrades_from_another_origin_are_refused(rig: Rig, path: bytes, origin: bytes) -> None:
    """RFC 6455 section 10.2: a server checks Origin, for a handshake carries cookies from any site."""
    fields = [b"Origin: " + origin if item.startswith(b"Origin") else item for item in WEBSOCKET]
    response = await rig.ask(request(b"GET " + path, *fields))
    assert (response.status, response.code) == (403, "foreign_origin")
    assert rig.reached == []


# -- towards workspaces -----------------------------------------------------------------------------------------------


async def test_the_workspace_never_sees_the_muxs_cookies(rig: Rig) -> None:
    own = b"mux_session=token-of-alice;b=%20 2 ;__Host-mux-csrf=x; __Secure-mux=y; mux_next=z; MUX_other=q"
    fields = await upstream_fields(rig, request(b"GET /camp/intro/", b"Cookie: a=1; " + own + b"; c", user=None))
    assert [line for line in fields if line.lower().startswith(b"cookie")] == [b"Cookie: a=1;b=%20 2 ; c"]


async def test_a_cookie_field_with_the_muxs_cookies_only_is_dropped(rig: Rig) -> None:
    assert not any(line.lower().startswith(b"cookie") for line in await upstream_fields(rig, request()))


async def test_the_workspaces_token_replaces_the_clients_authorization(rig: Rig) -> None:
    fields = await upstream_fields(
        rig, request(b"GET /camp/intro/", b"Authorization: Bearer mine", b"authorization: x")
    )
    assert [line for line in fields if line.lower().startswith(b"authorization")] == [
        b"Authorization: token secret-alice"
    ]


async def test_without_a_token_authorization_is_dropped(rig: Rig) -> None:
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): replace(rig.route(rig.alice), token="")})))
    fields = await upstream_fields(rig, request(b"GET /camp/intro/", b"Authorization: Bearer mine"))
    assert not any(line.lower().startswith(b"authorization") for line in fields)


async def test_what_a_client_says_of_its_own_address_is_not_believed(rig: Rig) -> None:
    lies = [
        b"X-Forwarded-For: 1.1.1.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Prefix: /x",
        b"Forwarded: for=1.1.1.1",
        b"X-Real-IP: 1.1.1.1",
        b"X-Scheme: https",
        b"X-Mux-Peer: 1.1.1.1",
        b"X_Forwarded_For: 1.1.1.1",
        b"Proxy: http://evil.test",
    ]
    fields = await upstream_fields(rig, request(b"GET /camp/intro/", *lies))
    assert [line for line in fields if not line.startswith((b"Host", b"Authorization"))] == [
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: camp.test:8000",
        b'Forwarded: for=127.0.0.1;host="camp.test:8000";proto=http',
        b"Via: 1.1 mux",
    ]


@pytest.mark.parametrize(("version", "seen"), [(b"1.1", b"Via: 1.1 mux"), (b"1.0", b"Via: 1.0 mux")])
async def test_the_way_that_a_request_took_is_told(rig: Rig, version: bytes, seen: bytes) -> None:
    """RFC 9110 section 7.6.3: the version is that in which it came; who had it before stays named, in order."""
    raw = request(b"GET /camp/intro/", b"Via: 1.1 somebody").replace(b"HTTP/1.1", b"HTTP/" + version)
    fields = await upstream_fields(rig, raw)
    assert [line for line in fields if line.startswith(b"Via")] == [b"Via: 1.1 somebody", seen]


async def test_hop_by_hop_fields_do_not_pass(rig: Rig) -> None:
    """RFC 9110 section 7.6.1; an upgrade that is not a WebSocket is ignored (section 7.8)."""
    hops = [
        b"Connection: X-Mine, Upgrade, HTTP2-Settings",
        b"X-Mine: 1",
        b"Keep-Alive: 5",
        b"TE: trailers",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQAAP__",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic x",
        b"Kept: yes",
    ]
    fields = await upstream_fields(rig, request(b"GET /camp/intro/", *hops))
    names = {line.partition(b":")[0].lower() for line in fields}
    assert b"kept" in names
    assert names.isdisjoint(
        {b"connection", b"x-mine", b"keep-alive", b"te", b"upgrade", b"http2-settings", b"proxy-connection"}
        | {b"proxy-authorization"}
    )


async def test_names_with_underscores_are_dropped(rig: Rig) -> None:
    """Gateways fold ``_`` and ``-`` into one name (RFC 3875 section 4.1.18)."""
    fields = await upstream_fields(
        rig, request(b"GET /camp/intro/", b"Transfer_Encoding: chunked", b"Content_Length: 5")
    )
    assert not any(b"_" in line.partition(b":")[0] for line in fields)


async def test_other_fields_pass_byte_for_byte_and_in_order(rig: Rig) -> None:
    sent = [
        b"accept-ENCODING: gzip,br;q=0.5",
        b"X-Odd:  a  b\t",
        b"Range: bytes=0-5",
        b'If-None-Match: W/"\xe9"',
        b"X-Odd: c",
    ]
    fields = await upstream_fields(rig, request(b"GET /camp/intro/", *sent))
    kept = [
        b"accept-ENCODING: gzip,br;q=0.5",
        b"X-Odd: a  b",
        b"Range: bytes=0-5",
        b'If-None-Match: W/"\xe9"',
        b"X-Odd: c",
    ]
    assert fields[1:6] == kept


async def test_the_pages_get_cookies_and_the_peer(rig: Rig) -> None:
    raw = request(b"GET /camp/", b"Authorization: Basic x", b"X-Mux-Peer: 1.1.1.1", b"X-Forwarded-For: 1.1.1.1")
    await rig.ask(raw)
    head = rig.web.requests[0]
    assert head.count(b"X-Mux-Peer: 127.0.0.1\r\n") == 1
    assert b"1.1.1.1" not in head
    assert cookie() in head
    assert b"Authorization: Basic x\r\n" in head
    assert b"secret-" not in head


# -- from workspaces --------------------------------------------------------------------------------------------------


def answer_with(*fields: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(item + b"\r\n" for item in fields) + b"Content-Length: 0\r\n\r\n"


async def test_what_speaks_for_the_whole_origin_is_dropped(rig: Rig) -> None:
    fields = [
        b"Service-Worker-Allowed: /",
        b'Clear-Site-Data: "*"',
        b"Strict-Transport-Security: max-age=1",
        b'alt-svc: h3=":443"',
        b"Set-Cookie2: a=b",
        b"NEL: {}",
        b"Report-To: {}",
        b"Public-Key-Pins: max-age=1",
        b"Expect-CT: max-age=1",
        b"Set-Login: logged-in",
        b"X-Accel-Redirect: /internal/",
        b"X-Accel-Expires: 3600",
        b"X-Sendfile: /etc/passwd",
        b"X-Kept: yes",
        b"Date: x",
    ]
    rig.alice.script = answering(rig.alice, answer_with(*fields))
    response = await rig.ask(request())
    assert response.head == b"HTTP/1.1 200 OK\r\nX-Kept: yes\r\nDate: x\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "trailer",
    [
        b"Service-Worker-Allowed: /",
        b'clear-site-data: "*"',
        b"X-Accel-Redirect: /x",
        b"Set-Cookie: mux_session=x",
        b"Location: //x",
    ],
)
async def test_what_is_dropped_from_a_workspaces_head_is_no_trailer_either(rig: Rig, trailer: bytes) -> None:
    """RFC 9110 section 6.5.1: a recipient may merge trailers into the head."""
    rig.alice.script = answering(
        rig.alice, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", b"0\r\n" + trailer + b"\r\n\r\n"
    )
    client = await rig.client()
    await client.send(request())
    assert trailer.partition(b":")[0].lower() not in (await client.closed()).lower()


@pytest.mark.parametrize(
    ("path", "sent", "seen"),
    [
        (b"/lab", b"a=b; Path=/camp/intro/; HttpOnly", "a=b; Path=/camp/intro/; HttpOnly"),
        (b"/lab", b"a=b", "a=b"),
        (b"", b"a=b", "a=b; Path=/camp/intro/"),
        (b"/lab", b"a=b; Path=/; Secure", "a=b; Secure; Path=/camp/intro/"),
        (b"/lab", b"a=b; PATH = /camp ; Secure", "a=b; Secure; Path=/camp/intro/"),
        (b"/lab", b"a=b; path=/camp/introx", "a=b; Path=/camp/intro/"),
        (b"/lab", b"a=b; path=/camp/intro/x; path=/", "a=b; path=/camp/intro/x; Path=/camp/intro/"),
        (b"/lab", b"a=b; path=", "a=b; Path=/camp/intro/"),
        (b"/lab", b"a=b; Domain=camp.test", None),
        (b"/lab", b"a=b; domain", None),
        (b"/lab", b"mux_session=evil; Path=/camp/intro/", None),
        (b"/lab", b"MUX_Session=evil", None),
        (b"/lab", b"__Host-mux-csrf=evil; Path=/; Secure", None),
        (b"/lab", b" mux_session =evil", None),
        (b"/lab", b"=mux_session=evil", None),
        (b"/lab", b"mux_session", None),
        (b"/lab", b"a=b" + b";" * 33, None),
    ],
)
async def test_a_workspaces_cookies_are_confined(rig: Rig, path: bytes, sent: bytes, seen: str | None) -> None:
    """RFC 6265 sections 4.1.2 and 5.1.4: Path inside the project, no Domain, none of the mux's names."""
    rig.alice.script = answering(rig.alice, answer_with(b"Set-Cookie: " + sent, b"Set-Cookie: z=1; Path=/camp/intro/"))
    response = await rig.ask(request(b"GET /camp/intro" + path))
    assert response.values("set-cookie") == [value for value in (seen, "z=1; Path=/camp/intro/") if value is not None]


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("http://127.0.0.1:{port}/camp/intro/tree", "http://camp.test:8000/camp/intro/tree"),
        ("http://camp.test:8080/camp/intro/jupyter/tree?a=b", "http://camp.test:8000/camp/intro/jupyter/tree?a=b"),
        ("http://localhost:8080/camp/intro/jupyter/lab", "http://camp.test:8000/camp/intro/jupyter/lab"),
        ("http://127.0.0.1:8080/camp/intro", "http://camp.test:8000/camp/intro"),
        ("http://localhost:8080/callback", "http://localhost:8080/callback"),
        ("http://localhost.evil.test/camp/intro/", "http://localhost.evil.test/camp/intro/"),
        ("https://camp.test:8000/x", "http://camp.test:8000/x"),
        ("http://127.0.0.1:{port}//evil.test/", "http://camp.test:8000//evil.test/"),
        ("http://camp.test:8080/elsewhere", "http://camp.test:8080/elsewhere"),
        ("http://camp.test:8080/camp/introx", "http://camp.test:8080/camp/introx"),
        ("http://example.org/camp/intro/", "http://example.org/camp/intro/"),
        ("http://camp.test:8000@evil.test/camp/intro/", "http://camp.test:8000@evil.test/camp/intro/"),
        ("/camp/intro/tree", "/camp/intro/tree"),
        ("tree?x=http://127.0.0.1:{port}/", "tree?x=http://127.0.0.1:{port}/"),
    ],
)
async def test_locations_are_mapped_back(rig: Rig, sent: str, seen: str) -> None:
    """RFC 9110 section 10.2.2; the images of RISECamp redirect to ``http://<host>:8080/…``."""
    location = b"Location: " + sent.format(port=rig.alice.port).encode()
    rig.alice.script = answering(rig.alice, answer_with(location, status=b"302 Found"))
    response = await rig.ask(request())
    assert response.values("location") == [seen.format(port=rig.alice.port)]


async def test_the_pages_responses_are_not_confined(rig: Rig) -> None:
    fields = [
        b"Set-Cookie: mux_session=new; Path=/; HttpOnly",
        b'Clear-Site-Data: "cookies"',
        b"Location: http://a/",
        b"Date: x",
    ]
    rig.web.script = answering(
        rig.web, answer_with(*fields, b"Connection: X-Hop", b"X-Hop: 1", b"Keep-Alive: timeout=5")
    )
    response = await rig.ask(request(b"GET /camp/"))
    assert response.head == b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(fields) + b"\r\nContent-Length: 0\r\n\r\n"


async def test_a_project_with_a_landing_has_its_bare_path_answered_by_the_pages(rig: Rig) -> None:
    routes = {**rig.table.routes, (ALICE, SPARK): rig.route(rig.alice, "ws-spark")}
    await rig.publish(RouteTable(sessions=rig.table.sessions, routes=routes))
    assert (await rig.ask(request(b"GET /camp/spark/"))).body == b"web"
    assert (await rig.ask(request(b"GET /camp/spark/?a=b"))).body == b"web"
    for path in (b"/camp/spark", b"/camp/spark/jupyter/", b"/camp/intro/"):
        assert (await rig.ask(request(b"GET " + path))).body == b"alice"


async def test_no_route_reaches_the_pages(rig: Rig) -> None:
    await rig.publish(RouteTable(sessions=rig.table.sessions))
    assert (await rig.ask(request())).body == b"web"
    raw = (
        b"GET /camp/intro/ws HTTP/1.1\r\n" + HOST + cookie() + b"".join(item + b"\r\n" for item in WEBSOCKET) + b"\r\n"
    )
    assert (await rig.ask(raw)).body == b"web"
