"""Request heads: strictly parsed, or refused.

Sans-I/O. Owns the reading of the request line, Host, framing, Connection, Expect and Upgrade (RFC 9112 sections 3 and
6, RFC 9110 sections 7 and 10.1.1, RFC 6455 section 4.2.1). Knows nothing of routes or sessions. Rules: a head is
accepted only if this grammar and llhttp both take it; the target is never changed, only an absolute-form one is cut to
what follows its authority.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

import httptools

from mux.proxy.body import CHUNKED, NO_BODY
from mux.proxy.grammar import (
    TCHAR,
    Field,
    content_length,
    find_head,
    list_items,
    parse_fields,
    split_head,
    transfer_coding,
    values_of,
)
from mux.proxy.limits import COOKIES_MAX
from mux.proxy.refusal import Malformed

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
"""Methods of RFC 9110 section 9.3 and RFC 5789 that are passed on; CONNECT and TRACE are refused."""
METHODS_DAV = frozenset(
    {b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"UNLOCK", b"REPORT", b"SEARCH"}
)
"""Methods that web applications in workspaces are known to use beside those."""
METHODS_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that need no proof of origin and may be repeated (RFC 9110 section 9.2.1)."""

_PLAIN_TARGET = rb"((/[\x21\x22\x24-\x3e\x40-\x5b\x5d-\x7e]*)(?:\?[\x21\x22\x24-\x7e]*)?)"
PLAIN_LINE = re.compile(rb"(GET|HEAD) " + _PLAIN_TARGET + rb" HTTP/1\.1\r\n")
"""The request lines of nearly all requests, a subset of what is accepted: method, target and path of it."""
WRITE_LINE = re.compile(rb"(POST|PUT|PATCH|DELETE) " + _PLAIN_TARGET + rb" HTTP/1\.1\r\n")
"""The same of those that must not be sent twice, and may have a body."""
_REQUEST_LINE = re.compile(rb"([" + TCHAR + rb"]+) ([^ ]+) HTTP/([0-9]\.[0-9])")
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")  # visible ASCII without "#"
_ABSOLUTE = re.compile(rb"(?i:(https?)://)([^/?]*)(.*)")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HOPS = re.compile(rb"[0-9]{1,9}")
# Fields that a sender may not have removed by naming them in Connection (RFC 9110 section 7.6.1).
_CONNECTION_REFUSED = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"cookie", b"origin", b"authorization"}
)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request head that was accepted.

    Args:
        method: as sent, one of the known ones.
        target: origin-form or ``*``, byte for byte as sent.
        minor: 0 for HTTP/1.0, 1 for HTTP/1.1.
        fields: every field as sent.
        host: value of Host, lower case.
        scheme: of an absolute-form target, lower case; empty otherwise.
        body: a body length, see ``mux.proxy.body``.
        options: Connection's options, lower case.
        keep_alive: whether the client means to send another request.
        upgrade: whether it is a valid WebSocket handshake.
    """

    method: bytes
    target: bytes
    minor: int
    fields: list[Field]
    host: bytes
    scheme: bytes
    body: int
    options: frozenset[bytes]
    keep_alive: bool
    upgrade: bool

    def values(self, key: bytes) -> list[bytes]:
        """Every value of a field, in order. ``key`` in lower case."""
        return values_of(self.fields, key)

    @property
    def hops_left(self) -> int | None:
        """The one Max-Forwards of an OPTIONS request; None for none (RFC 9110 section 7.6.2)."""
        values = self.values(b"max-forwards") if self.method == b"OPTIONS" else []
        return int(values[0]) if len(values) == 1 and _HOPS.fullmatch(values[0]) else None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent twice (RFC 9110 section 9.2.2)."""
        return self.method in METHODS_SAFE and self.body == NO_BODY and not self.upgrade

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]


def parse_request(head: bytes) -> RequestHead:
    """Parse a complete head, empty line included. Raises Malformed."""
    try:
        lines = split_head(head)
    except Malformed as fault:
        raise _certain_first(head, fault) from None
    method, target, minor = _request_line(lines[0])
    fields = parse_fields(lines[1:])
    host = _host(fields)
    scheme, target = _target(method, target, host)
    body = _body(fields, minor)
    options = frozenset(list_items(values_of(fields, b"connection")))
    if options & _CONNECTION_REFUSED:
        raise Malformed("connection_names", "Connection names an end-to-end field (RFC 9110 section 7.6.1)")
    _expect(fields, minor)
    if sum(value.count(b";") for value in values_of(fields, b"cookie")) >= COOKIES_MAX:
        raise Malformed("too_many_cookies", f"more than {COOKIES_MAX} cookies (RFC 6585 section 5)", 431)
    upgrade = minor == 1 and b"upgrade" in options and _upgrade(method, fields, body)
    _second_opinion(head)
    keep_alive = b"close" not in options and (minor == 1 or b"keep-alive" in options)
    return RequestHead(method, target, minor, fields, host, scheme, body, options, keep_alive, upgrade)


def find_request(buffer: bytearray, scanned: int = 0) -> int:
    """As ``find_head``, and refuses at once what is no HTTP/1 at all, for example TLS or a line of HTTP/0.9."""
    if buffer and buffer[0] not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&'*+-.^_`|~0123456789":
        raise Malformed("bad_request_line", "the request does not begin with a method (RFC 9112 section 3)")
    try:
        size = find_head(buffer, scanned)
    except Malformed as fault:
        raise _certain_first(buffer, fault) from None
    if not size:
        end = buffer.find(b"\r\n", max(0, scanned - 1))
        if end >= 0 and buffer.find(b"\r\n", 0, end) < 0 and not _REQUEST_LINE.fullmatch(buffer, 0, end):
            raise _bad_request_line()
    return size


def _certain_first(head: bytes | bytearray, fault: Malformed) -> Malformed:
    """Of a head with a fault: what is certain first decides, in how many pieces it ever comes."""
    line, end, _ = head.partition(b"\r\n")
    if end and not _REQUEST_LINE.fullmatch(line) and b"\r" not in line and b"\n" not in line:
        return _bad_request_line()
    return fault


def _bad_request_line() -> Malformed:
    return Malformed("bad_request_line", "a malformed request line (RFC 9112 section 3)")


def _request_line(line: bytes) -> tuple[bytes, bytes, int]:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _bad_request_line()
    method, target, version = match.groups()
    if version not in (b"1.0", b"1.1"):
        raise Malformed("bad_version", "a version other than HTTP/1.0 and HTTP/1.1 (RFC 9110 section 15.6.6)", 505)
    if method in (b"CONNECT", b"TRACE"):
        raise Malformed("method_refused", f"{method.decode()} is not allowed (RFC 9110 section 9.3)", 405)
    if method not in METHODS and method not in METHODS_DAV:
        raise Malformed("method_unknown", "an unknown method (RFC 9110 section 9.1)", 501)
    if not _TARGET.fullmatch(target):
        raise Malformed("bad_target", "a character that may not stand in a target (RFC 9112 section 3.2)")
    return method, target, int(version[2:])


def _host(fields: list[Field]) -> bytes:
    hosts = values_of(fields, b"host")
    if not hosts:
        raise Malformed("host_missing", "no Host (RFC 9112 section 3.2)")
    if len(hosts) > 1:
        raise Malformed("host_doubled", "more than one Host (RFC 9112 section 3.2)")
    if not is_host(hosts[0]):
        raise Malformed("host_malformed", "a malformed Host (RFC 9112 section 3.2, RFC 3986 section 3.2)")
    return hosts[0].lower()


def is_host(value: bytes) -> bool:
    """Whether a value may stand in Host (RFC 9112 section 3.2, RFC 3986 section 3.2.2)."""
    return _HOST.fullmatch(value) is not None


def _target(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    if target.startswith(b"/"):
        if b"\\" in target.partition(b"?")[0]:
            raise Malformed("bad_target", "a backslash in the path (RFC 3986 section 3.3)")
        return b"", target
    if target == b"*":
        if method != b"OPTIONS":
            raise Malformed("bad_target", "the target * with another method than OPTIONS (RFC 9112 section 3.2.4)")
        return b"", target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Malformed("bad_target", "a target in no form that a server accepts (RFC 9112 section 3.2)")
    scheme, authority, rest = match.groups()
    if authority.lower() != host:
        raise Malformed("target_host", "the target's host is not the one in Host (RFC 9112 section 3.2.2)")
    if not rest and method == b"OPTIONS":
        return scheme.lower(), b"*"
    if b"\\" in rest.partition(b"?")[0]:
        raise Malformed("bad_target", "a backslash in the path (RFC 3986 section 3.3)")
    return scheme.lower(), rest if rest.startswith(b"/") else b"/" + rest


def _body(fields: list[Field], minor: int) -> int:
    lengths = values_of(fields, b"content-length")
    codings = values_of(fields, b"transfer-encoding")
    if codings:
        transfer_coding(codings, minor, length=bool(lengths))
        return CHUNKED
    return content_length(lengths) if lengths else NO_BODY


def _expect(fields: list[Field], minor: int) -> None:
    values = values_of(fields, b"expect")
    if values and minor == 1 and (len(values) > 1 or values[0].lower() != b"100-continue"):
        raise Malformed("expectation", "an expectation other than 100-continue (RFC 9110 section 10.1.1)", 417)


def _upgrade(method: bytes, fields: list[Field], body: int) -> bool:
    """Whether it is a WebSocket handshake; others do not pass, so they are ignored (RFC 9110 section 7.8)."""
    protocols = list_items(values_of(fields, b"upgrade"))
    if b"websocket" not in protocols:
        return False
    if method != b"GET" or body != NO_BODY:
        raise Malformed("bad_upgrade", "a WebSocket handshake is a plain GET without body (RFC 6455 section 4.2.1)")
    if values_of(fields, b"sec-websocket-version") != [b"13"]:
        raise Malformed("websocket_version", "a WebSocket version other than 13 (RFC 6455 section 4.4)", 426)
    keys = values_of(fields, b"sec-websocket-key")
    try:
        valid = len(keys) == 1 and len(keys[0]) == 24 and len(base64.b64decode(keys[0], validate=True)) == 16
    except binascii.Error:
        valid = False
    if not valid:
        raise Malformed("websocket_key", "a malformed Sec-WebSocket-Key (RFC 6455 section 4.2.1)")
    return True


def _second_opinion(head: bytes) -> None:
    try:
        httptools.HttpRequestParser(None).feed_data(head)
    except httptools.HttpParserUpgrade:
        return
    except httptools.HttpParserError as error:
        raise Malformed("parsers_differ", "llhttp reads this head as malformed (RFC 9112)") from error
