"""What the data plane accepts, another parser reads the same: llhttp for heads, and the platform for addresses."""

from __future__ import annotations

import contextlib

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.proxy.refusal import Malformed
from mux.proxy.request import METHODS, METHODS_DAV, parse_request
from mux.proxy.rewrite import Peer
from mux.proxy.routing import Site

TOKENS = st.text("abcXYZ019-_!#$%&'*+.^`|~ :\t", min_size=0, max_size=12).map(str.encode)
VALUES = st.binary(max_size=20)
LINES = st.one_of(
    st.builds(lambda name, value: name + b":" + value, TOKENS, VALUES),
    st.sampled_from(
        [
            b"Content-Length: 5",
            b"Content-Length: 05",
            b"Transfer-Encoding: chunked",
            b"transfer-encoding:\tchunked ",
            b"Transfer-Encoding: chunked, identity",
            b"Connection: close, upgrade",
            b"Upgrade: h2c",
            b"Expect: 100-continue",
            b" folded",
            b"Host: other",
        ]
    ),
)
TARGETS = st.one_of(st.sampled_from([b"/", b"*", b"http://a/x", b"//a", b"/%zz?a=b"]), st.binary(max_size=12))


class Seen:
    """What llhttp reports."""

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted(METHODS | METHODS_DAV)),
    TARGETS,
    st.sampled_from([b"1.1", b"1.0"]),
    st.lists(LINES, max_size=4),
)
def test_an_accepted_head_means_the_same_to_llhttp(
    method: bytes, target: bytes, version: bytes, lines: list[bytes]
) -> None:
    head = b"\r\n".join([method + b" " + target + b" HTTP/" + version, b"Host: a", *lines]) + b"\r\n\r\n"
    try:
        request = parse_request(head)
    except Malformed:
        return
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed_data(head)
    assert parser.get_method() == request.method
    assert seen.url.removeprefix(b"http://a") == request.target
    assert parser.get_http_version() == version.decode()
    assert [(name, value.strip(b" \t")) for name, value in seen.fields] == [
        (field.name, field.value) for field in request.fields
    ]


@pytest.mark.parametrize("method", sorted(METHODS | METHODS_DAV))
def test_every_method_that_passes_is_known_to_llhttp(method: bytes) -> None:
    assert parse_request(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").method == method


@pytest.mark.parametrize(
    ("origin", "hosts", "plain"),
    [
        ("http://camp.test", (b"camp.test", b"camp.test:80"), b"http://camp.test"),
        ("http://camp.test:80", (b"camp.test", b"camp.test:80"), b"http://camp.test"),
        ("https://Camp.Test/", (b"camp.test", b"camp.test:443"), b"https://camp.test"),
        ("https://camp.test:80", (b"camp.test:80",), b"https://camp.test:80"),
        ("http://localhost:8080", (b"localhost:8080",), b"http://localhost:8080"),
        ("http://[::1]", (b"[::1]", b"[::1]:80"), b"http://[::1]"),
        ("http://[::1]:8000", (b"[::1]:8000",), b"http://[::1]:8000"),
    ],
)
def test_the_default_port_may_be_left_out_of_host(origin: str, hosts: tuple[bytes, ...], plain: bytes) -> None:
    """RFC 9110 section 4.2.3: an empty port, the default port and none are the same authority."""
    site = Site.of(origin)
    assert (set(site.hosts), site.origin) == (set(hosts), plain)


@pytest.mark.parametrize(
    ("address", "ip", "node"),
    [
        ("192.0.2.1", b"192.0.2.1", b"192.0.2.1"),
        ("::ffff:192.0.2.1", b"192.0.2.1", b"192.0.2.1"),
        ("2001:db8::1", b"2001:db8::1", b'"[2001:db8::1]"'),
        ("fe80::1%eth0", b"fe80::1", b'"[fe80::1]"'),
        ("", b"unknown", b"unknown"),
    ],
)
def test_peers_are_named_as_rfc_7239_has_it(address: str, ip: bytes, node: bytes) -> None:
    """RFC 7239 section 6."""
    assert Peer.of(address) == Peer(ip, node)
