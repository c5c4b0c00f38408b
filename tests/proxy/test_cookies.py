"""The mux's cookies are found and taken out as whoever cuts a field at its semicolons would do it, at less cost."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.proxy.cookies import MUX_PREFIXES, confined_set_cookie, cookie_values, is_mux_cookie, without_mux_cookies

NAMES = [b"mux_session", b"__Host-mux_session", b"sid"]
WORDS = [
    b"mux_session",
    b"MUX_session",
    b"mux_sessions",
    b"sid",
    b"SID",
    b"sidx",
    b"__Host-mux_session",
    b"__host-muxer",
]
PIECES = st.sampled_from(
    [*WORDS, *MUX_PREFIXES, b"a", b"=", b"=", b";", b";", b" ", b"\t", b'"', b",", b"\xff", b"mux"]
)


def values_by_cutting(headers: list[bytes], name: bytes) -> set[bytes]:
    """The values of a cookie, pair by pair."""
    pairs = [pair.partition(b"=") for header in headers for pair in header.split(b";")]
    return {value.strip(b" \t") for key, equals, value in pairs if equals and key.strip(b" \t") == name}


def kept_by_cutting(header: bytes, name: bytes) -> bytes:
    """What is left of a field, pair by pair."""
    pairs = header.split(b";")
    kept = [pair for pair in pairs if not is_mux_cookie(pair.partition(b"=")[0].strip(b" \t"), name)]
    return header if len(kept) == len(pairs) else b";".join(kept).strip(b" \t")


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=24).map(b"".join), st.sampled_from(NAMES))
def test_a_field_is_read_pair_by_pair(header: bytes, name: bytes) -> None:
    assert cookie_values([header], name) == values_by_cutting([header], name)
    assert without_mux_cookies(header, name) == kept_by_cutting(header, name)


@pytest.mark.parametrize("header", [b";" * 32_000, b"a=b;" * 8_000, b" " * 32_000, b"; " * 16_000, b"mux_;" * 6_000])
@pytest.mark.parametrize(
    "read",
    [
        lambda header: cookie_values([header], b"mux_session"),
        lambda header: without_mux_cookies(header, b"mux_session"),
        lambda header: confined_set_cookie(b"a=b" + header, b"mux_session", b"/camp/intro", b"/camp/intro/"),
    ],
    ids=["values", "without", "confined"],
)
def test_ten_thousand_semicolons_cost_little(header: bytes, read: Callable[[bytes], object]) -> None:
    """One client that fills a head with them must not hold up the others: counted are calls, not time."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    read(header)
    sys.setprofile(count)
    try:
        read(header)
    finally:
        sys.setprofile(None)
    assert calls < 100
