"""Who may call what: every route with every scope, wrong proofs, cookies, the peer of the socket, and the limit."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mux.web import admin_api_guard
from mux.web.admin_api import ENDPOINTS
from mux.web.admin_api_endpoint import Endpoint, Scope
from mux.web.admin_api_guard import FAILURES_PER_WINDOW, WINDOW_S, Failures
from tests.admin.support import Admin, running_admin, token_for

SCOPES = ("read", "fleet", "roster", "apply", "files")


def filled(endpoint: Endpoint) -> str:
    """The endpoint's path with values that exist nowhere."""
    path = endpoint.path
    for name in endpoint.parameters:
        path = path.replace(f"{{{name}}}", "nobody")
    return path


@pytest.mark.parametrize("scope", [*SCOPES, None])
async def test_a_token_opens_the_routes_of_its_scope_and_no_others(admin: Admin, scope: str | None) -> None:
    token = await token_for(admin, scope) if scope else ""
    for endpoint in ENDPOINTS:
        answer = await admin.remote(endpoint.method, filled(endpoint), token=token)
        if endpoint.scope is None:
            assert answer.status == 200, endpoint
        elif scope is None:
            assert (answer.status, answer.code) == (401, "unauthorized"), endpoint
        elif endpoint.scope.value == scope:
            assert answer.status not in {401, 403}, endpoint
        else:
            assert answer.status == 403, endpoint
            assert answer.code == ("local_only" if endpoint.scope is Scope.LOCAL else "scope_missing")


async def test_the_unix_socket_opens_every_route(admin: Admin) -> None:
    for endpoint in ENDPOINTS:
        answer = await admin.local(endpoint.method, filled(endpoint))
        assert answer.status not in {401, 403}, endpoint


def test_only_the_health_check_is_open_and_only_tokens_are_local() -> None:
    assert [e.path for e in ENDPOINTS if e.scope is None] == ["/healthz"]
    assert {e.path for e in ENDPOINTS if e.scope is Scope.LOCAL} == {"/tokens", "/tokens/{name}"}


def test_no_write_needs_only_the_scope_read() -> None:
    assert [e for e in ENDPOINTS if e.method != "GET" and e.scope in {Scope.READ, None}] == []


async def test_nobody_learns_without_a_proof_which_paths_exist(admin: Admin) -> None:
    known = await admin.remote("POST", "/doors")
    unknown = await admin.remote("POST", "/no/such/path")
    wrong_method = await admin.remote("DELETE", "/doors")
    assert known.status == unknown.status == wrong_method.status == 401
    assert known.text == unknown.text == wrong_method.text


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer mux_" + "A" * 43,
        "Bearer a b",
        "Bearer " + "A" * 5000,
        "Basic bXV4Om11eA==",
        "bearer=x",
        "Bearer \xe9",
    ],
)
async def test_a_wrong_proof_is_refused_and_says_how_to_do_better(admin: Admin, header: str) -> None:
    answer = await admin.remote("GET", "/status", headers={"Authorization": header})
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_the_scheme_is_case_insensitive_as_rfc_9110_has_it(admin: Admin) -> None:
    token = await token_for(admin, "read")
    answer = await admin.remote("GET", "/status", headers={"Authorization": f"bEARER  {token}"})
    assert answer.status == 200


async def test_two_authorization_headers_are_refused_even_if_one_is_right(admin: Admin) -> None:
    token = await token_for(admin, "read")
    answer = await admin.raw(
        b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Authorization: Bearer %b\r\nAuthorization: Bearer %b\r\n\r\n" % (token.encode(), token.encode())
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_token_in_the_address_or_the_body_is_none(admin: Admin) -> None:
    token = await token_for(admin, "read", "fleet")
    assert (await admin.remote("GET", f"/status?access_token={token}")).status == 401
    assert (await admin.remote("POST", "/doors", {"doors": "open", "access_token": token})).status == 401
    assert admin.engine.events == []


async def test_a_voided_token_is_refused_at_once(admin: Admin) -> None:
    token = await token_for(admin, "read")
    assert (await admin.remote("GET", "/status", token=token)).status == 200
    assert (await admin.local("DELETE", "/tokens/t-read")).status == 200
    assert (await admin.remote("GET", "/status", token=token)).status == 401


async def test_refusals_hold_no_token_and_logs_neither(admin: Admin) -> None:
    with capture_logs() as logs:
        answer = await admin.remote("GET", "/status", token="mux_secretsecret")
        token = await token_for(admin, "fleet")
        await admin.remote("POST", "/doors", {"doors": "open"}, token=token)
    assert "secretsecret" not in answer.text
    assert logs
    assert token not in str(logs)
    assert "secretsecret" not in str(logs)


# --- the organizers' browser session ----------------------------------------------------------------------------------


async def organizer(request: web.Request) -> Collection[str]:
    """As the daemon wires it: whoever has the cookie may read."""
    return {"read", "roster", "local", "nonsense"} if request.cookies.get("mux_organizer") == "yes" else ()


COOKIE: dict[str, Any] = {"headers": {"Cookie": "mux_organizer=yes"}}


async def test_an_organizers_session_may_read_what_its_scopes_say(tmp_path: Path) -> None:
    async with running_admin(tmp_path, browser_scopes=organizer) as admin:
        assert (await admin.remote("GET", "/status", **COOKIE)).status == 200
        assert (await admin.remote("HEAD", "/status", **COOKIE)).status == 200
        assert (await admin.remote("GET", "/event", **COOKIE)).code == "scope_missing"
        # A callback can grant what a token can have, and no more.
        assert (await admin.remote("GET", "/tokens", **COOKIE)).code == "local_only"
        assert (await admin.remote("GET", "/status", headers={"Cookie": "mux_organizer=no"})).status == 401


async def test_a_cookie_is_never_enough_for_a_write(tmp_path: Path) -> None:
    async with running_admin(tmp_path, browser_scopes=organizer) as admin:
        for endpoint in ENDPOINTS:
            if endpoint.method != "GET":
                answer = await admin.remote(endpoint.method, filled(endpoint), **COOKIE)
                assert answer.status == 401, endpoint
        assert admin.engine.events == []


async def test_a_wrong_token_is_not_made_good_by_a_cookie(tmp_path: Path) -> None:
    async with running_admin(tmp_path, browser_scopes=organizer) as admin:
        headers = {"Cookie": "mux_organizer=yes", "Authorization": "Bearer wrong"}
        assert (await admin.remote("GET", "/status", headers=headers)).status == 401


async def test_the_scopes_of_token_and_cookie_are_not_added_up(tmp_path: Path) -> None:
    async with running_admin(tmp_path, browser_scopes=organizer) as admin:
        token = await token_for(admin, "fleet")
        headers = {"Cookie": "mux_organizer=yes"}
        assert (await admin.remote("GET", "/status", token=token, headers=headers)).status == 403


# --- the unix socket --------------------------------------------------------------------------------------------------


async def test_the_socket_is_its_owners_alone(admin: Admin) -> None:
    mode = admin.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(admin.socket.parent.stat().st_mode) == 0o700
    assert [path.name for path in admin.socket.parent.iterdir()] == [admin.socket.name]


async def test_a_peer_that_is_neither_root_nor_mux_is_refused(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()

    class OtherPeer:
        """``struct ucred`` of somebody else: file permissions would have to fail for such a peer."""

        size = 12

        @staticmethod
        def unpack(raw: bytes) -> tuple[int, int, int]:
            return 1, own + 4321, 1

    assert (await admin.local("GET", "/status")).status == 200
    monkeypatch.setattr(admin_api_guard, "_PEER_CREDENTIALS", OtherPeer)
    answer = await admin.local("GET", "/status")
    assert (answer.status, answer.code) == (403, "peer_refused")


async def test_full_rights_are_never_given_over_tcp(tmp_path: Path) -> None:
    """Even if somebody mounts the trusted routes on a TCP listener."""
    from mux.web.admin_api import admin_api

    async with running_admin(tmp_path) as admin:
        app = web.Application()
        app.add_routes(admin_api(admin.deps, trusted=True))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        admin.port = runner.addresses[0][1]
        answer = await admin.remote("GET", "/status")
        await runner.cleanup()
    assert (answer.status, answer.code) == (403, "not_local")


# --- the limit --------------------------------------------------------------------------------------------------------


async def test_too_many_failures_are_answered_without_a_look_until_the_window_ends(admin: Admin) -> None:
    good = await token_for(admin, "read")
    assert (await admin.remote("GET", "/status", token=good)).status == 200
    for _ in range(FAILURES_PER_WINDOW):
        assert (await admin.remote("GET", "/status", token="wrong")).status == 401
    limited = await admin.remote("GET", "/status", token="wrong")
    assert (limited.status, limited.code) == (429, "too_many_failures")
    assert 0 < int(limited.headers["Retry-After"]) <= WINDOW_S + 1
    # Somebody behind the same address whose token was right before goes on.
    assert (await admin.remote("GET", "/status", token=good)).status == 200
    fresh = await token_for(admin, "fleet")
    assert (await admin.remote("POST", "/fleet/pause", token=fresh)).status == 429
    admin.clock += WINDOW_S
    assert (await admin.remote("POST", "/fleet/pause", token=fresh)).status == 200


async def test_the_local_command_line_is_not_limited_by_failures_over_tcp(admin: Admin) -> None:
    for _ in range(FAILURES_PER_WINDOW + 1):
        await admin.remote("GET", "/status", token="wrong")
    assert (await admin.local("GET", "/status")).status == 200


def test_addresses_are_counted_apart_and_forgotten_at_the_bound() -> None:
    failures = Failures(per_window=2, window_s=60, addresses_max=3)
    for address in ("a", "a", "b", "c"):
        failures.count(address, 0.0)
    assert failures.wait_s("a", 1.0) == 59.0
    assert failures.wait_s("b", 1.0) == 0.0
    failures.count("d", 2.0)
    assert failures.wait_s("a", 2.0) == 0.0  # the oldest was forgotten
    assert failures.total == 5


def test_a_window_that_is_over_counts_from_one_again() -> None:
    failures = Failures(per_window=2, window_s=60)
    failures.count("a", 0.0)
    assert failures.count("a", 59.0) == 2
    assert failures.wait_s("a", 59.0) == 1.0
    assert failures.count("a", 60.0) == 1
    assert failures.wait_s("a", 60.0) == 0.0


def test_a_clock_that_was_set_back_locks_nobody_out() -> None:
    failures = Failures(per_window=1, window_s=60)
    failures.count("a", 10_000.0)
    assert failures.wait_s("a", 10_000.0) == 60.0
    assert failures.wait_s("a", 100.0) == 0.0
    failures.count("a", 100.0)
    assert failures.wait_s("a", 100.0) == 60.0


@pytest.mark.parametrize(
    ("remote", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
    ],
)
def test_failures_are_counted_by_what_a_host_owns(remote: str | None, counted: str) -> None:
    class Request:
        """What the guard looks at."""

        def __init__(self) -> None:
            self.remote = remote

    assert admin_api_guard._address(Request()) == counted  # type: ignore[arg-type]
