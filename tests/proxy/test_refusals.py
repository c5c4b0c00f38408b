"""Every refusal of the data plane, on the wire: status, code, the connection's end; nothing reaches an upstream."""

from __future__ import annotations

import base64
import inspect
import re
import sys

import pytest

from mux.proxy import limits
from tests.proxy.rig import HOST, Rig, cookie, request

BOTH_WAYS = True

WEBSOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef"),
    b"Origin: http://camp.test:8000",
)


async def refused(rig: Rig, raw: bytes, status: int, code: str) -> None:
    """Send bytes; the plane answers with a refusal, closes, and has told no upstream."""
    client = await rig.client()
    await client.send(raw)
    response = await client.response()
    assert (response.status, response.code) == (status, code)
    assert response.values("connection") == ["close"]
    assert await client.closed() == b""
    assert rig.reached == []


def line(start: bytes) -> bytes:
    return start + b"\r\n" + HOST + cookie() + b"\r\n"


async def test_a_bare_cr_is_refused(rig: Rig) -> None:
    """RFC 9112 section 2.2: a bare CR is invalid."""
    await refused(rig, request(b"GET /camp/intro/", b"X: a\rb"), 400, "bare_cr")


async def test_a_bare_lf_is_refused(rig: Rig) -> None:
    """RFC 9112 section 2.2: a recipient MAY take LF as a line end; two that differ on it can be played off."""
    await refused(rig, b"GET / HTTP/1.1\nHost: camp.test:8000\n\n", 400, "bare_lf")


async def test_a_nul_is_refused(rig: Rig) -> None:
    """RFC 9110 section 5.5: CR, LF and NUL in field values are dangerous."""
    await refused(rig, request(b"GET /camp/intro/", b"X: a\0b"), 400, "control_character")


async def test_a_vertical_tab_around_a_coding_is_refused(rig: Rig) -> None:
    """RFC 9110 section 5.5: other control characters are not field values either."""
    raw = request(b"POST /camp/intro/", b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")
    await refused(rig, raw, 400, "control_character")


async def test_a_folded_field_is_refused(rig: Rig) -> None:
    """RFC 9112 section 5.2: a server MUST reject obs-fold, or replace it."""
    await refused(rig, request(b"GET /camp/intro/", b"X: a", b" b"), 400, "obs_fold")


async def test_a_fold_before_the_first_field_is_refused(rig: Rig) -> None:
    """RFC 9112 section 2.2: white space between the start line and the first field."""
    await refused(rig, b"GET / HTTP/1.1\r\n " + HOST + b"\r\n", 400, "obs_fold")


async def test_white_space_before_a_colon_is_refused(rig: Rig) -> None:
    """RFC 9112 section 5.1: a server MUST reject it with 400."""
    raw = request(b"POST /camp/intro/", b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")
    await refused(rig, raw, 400, "space_before_colon")


async def test_a_space_in_a_field_name_is_refused(rig: Rig) -> None:
    """RFC 9110 section 5.1: a field name is a token."""
    await refused(rig, request(b"GET /camp/intro/", b"Content Length: 5"), 400, "bad_field_name")


async def test_an_empty_field_name_is_refused(rig: Rig) -> None:
    """RFC 9110 section 5.1: a token has a character at least."""
    await refused(rig, request(b"GET /camp/intro/", b": x"), 400, "bad_field_name")


async def test_a_field_line_without_a_colon_is_refused(rig: Rig) -> None:
    """RFC 9112 section 5: field-line = field-name ":" OWS field-value OWS."""
    await refused(rig, request(b"GET /camp/intro/", b"nocolon"), 400, "bad_field_line")


@pytest.mark.parametrize(
    "start",
    [
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET /a b HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /",
        b"GET / http/1.1",
        b"G@T / HTTP/1.1",
    ],
)
async def test_a_malformed_request_line_is_refused(rig: Rig, start: bytes) -> None:
    """RFC 9112 section 3: method SP request-target SP HTTP-version."""
    await refused(rig, line(start), 400, "bad_request_line")


async def test_a_second_empty_line_before_a_request_is_refused(rig: Rig) -> None:
    """RFC 9112 section 2.2: an empty line is skipped, a stream of them is not."""
    await refused(rig, b"\r\n\r\n" + request(), 400, "bad_request_line")


async def test_tls_on_the_plain_port_is_refused_at_once(rig: Rig) -> None:
    """RFC 9112 section 3: what does not begin with a token is no request."""
    await refused(rig, b"\x16\x03\x01\x02\x00\x01\x00", 400, "bad_request_line")


@pytest.mark.parametrize("start", [b"GET /\r\n", b"GET /camp/intro/ HTTP/1.1 x\r\nHost: camp"])
async def test_a_first_line_that_is_none_is_refused_before_the_head_is_whole(rig: Rig, start: bytes) -> None:
    """RFC 9112 section 3: an HTTP/0.9 client sends one line and waits for its answer."""
    await refused(rig, start, 400, "bad_request_line")


@pytest.mark.parametrize("version", [b"2.0", b"1.2", b"0.9", b"3.0"])
async def test_another_version_is_refused(rig: Rig, version: bytes) -> None:
    """RFC 9110 section 15.6.6: HTTP Version Not Supported."""
    await refused(rig, line(b"GET / HTTP/" + version), 505, "bad_version")


@pytest.mark.parametrize("target", [b"camp.test:8000", b"/"])
async def test_connect_is_refused(rig: Rig, target: bytes) -> None:
    """RFC 9110 section 9.3.6: CONNECT is for proxies that clients choose."""
    await refused(rig, line(b"CONNECT " + target + b" HTTP/1.1"), 405, "method_refused")


async def test_trace_is_refused(rig: Rig) -> None:
    """RFC 9110 section 9.3.8: TRACE would show a client what the proxy adds, the workspace's token included."""
    await refused(rig, line(b"TRACE /camp/intro/ HTTP/1.1"), 405, "method_refused")


@pytest.mark.parametrize("method", [b"PRI", b"get", b"BREW"])
async def test_an_unknown_method_is_refused(rig: Rig, method: bytes) -> None:
    """RFC 9110 section 9.1: 501 for a method that is not recognised; methods are case-sensitive."""
    await refused(rig, line(method + b" / HTTP/1.1"), 501, "method_unknown")


@pytest.mark.parametrize(
    "target",
    [b"/a#b", b"/caf\xc3\xa9", b"camp/intro", b"ftp://camp.test:8000/", b"/camp\\intro", b"http:/camp.test:8000/"],
)
async def test_an_odd_target_is_refused(rig: Rig, target: bytes) -> None:
    """RFC 9112 section 3.2 and RFC 3986 section 3.3: no fragment, no raw non-ASCII, no backslash, no other form."""
    await refused(rig, line(b"GET " + target + b" HTTP/1.1"), 400, "bad_target")


async def test_the_asterisk_is_for_options_only(rig: Rig) -> None:
    """RFC 9112 section 3.2.4: asterisk-form is only used for a server-wide OPTIONS."""
    await refused(rig, line(b"GET * HTTP/1.1"), 400, "bad_target")


@pytest.mark.parametrize("authority", [b"other.test", b"user@camp.test:8000", b"camp.test", b""])
async def test_a_target_for_another_host_than_host_is_refused(rig: Rig, authority: bytes) -> None:
    """RFC 9112 section 3.2.2: the target's authority and Host must be the same; userinfo is refused with it."""
    await refused(rig, line(b"GET http://" + authority + b"/camp/intro/ HTTP/1.1"), 400, "target_host")


async def test_a_target_with_the_wrong_scheme_is_misdirected(rig: Rig) -> None:
    """RFC 9110 section 7.4: a request for an origin that is not served here."""
    await refused(rig, line(b"GET https://camp.test:8000/camp/intro/ HTTP/1.1"), 421, "wrong_host")


async def test_a_missing_host_is_refused(rig: Rig) -> None:
    """RFC 9112 section 3.2: 400 for a request that lacks Host; HTTP/1.0 is no exception here."""
    await refused(rig, b"GET / HTTP/1.1\r\n\r\n", 400, "host_missing")
    await refused(rig, b"GET / HTTP/1.0\r\n\r\n", 400, "host_missing")


async def test_a_doubled_host_is_refused(rig: Rig) -> None:
    """RFC 9112 section 3.2: 400 for more than one Host, equal ones too."""
    await refused(rig, request(b"GET /camp/intro/", b"Host: camp.test:8000"), 400, "host_doubled")


@pytest.mark.parametrize(
    "host",
    [b"", b"camp.test:8000, other", b"user@camp.test:8000", b"camp.test:8000/x", b"camp.test:x", b"a b", b"[::1"],
)
async def test_a_malformed_host_is_refused(rig: Rig, host: bytes) -> None:
    """RFC 9112 section 3.2 with RFC 3986 section 3.2.2: uri-host [ ":" port ], nothing else."""
    await refused(rig, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400, "host_malformed")


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:8000", b"camp.test", b"camp.test:80", b"other.test:8000", b"camp.test.:8000"]
)
async def test_another_host_is_misdirected(rig: Rig, host: bytes) -> None:
    """RFC 9110 section 15.5.20: 421. Cookies ignore ports (RFC 6265 section 8.5): one name alone serves workspaces."""
    raw = b"GET /camp/intro/ HTTP/1.1\r\nHost: " + host + b"\r\n" + cookie() + b"\r\n"
    await refused(rig, raw, 421, "wrong_host")


async def test_content_length_beside_chunked_is_refused(rig: Rig) -> None:
    """RFC 9112 section 6.1: it ought to be handled as an error (request smuggling)."""
    raw = request(b"POST /camp/intro/", b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")
    await refused(rig, raw, 400, "length_with_coding")


@pytest.mark.parametrize("second", [b"5", b"6"])
async def test_a_doubled_content_length_is_refused(rig: Rig, second: bytes) -> None:
    """RFC 9112 section 6.3, rule 5: differing ones are an unrecoverable error; equal ones are as odd."""
    raw = request(b"POST /camp/intro/", b"Content-Length: 5", b"Content-Length: " + second, body=b"hello")
    await refused(rig, raw, 400, "length_doubled")


@pytest.mark.parametrize("length", [b"", b"+5", b"-5", b"5, 5", b"0x5", b"5 5", b"05", b"1e3", b"9" * 16, b"5_0"])
async def test_an_odd_content_length_is_refused(rig: Rig, length: bytes) -> None:
    """RFC 9110 section 8.6: Content-Length = 1*DIGIT; leading zeros and overflows are read differently."""
    raw = request(b"POST /camp/intro/", b"Content-Length: " + length, body=b"hello")
    await refused(rig, raw, 400, "length_malformed")


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"cow", b""])
async def test_another_transfer_coding_is_refused(rig: Rig, coding: bytes) -> None:
    """RFC 9112 section 6.1: 501 for a transfer coding that is not understood."""
    raw = request(b"POST /camp/intro/", b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n")
    await refused(rig, raw, 501, "coding_unsupported")


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"chunked, chunked", b"xchunked", b"chunked;q=1", b'"chunked"'])
async def test_an_odd_chunked_is_refused(rig: Rig, coding: bytes) -> None:
    """RFC 9112 section 6.1: chunked once, as the final coding; anything near it is a smuggler's."""
    raw = request(b"POST /camp/intro/", b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n")
    await refused(rig, raw, 400, "coding_malformed")


async def test_a_doubled_transfer_coding_is_refused(rig: Rig) -> None:
    """RFC 9112 section 6.1: two field lines are a list of two codings."""
    fields = (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity")
    await refused(rig, request(b"POST /camp/intro/", *fields, body=b"0\r\n\r\n"), 400, "coding_doubled")


async def test_a_transfer_coding_in_http_1_0_is_refused(rig: Rig) -> None:
    """RFC 9112 section 6.1: faulty framing even with a version that has no transfer codings."""
    raw = b"POST /camp/intro/ HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    await refused(rig, raw, 400, "coding_in_http_1_0")


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"transfer-encoding", b"Cookie", b"Origin"])
async def test_connection_may_not_name_what_decides(rig: Rig, name: bytes) -> None:
    """RFC 9110 section 7.6.1: Connection must not name end-to-end fields; removing these would change the request."""
    await refused(rig, request(b"GET /camp/intro/", b"Connection: keep-alive, " + name), 400, "connection_names")


@pytest.mark.parametrize("items", [b"," * limits.LIST_ITEMS_MAX, b"x," * limits.LIST_ITEMS_MAX])
async def test_a_list_of_too_many_items_is_refused(rig: Rig, items: bytes) -> None:
    """RFC 9110 section 5.6.1.2: empty items are passed over, but not so many that others are kept waiting."""
    await refused(rig, request(b"GET /camp/intro/", b"Connection: " + items), 431, "list_too_long")


async def test_too_many_cookies_are_refused(rig: Rig) -> None:
    """RFC 6585 section 5: 431; empty ones count, in how many fields they may come (RFC 9110 section 5.3)."""
    cookies = b"Cookie: " + b";" * (limits.COOKIES_MAX // 2)
    await refused(rig, request(b"GET /camp/intro/", cookies, cookies), 431, "too_many_cookies")
    await refused(rig, request(b"GET /camp/intro/", cookies + cookies[8:], user=None), 431, "too_many_cookies")


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x"])
async def test_another_expectation_is_refused(rig: Rig, value: bytes) -> None:
    """RFC 9110 section 10.1.1: 417 for an expectation that cannot be met."""
    raw = request(b"POST /camp/intro/", b"Content-Length: 5", b"Expect: " + value)
    await refused(rig, raw, 417, "expectation")


async def test_a_head_that_is_too_large_is_refused(rig: Rig) -> None:
    """RFC 6585 section 5: 431. The bound is HEAD_BYTES_MAX, RFC 9110 section 5.4 leaves it to the server."""
    raw = request(b"GET /camp/intro/", b"X: " + b"a" * limits.HEAD_BYTES_MAX)
    await refused(rig, raw, 431, "head_too_large")


async def test_a_request_line_that_is_too_long_is_refused(rig: Rig) -> None:
    """RFC 9110 section 15.5.15: 414."""
    await refused(rig, request(b"GET /camp/intro/" + b"a" * limits.HEAD_BYTES_MAX), 414, "line_too_long")


async def test_too_many_fields_are_refused(rig: Rig) -> None:
    """RFC 6585 section 5: 431 for the fields together."""
    raw = request(b"GET /camp/intro/", *[b"X: y"] * limits.HEAD_FIELDS_MAX)
    await refused(rig, raw, 431, "too_many_fields")


async def test_a_websocket_of_another_version_is_refused(rig: Rig) -> None:
    """RFC 6455 section 4.4: 426 and the version that is spoken."""
    fields = [item.replace(b"13", b"8") if b"Version" in item else item for item in WEBSOCKET]
    client = await rig.client()
    response = await client.ask(request(b"GET /camp/intro/ws", *fields))
    assert (response.status, response.code) == (426, "websocket_version")
    assert (response.values("upgrade"), response.values("connection")) == (["websocket"], ["Upgrade, close"])
    assert response.values("sec-websocket-version") == ["13"]
    assert rig.reached == []


@pytest.mark.parametrize("key", [b"", b"short", b"A" * 24, b"!" * 22 + b"=="])
async def test_a_malformed_websocket_key_is_refused(rig: Rig, key: bytes) -> None:
    """RFC 6455 section 4.2.1: base64 of 16 bytes."""
    fields = [b"Sec-WebSocket-Key: " + key if b"Key" in item else item for item in WEBSOCKET]
    await refused(rig, request(b"GET /camp/intro/ws", *fields), 400, "websocket_key")


@pytest.mark.parametrize("start", [b"POST /camp/intro/ws", b"GET /camp/intro/ws"])
async def test_a_websocket_handshake_with_a_body_or_a_method_is_refused(rig: Rig, start: bytes) -> None:
    """RFC 6455 section 4.2.1: a handshake is a GET."""
    fields = (*WEBSOCKET, b"Content-Length: 2")
    await refused(rig, request(start, *fields, body=b"hi"), 400, "bad_upgrade")


CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"5\nhello\r\n0\r\n\r\n", "chunk_size"),
        (b"5 \r\nhello\r\n0\r\n\r\n", "chunk_size"),
        (b"+5\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        (b"0x5\r\nhello\r\n0\r\n\r\n", "chunk_size"),
        (b"\r\n", "chunk_size"),
        (b"ffffffffffffffff1\r\n", "chunk_size"),
        (b"5;a\x00b\r\nhello\r\n", "chunk_size"),
        (b"5;\xae=b\r\nhello\r\n", "chunk_size"),
        (b"5;\r\nhello\r\n", "chunk_size"),
        (b"5;a=b c\r\nhello\r\n", "chunk_size"),
        (b'5;a="b\r\nhello\r\n', "chunk_size"),
        (b"5\r\nhelloX\r\n", "chunk_end"),
        (b"5\r\nhello\n0\r\n\r\n", "chunk_end"),
        (b"5;" + b"a" * limits.CHUNK_LINE_BYTES_MAX + b"\r\n", "chunk_line_too_long"),
        ((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 90 + b"0\r\n\r\n", "chunk_extensions"),
        (b"0\r\nX : y\r\n\r\n", "space_before_colon"),
        (b"0\r\nX: y\n\r\n", "bad_trailer"),
        (b"0\r\nX: a\x00\r\n\r\n", "bad_trailer"),
        (b"0\r\nContent-Length: 5\r\n\r\n", "trailer_refused"),
        (b"0\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n", "trailer_refused"),
        (b"0\r\nTransfer_Encoding: chunked\r\n\r\n", "trailer_refused"),
    ],
)
async def test_a_malformed_chunked_body_is_refused(rig: Rig, body: bytes, code: str) -> None:
    """RFC 9112 section 7.1 (chunks), 7.1.1 (extensions are bounded) and RFC 9110 section 6.5.1 (trailers)."""
    client = await rig.client()
    response = await client.ask(request(b"POST /camp/intro/", CHUNKED, b"Origin: http://camp.test:8000", body=body))
    assert (response.status, response.code) == (400, code)
    assert await client.closed() == b""
    await rig.alice.all_closed()
    assert rig.alice.bodies == []


async def test_trailers_that_are_too_large_are_refused(rig: Rig) -> None:
    """RFC 9112 section 7.1.2: trailers are bounded, as RFC 6585 section 5 has it for fields."""
    body = b"0\r\n" + b"X: y\r\n" * (limits.TRAILER_BYTES_MAX // 6 + 1) + b"\r\n"
    client = await rig.client()
    response = await client.ask(request(b"POST /camp/intro/", CHUNKED, b"Origin: http://camp.test:8000", body=body))
    assert (response.status, response.code) == (431, "trailers_too_large")


async def test_a_person_with_too_many_cookies_is_told_what_to_do(rig: Rig) -> None:
    """RFC 6585 section 5: the page says what is too large, though the head could not be read."""
    client = await rig.client()
    cookies = b"Cookie: " + b"x=1; " * limits.COOKIES_MAX
    response = await client.ask(request(b"GET /camp/intro/lab", b"Accept: text/html,*/*;q=0.8", cookies))
    assert (response.status, response.values("content-type")) == (431, ["text/html; charset=utf-8"])
    assert b"delete this site&#x27;s cookies" in response.body


async def test_a_head_request_that_cannot_be_read_is_answered_without_a_body(rig: Rig) -> None:
    """RFC 9110 section 9.3.2."""
    client = await rig.client()
    await client.send(request(b"HEAD /camp/intro/", b"X : y"))
    response = await client.response(head_only=True)
    assert (response.status, await client.closed()) == (400, b"")


async def test_nothing_after_a_refusal_is_read_as_a_request(rig: Rig) -> None:
    """RFC 9112 section 9.6: what follows a message whose end is in doubt is not looked at."""
    client = await rig.client()
    await client.send(request(b"GET /camp/intro/", b"X : y") + request(b"GET /camp/intro/second"))
    assert (await client.response()).code == "space_before_colon"
    assert await client.closed() == b""
    assert rig.reached == []


async def test_a_body_that_breaks_off_is_not_completed(rig: Rig) -> None:
    """RFC 9112 section 8: an incomplete request is not one; the upstream's connection is ended."""
    client = await rig.client()
    await client.send(
        request(b"POST /camp/intro/", b"Content-Length: 10", b"Origin: http://camp.test:8000", body=b"half")
    )
    client.writer.write_eof()
    response = await client.response()
    assert (response.status, response.code) == (400, "body_incomplete")
    await rig.alice.all_closed()
    assert rig.alice.bodies == []


def test_each_refusal_names_its_rfc() -> None:
    """A reader can look up why."""
    module = sys.modules[__name__]
    tests = [
        test for name, test in vars(module).items() if name.startswith("test_") and inspect.iscoroutinefunction(test)
    ]
    assert len(tests) > 30
    assert [test.__name__ for test in tests if not re.search(r"RFC \d+ section", test.__doc__ or "")] == []
