"""What nginx and HAProxy make of requests that the data plane refuses, or answers otherwise: one table, with reasons.

The page ``docs/reference/proxy-peers.md`` shows it; ``python -m tests.proxy.peers`` prints its rows.
"""

from __future__ import annotations

from typing import NamedTuple

HOST = b"Host: a.test\r\n"
HI = b"2\r\nhi\r\n0\r\n\r\n"
SOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)


class Case(NamedTuple):
    """One request, and the status of its answer; 0 for none: the connection is closed, or more is waited for.

    ``what`` and ``why`` are cells of the page.
    """

    what: str
    raw: bytes
    mux: int
    nginx: int
    haproxy: int
    why: str


def get(*fields: bytes, line: bytes = b"GET /x HTTP/1.1", host: bytes = HOST, body: bytes = b"") -> bytes:
    """A request; ``fields`` without line ends."""
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def post(*fields: bytes, body: bytes = b"hi") -> bytes:
    """A request with a body."""
    return get(*fields, line=b"POST /x HTTP/1.1", body=body)


def target(text: bytes) -> bytes:
    """A GET of a target."""
    return get(line=b"GET " + text + b" HTTP/1.1")


CHUNKED = b"Transfer-Encoding: chunked"
SPLIT = "two parsers may read it differently, and one of them is in the workspace"
LATER = "no such version is defined, and llhttp knows none"
ADDRESS = "the address decides on origin and route; nothing is guessed of it"
PASSED_ON = "what a workspace makes of the path is its own affair: targets are never read as anything but bytes"
UNKNOWN = "a method that is not known may not be proof against other sites' requests, nor be repeated"
BODILESS = "nobody is served who cannot be answered with certainty: the expectation is not met"

CASES = (
    Case("HTTP/1.0 without Host", b"GET /x HTTP/1.0\r\n\r\n", 400, 200, 200, ADDRESS),
    Case("HTTP/1.1 without Host", b"GET /x HTTP/1.1\r\n\r\n", 400, 400, 200, ADDRESS),
    Case("two equal Hosts", get(host=HOST * 2), 400, 400, 200, ADDRESS),
    Case("an empty Host", get(host=b"Host:\r\n"), 400, 400, 200, ADDRESS),
    Case("`Host: u@a`", get(host=b"Host: u@a\r\n"), 400, 200, 200, ADDRESS),
    Case("`Host: a,b`", get(host=b"Host: a,b\r\n"), 400, 200, 200, ADDRESS),
    Case("`Host: a:`", get(host=b"Host: a:\r\n"), 400, 200, 200, ADDRESS),
    Case("an absolute target for another host than Host", target(b"http://b.test/x"), 400, 200, 400, ADDRESS),
    Case(
        "an absolute target with the default port, Host without", target(b"http://a.test:80/x"), 400, 200, 200, ADDRESS
    ),
    Case("`ftp://a.test/x`", target(b"ftp://a.test/x"), 400, 200, 200, ADDRESS),
    Case("`HTTP/1.2`", get(line=b"GET /x HTTP/1.2"), 505, 200, 200, LATER),
    Case("`get`", get(line=b"get /x HTTP/1.1"), 501, 400, 200, UNKNOWN),
    Case("`PURGE`", get(line=b"PURGE /x HTTP/1.1"), 501, 200, 200, UNKNOWN),
    Case(
        "`TRACE`",
        get(line=b"TRACE /x HTTP/1.1"),
        405,
        405,
        200,
        "it would show a page the cookies that it may not read",
    ),
    Case("two empty lines before a request", b"\r\n\r\n" + get(), 400, 200, 200, SPLIT),
    Case("two spaces in the request line", get(line=b"GET  /x HTTP/1.1"), 400, 200, 200, SPLIT),
    Case("lines that end with LF alone", get().replace(b"\r\n", b"\n"), 400, 200, 200, SPLIT),
    Case("a folded field", get(b"X: a\r\n b"), 400, 400, 200, SPLIT),
    Case("a vertical tab in a value", get(b"X: a\x0bb"), 400, 200, 200, SPLIT),
    Case("a field line without colon", get(b"X"), 400, 200, 400, SPLIT),
    Case("101 fields", get(*[b"X: a"] * 100), 431, 200, 400, "each costs processor time, and a browser sends about 20"),
    Case("a target of 9 KB", target(b"/" + b"a" * 9000), 200, 414, 200, "the head as a whole is bounded, by 32 KB"),
    Case("a fragment in the target", target(b"/x#y"), 400, 200, 400, SPLIT),
    Case("raw non-ASCII in the target", target(b"/\xc3\xbc"), 400, 200, 400, SPLIT),
    Case("a backslash in the path", target(b"/a\\b"), 400, 200, 200, "browsers read it as a slash"),
    Case("`/%zz`, `/%00`", target(b"/%zz"), 200, 400, 200, PASSED_ON),
    Case("`/../x`", target(b"/../x"), 200, 400, 200, PASSED_ON),
    Case("two equal Content-Lengths", post(b"Content-Length: 2", b"Content-Length: 2"), 400, 400, 200, SPLIT),
    Case("`Content-Length: 02`", post(b"Content-Length: 02"), 400, 200, 200, "some read it as octal"),
    Case("Content-Length beside chunked", post(CHUNKED, b"Content-Length: 2", body=HI), 400, 400, 200, SPLIT),
    Case("chunked in HTTP/1.0", post(CHUNKED, body=HI).replace(b"1.1", b"1.0"), 400, 400, 200, SPLIT),
    Case("`chunked, chunked`", post(CHUNKED + b", chunked", body=HI), 400, 501, 400, SPLIT),
    Case("`chunked,`", post(CHUNKED + b",", body=HI), 400, 501, 200, SPLIT),
    Case("white space before a chunk's extension", post(CHUNKED, body=HI.replace(b"2", b"2 ;a")), 400, 200, 200, SPLIT),
    Case("lines of a chunked body that end with LF alone", post(CHUNKED, body=b"2\nhi\n0\n\n"), 400, 200, 200, SPLIT),
    Case("`Expect: foo`", post(b"Content-Length: 2", b"Expect: foo"), 417, 200, 200, BODILESS),
    Case("`Connection: cookie`", get(b"Connection: cookie"), 400, 200, 200, "what it names would be lost on the way"),
    Case("a WebSocket of version 8", get(SOCKET[:-2].replace(b"13", b"8")), 426, 200, 200, "no workspace speaks it"),
    Case(
        "a WebSocket without key",
        get(SOCKET.partition(b"\r\nSec-WebSocket-K")[0]),
        400,
        200,
        400,
        "RFC 6455 section 4.2.1",
    ),
    Case(
        "`Upgrade: h2c`",
        get(b"Connection: Upgrade", b"Upgrade: h2c"),
        200,
        200,
        200,
        "it does not pass: nginx passes it if told to",
    ),
    Case("a path in Host", get(host=b"Host: a.test/x\r\n"), 400, 400, 200, ADDRESS),
    Case("white space within Host", get(host=b"Host: a.test b\r\n"), 400, 400, 200, ADDRESS),
    Case("raw non-ASCII in Host", get(host=b"Host: \xc3\xa4.test\r\n"), 400, 200, 200, ADDRESS),
    Case("`http://u@a.test/x`", target(b"http://u@a.test/x"), 400, 400, 200, ADDRESS),
    Case("`http://a.test?q`", target(b"http://a.test?q"), 200, 200, 400, "RFC 3986 section 3.3: the path is empty"),
    Case("GET of `*`", target(b"*"), 400, 400, 200, "RFC 9112 section 3.2.4"),
    Case("OPTIONS of `*`", get(line=b"OPTIONS * HTTP/1.1"), 200, 400, 200, "RFC 9110 section 9.3.7"),
    Case("CONNECT", get(line=b"CONNECT a.test:443 HTTP/1.1"), 405, 400, 200, "nobody is led elsewhere from here"),
    Case("`HTTP/1.10`", get(line=b"GET /x HTTP/1.10"), 400, 200, 400, "a version has two digits: RFC 9112 section 2.3"),
    Case("`HTTP/2.0` in a line", get(line=b"GET /x HTTP/2.0"), 505, 505, 200, LATER),
    Case("HTTP/2 without an agreement", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 400, 0, LATER),
    Case("tabs in the request line", get(line=b"GET\t/x\tHTTP/1.1"), 400, 400, 200, SPLIT),
    Case("a space after the version", get(line=b"GET /x HTTP/1.1 "), 400, 200, 400, SPLIT),
    Case("NUL in a value", get(b"X: a\0b"), 400, 400, 200, SPLIT),
    Case("DEL in a value", get(b"X: a\x7fb"), 400, 200, 200, SPLIT),
    Case("a name with a quote, a bracket or non-ASCII", get(b"X(: z"), 400, 200, 400, SPLIT),
    Case("`Content-Length: 2,2`", post(b"Content-Length: 2,2"), 400, 400, 200, SPLIT),
    Case(
        "a tab before the number of Content-Length",
        post(b"Content-Length:\t2"),
        200,
        400,
        200,
        "RFC 9110 section 5.6.3",
    ),
    Case(
        "`Transfer-Encoding: identity`",
        post(b"Transfer-Encoding: identity", body=HI),
        501,
        501,
        400,
        "RFC 9112 section 6.1",
    ),
    Case("Transfer-Encoding in a folded line", post(CHUNKED.replace(b" ", b"\r\n "), body=HI), 400, 400, 200, SPLIT),
    Case(
        "`Connection: transfer-encoding`",
        post(CHUNKED, b"Connection: transfer-encoding", body=HI),
        400,
        200,
        200,
        SPLIT,
    ),
    Case("white space after a chunk's size", post(CHUNKED, body=HI.replace(b"2", b"2 ")), 400, 200, 200, SPLIT),
    Case("a chunk's extension without a name", post(CHUNKED, body=HI.replace(b"2", b"2;")), 400, 200, 200, SPLIT),
    Case("a chunk's extension that ends with LF", post(CHUNKED, body=HI.replace(b"2\r", b"2;a")), 400, 200, 200, SPLIT),
    Case(
        "a chunk's extension with a line's end in quotes",
        post(CHUNKED, body=HI.replace(b"2", b'2;a="b')),
        400,
        200,
        200,
        SPLIT,
    ),
    Case("100-continue twice", post(b"Content-Length: 2", *[b"Expect: 100-continue"] * 2), 417, 400, 200, BODILESS),
    Case(
        "a POST that asks for a WebSocket",
        post(SOCKET[:-2], b"Content-Length: 2"),
        400,
        200,
        200,
        "RFC 6455 section 4.1",
    ),
    Case(
        "`Upgrade: websocket, h2c`",
        get(SOCKET[:-2].replace(b": websocket", b": websocket, h2c")),
        200,
        200,
        200,
        "the workspace is offered `websocket` alone: it might take another one",
    ),
)


def row(case: Case) -> str:
    """A case as a line of the page."""
    return f"| {case.what} | {case.mux} | {case.nginx} | {case.haproxy} | {case.why} |"


if __name__ == "__main__":
    print("\n".join(map(row, CASES)))  # noqa: T201 - a program's output
