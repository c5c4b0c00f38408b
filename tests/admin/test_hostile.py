"""Requests that nobody honest sends: each is refused with a code, changes nothing, and brings nothing down."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from mux.web import admin_api
from mux.web.admin_api_endpoint import BODY_BYTES_MAX
from tests.admin.support import Admin, token_for

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def token(admin: Admin) -> str:
    return await token_for(admin, "read", "fleet", "roster", "apply")


def is_refusal(body: Any) -> bool:
    """Whether a body is the one form of a refusal."""
    return set(body) == {"error"} and set(body["error"]) == {"code", "message", "detail"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "body_invalid"),
        (b"{", 400, "json_invalid"),
        (b"\xff\xfe", 400, "json_invalid"),
        (b"[]", 422, "body_invalid"),
        (b"null", 422, "body_invalid"),
        (b'{"doors": "ajar"}', 422, "body_invalid"),
        (b'{"doors": 1}', 422, "body_invalid"),
        (b'{"doors": "open", "force": true}', 422, "body_invalid"),
        (b'{"doors": NaN}', 422, "body_invalid"),
        (b'{"doors": "\\ud800"}', 400, "json_invalid"),
        (b"[" * 50_000, 400, "json_invalid"),
        (b'{"doors": ' + b"9" * 10_000 + b"}", 400, "json_invalid"),
    ],
)
async def test_a_body_that_is_not_as_described_is_refused(
    admin: Admin, token: str, body: bytes, status: int, code: str
) -> None:
    answer = await admin.remote("POST", "/doors", token=token, data=body, headers=JSON)
    assert (answer.status, answer.code) == (status, code)
    assert is_refusal(answer.json)
    assert admin.engine.events == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_write_that_a_form_could_send_is_refused(admin: Admin, token: str, kind: str) -> None:
    answer = await admin.remote(
        "POST", "/doors", token=token, data=b'{"doors": "open"}', headers={"Content-Type": kind}
    )
    assert (answer.status, answer.code) == (415, "not_json")
    assert admin.engine.events == []


async def test_a_write_without_a_type_is_refused(admin: Admin, token: str) -> None:
    request = f"POST /api/v1/fleet/park HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
    answer = await admin.raw(f"{request}Content-Length: 0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 415 ")


async def test_a_body_that_says_that_it_is_too_large_is_refused_unread(admin: Admin, token: str) -> None:
    head = (
        f"POST /api/v1/doors HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n"
    )
    answer = await admin.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"body_too_large"' in answer


async def test_a_body_that_does_not_say_so_is_refused_at_the_bound(admin: Admin, token: str) -> None:
    async def chunks() -> Any:
        for _ in range(BODY_BYTES_MAX // 1024 + 2):
            yield b" " * 1024

    answer = await admin.remote("POST", "/doors", token=token, data=chunks(), headers=JSON)
    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_body_that_never_comes_is_waited_for_only_so_long(
    admin: Admin, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_api, "BODY_TIMEOUT_S", 0.01)
    answer = await admin.raw(
        f"POST /api/v1/doors HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{".encode()
    )
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"body_late"' in answer


async def test_a_packed_body_is_refused(admin: Admin, token: str) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    headers = {**JSON, "Content-Encoding": "gzip"}
    answer = await admin.remote("POST", "/doors", token=token, data=bomb, headers=headers)
    assert (answer.status, answer.code) == (415, "encoded")


async def test_a_body_where_none_belongs_is_refused(admin: Admin, token: str) -> None:
    answer = await admin.remote("POST", "/fleet/park", {"ships": ["ship-0001"]}, token=token)
    assert (answer.status, answer.code) == (400, "body_unexpected")
    answer = await admin.remote("DELETE", "/roster/ada", token=token, data=b'{"release": true}')
    assert (answer.status, answer.code) == (400, "body_unexpected")


@pytest.mark.parametrize("query", ["?relaese=true", "?release=1", "?release=yes", "?release=true&release=maybe", "?x"])
async def test_a_query_that_is_not_known_is_refused(admin: Admin, token: str, query: str) -> None:
    await admin.local("POST", "/roster", {"name": "ada"})
    answer = await admin.remote("DELETE", f"/roster/ada{query}", token=token)
    assert answer.status == 400
    assert is_refusal(answer.json)
    assert await admin.store.find_user("ada") is not None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "", 404),
        ("GET", "/", 404),
        ("GET", "/status/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/doors", 405),
        ("PUT", "/doors", 405),
        ("OPTIONS", "/doors", 405),
        ("TRACE", "/status", 405),
        ("POST", "/status", 405),
    ],
)
async def test_what_is_not_there_is_refused_in_the_one_form(
    admin: Admin, token: str, method: str, path: str, status: int
) -> None:
    request = (
        f"{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n"
    )
    head, _, body = (await admin.raw(request.encode())).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert is_refusal(json.loads(body))
    assert (b"\r\nAllow: " in head) == (status == 405)


@pytest.mark.parametrize(
    "name", ["%00", "%1b%5b31m", "..%2f..%2fetc", "a" * 3000, "%ff", "%e2%80%ae", "'%20OR%201=1--"]
)
async def test_hostile_names_are_unknown_and_not_quoted_raw(admin: Admin, token: str, name: str) -> None:
    for method, path in (("POST", f"/ships/{name}/cordon"), ("POST", f"/roster/{name}/reset")):
        answer = await admin.remote(method, path, token=token)
        assert answer.status == 404
        assert is_refusal(answer.json)
        message = answer.json["error"]["message"]
        assert message.isprintable()
        assert len(message) < 300
    assert admin.engine.events == []


async def test_secrets_in_a_wrong_body_are_not_quoted(admin: Admin, token: str) -> None:
    body = {"text": 5, "secrets": {"intro": {"ada": {"KEY": ["hunter2"]}}}, "passcode": "hunter2"}
    answer = await admin.remote("POST", "/event/plan", body, token=token)
    assert answer.status == 422
    assert "hunter2" not in answer.text
    assert answer.json["error"]["detail"]


async def test_a_thousand_faults_are_bounded(admin: Admin, token: str) -> None:
    body = {"name": "x", "scopes": ["read"], **{"f" * 200 + str(n): n for n in range(200)}}
    answer = await admin.local("POST", "/tokens", body)
    assert answer.status == 422
    assert len(answer.json["error"]["detail"]) == 50
    assert len(answer.text) < 20_000


async def test_answers_are_kept_by_nobody_and_framed_by_nobody(admin: Admin, token: str) -> None:
    for answer in (await admin.remote("GET", "/status", token=token), await admin.remote("GET", "/status")):
        assert answer.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Set-Cookie" not in answer.headers


async def test_a_connection_that_ends_early_changes_nothing(admin: Admin, token: str) -> None:
    head = (
        f"POST /api/v1/doors HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{"
    )
    import asyncio

    _reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
    writer.write(head.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await admin.remote("GET", "/status", token=token)).status == 200
    assert admin.engine.events == []
