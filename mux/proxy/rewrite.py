"""Heads as the next hop gets them: what is dropped, what is added.

Sans-I/O, and pure functions of a head, its destination, the peer and the date, so that their results may be
remembered. Rules: fields that are kept are kept byte for byte and in order; nothing hop-by-hop passes (RFC 9110 section
7.6.1); what a client says of its own address is never believed; what a workspace says for the whole origin is never
passed on.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass

from mux.proxy import limits
from mux.proxy.body import CHUNKED, WHOLE_ORIGIN
from mux.proxy.cookies import confined_set_cookie, without_mux_cookies
from mux.proxy.grammar import Field, list_items, values_of
from mux.proxy.request import RequestHead
from mux.proxy.response import ResponseHead
from mux.proxy.routing import Destination

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authentication-info proxy-authorization proxy-connection te "
    b"transfer-encoding upgrade http2-settings".split()
)
"""RFC 9110 section 7.6.1 and what is only ever spoken with a forward proxy; framing and upgrades are written anew."""

REQUEST_DROPPED = HOP_BY_HOP | frozenset(b"forwarded proxy x-real-ip x-scheme".split())
"""Fields that never pass towards an upstream."""
REQUEST_PREFIXES_DROPPED = (b"x-forwarded-", b"x-mux-")

CHUNKED_LINE = b"Transfer-Encoding: chunked\r\n"

_LOOPBACK = re.compile(rb"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]")
"""Hosts by which a workspace names itself and nobody else (RFC 6761 section 6.3)."""

_PORT = re.compile(rb":[0-9]*\Z")
_ABSOLUTE_LOCATION = re.compile(rb"(?i:(https?)://)([^/?#]*)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Peer:
    """A client's address as upstreams are told it.

    Args:
        ip: textual address; IPv4-mapped IPv6 as IPv4.
        forwarded: the same as a node of Forwarded (RFC 7239 section 6).
    """

    ip: bytes
    forwarded: bytes

    @classmethod
    @functools.lru_cache(limits.MEMO_PEERS)
    def of(cls, address: str) -> Peer:
        """From a socket's peer address; empty for a Unix socket."""
        if not address:
            return cls(b"unknown", b"unknown")
        ip = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        text = str(ip).encode()
        return cls(text, b'"[' + text + b']"' if ip.version == 6 else text)


def upstream_head(request: RequestHead, destination: Destination, peer: Peer) -> bytes:
    """The request head that the upstream gets.

    An HTTP/1.0 request stays one, so that the upstream does not answer with what its client cannot read (chunked, 1xx);
    RFC 9112 section 2.3 allows this downgrade.
    """
    target = request.target[len(destination.prefix) :] if destination.strip else request.target
    head = b"%b %b HTTP/1.%d\r\n" % (request.method, target, request.minor)
    cookie = destination.session_cookie
    private = destination.token is not None
    for field in _one_hop_less(request) if request.method == b"OPTIONS" else request.fields:
        if field.key in request.options or (request.minor == 0 and field.key == b"expect"):
            continue  # RFC 9110 sections 7.6.1 and 10.1.1
        head += private_line(field, cookie) if private else public_line(field)
    return head + added_lines(request, destination, peer) + framing_lines(request)


def _one_hop_less(request: RequestHead) -> list[Field]:
    """RFC 9110 section 7.6.2. That nothing is left was refused before."""
    left = request.hops_left
    return [
        field._replace(value=b"%d" % (left - 1)) if left is not None and field.key == b"max-forwards" else field
        for field in request.fields
    ]


def public_line(field: Field) -> bytes:
    """A field of a request as any upstream gets it, with its line end; empty if it is dropped."""
    key = field.key
    if key in REQUEST_DROPPED or b"_" in key or key.startswith(REQUEST_PREFIXES_DROPPED):
        return b""
    return b"%b: %b\r\n" % (field.name, field.value)


def private_line(field: Field, session_cookie: bytes) -> bytes:
    """As ``public_line``, for a workspace: without the client's credentials and the mux's cookies."""
    if field.key == b"authorization":
        return b""
    if field.key == b"cookie":
        value = without_mux_cookies(field.value, session_cookie)
        return b"%b: %b\r\n" % (field.name, value) if value else b""
    return public_line(field)


def added_lines(request: RequestHead, destination: Destination, peer: Peer) -> bytes:
    """What every upstream is told beside the client's fields.

    A prefix that was taken off the target stands in X-Forwarded-Prefix, as web frameworks know it. Nothing else depends
    on the target, nor on the method, nor on a field other than Host.
    """
    site = destination.site
    lines = [
        b"X-Forwarded-For: " + peer.ip,
        b"X-Forwarded-Proto: " + site.scheme,
        b"X-Forwarded-Host: " + request.host,
        b'Forwarded: for=%b;host="%b";proto=%b' % (peer.forwarded, request.host, site.scheme),
        b"Via: 1.%d mux" % request.minor,  # RFC 9110 section 7.6.3
    ]
    if destination.strip:
        lines.append(b"X-Forwarded-Prefix: " + destination.prefix)
    if not destination.workspace:
        lines.append(b"X-Mux-Peer: " + peer.ip)
    if destination.token:
        lines.append(b"Authorization: token " + destination.token)
    return b"\r\n".join(lines) + b"\r\n"


def framing_lines(request: RequestHead) -> bytes:
    """The last lines of a head: where its body ends and what becomes of the connection; and the empty line."""
    lines = CHUNKED_LINE if request.body == CHUNKED else b""
    if request.upgrade:
        lines += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    elif request.minor == 0:
        lines += b"Connection: keep-alive\r\n" if request.keep_alive else b"Connection: close\r\n"
    return lines + b"\r\n"


def client_head(
    response: ResponseHead, request: RequestHead, destination: Destination, *, close: bool, date: bytes
) -> bytes:
    """The response head that the client gets.

    Args:
        response: as the upstream sent it.
        request: what it answers.
        destination: where it comes from.
        close: whether the client connection ends with this response.
        date: the line that it gets if it has no Date, with its end; see :class:`mux.proxy.dates.Dates`.
    """
    lines = [b"HTTP/1.1 %d %b" % (response.status, response.reason)]
    dated = response.interim  # it is followed by a response that has one
    options = frozenset(list_items(values_of(response.fields, b"connection")))
    for field in response.fields:
        if field.key in HOP_BY_HOP or (field.key in options and field.key not in (b"content-length", b"set-cookie")):
            continue
        if response.body == CHUNKED and field.key == b"content-length":
            continue
        if field.key == b"content-length" and (response.status < 200 or response.status == 204):
            continue  # RFC 9110 section 8.6
        if destination.workspace:
            confined = _confined(field, request, destination)
            if confined is None:
                continue
            field = confined  # noqa: PLW2901 - the field as it may be seen
        dated = dated or field.key == b"date"
        lines.append(field.name + b": " + field.value)
    if response.body == CHUNKED:
        lines.append(CHUNKED_LINE[:-2])
    if response.status == 101:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket")
    elif response.status == 426 and (protocols := values_of(response.fields, b"upgrade")):  # RFC 9110 section 15.5.22
        lines.append(b"Connection: Upgrade%b\r\nUpgrade: %b" % (b", close" if close else b"", b", ".join(protocols)))
    elif close and not response.interim:
        lines.append(b"Connection: close")
    elif not close and request.minor == 0:
        lines.append(b"Connection: keep-alive")  # RFC 9112 appendix C.2.2
    return b"\r\n".join(lines) + b"\r\n" + (b"" if dated else date) + b"\r\n"


def _confined(field: Field, request: RequestHead, destination: Destination) -> Field | None:
    key = field.key
    if key in WHOLE_ORIGIN:
        return None
    if key == b"set-cookie":
        value = confined_set_cookie(
            field.value, destination.session_cookie, destination.prefix, request.path, below=destination.strip
        )
        return None if value is None else field._replace(value=value)
    if key in (b"location", b"content-location"):
        return field._replace(value=public_location(field.value, destination, request.target))
    return field


def _without_port(authority: bytes) -> bytes:
    return _PORT.sub(b"", authority)


def public_location(value: bytes, destination: Destination, target: bytes = b"/") -> bytes:
    """A workspace's Location as the public address has it (RFC 9110 section 10.2.2).

    Mapped are the upstream's own address, the public host under the wrong scheme, and, if the path is the workspace's
    own, the public host name or a loopback one with whatever port the workspace believes in. The result is absolute,
    so that a path that begins with two slashes cannot lead to another host.

    What an upstream says that knows nothing of its prefix is put below it, unless it is there already. One that answers
    ``//x`` when it was asked for ``//…`` means a path, not a host.

    Args:
        value: as the workspace sent it.
        destination: where it comes from.
        target: of the request.
    """
    match = _ABSOLUTE_LOCATION.fullmatch(value)
    if match is None:
        if not destination.strip or not value.startswith(b"/"):
            return value
        if value.startswith(b"//") and not target[len(destination.prefix) :].startswith(b"//"):
            return value
        return destination.site.origin + _below(destination.prefix, value)
    authority, rest = match[2].lower(), match[3]
    address, site = destination.address, destination.site
    host = address.host.lower().encode("latin-1", "replace")
    own = {b"%b:%d" % (b"[" + host + b"]" if b":" in host else host, address.port)}
    if address.port == 80:
        own |= {host}
    prefix = destination.prefix
    inside = bool(prefix) and (rest == prefix or rest.startswith((prefix + b"/", prefix + b"?", prefix + b"#")))
    name = _without_port(authority)
    here = inside and (name == site.hostname or _LOOPBACK.fullmatch(name) is not None)
    if here or authority in own or authority in site.hosts:
        return site.origin + (_below(prefix, rest) if destination.strip else rest)
    return value


def _below(prefix: bytes, path: bytes) -> bytes:
    """A path, and what follows it, below a further port's prefix; as it is if it is the project's already."""
    base = prefix.rpartition(b"/port/")[0]
    if path == base or path.startswith((base + b"/", base + b"?", base + b"#")):
        return path
    return prefix + (path if path.startswith(b"/") else b"/" + path)
