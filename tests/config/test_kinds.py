from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.config import kinds
from mux.config.faults import Refused
from mux.config.kinds import Address, Listener, PortRange, size_text

SIZE = kinds.size(1 << 10, 1 << 40)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1KiB", 1 << 10), ("512MiB", 512 << 20), ("1.5GiB", 3 << 29), ("2 GiB", 2 << 30), ("1TiB", 1 << 40)],
)
def test_sizes_are_read_as_powers_of_two(text: str, size_bytes: int) -> None:
    assert SIZE.read(text) == size_bytes


@pytest.mark.parametrize(
    "value", ["2GB", "2", "", "-1GiB", "1e3MiB", "0KiB", "2TiB", "٢GiB", "2gib", 2, 2.0, True, None]
)
def test_sizes_without_unit_or_out_of_bounds_are_refused(value: object) -> None:
    with pytest.raises(Refused):
        SIZE.read(value)


@given(st.integers(1, 1 << 20), st.sampled_from([1 << 10, 1 << 20, 1 << 30]))
def test_a_size_is_read_back_as_it_was_written(number: int, unit: int) -> None:
    size_bytes = min(number * unit, 1 << 40)
    if "." not in size_text(size_bytes):
        assert SIZE.read(size_text(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("text", "address", "origin"),
    [
        ("http://localhost:8000", Address("http", "localhost", 8000), "http://localhost:8000"),
        ("http://Camp.Example", Address("http", "camp.example", 80), "http://camp.example"),
        ("https://camp.example:443", Address("https", "camp.example", 443), "https://camp.example"),
        ("https://[::1]:8443", Address("https", "::1", 8443), "https://[::1]:8443"),
        ("https://[2001:DB8::0:1]", Address("https", "2001:db8::1", 443), "https://[2001:db8::1]"),
    ],
)
def test_addresses_are_origins_as_browsers_write_them(text: str, address: Address, origin: str) -> None:
    read = kinds.address().read(text)
    assert read == address
    assert str(read) == origin


@pytest.mark.parametrize(
    "text",
    [
        "localhost",
        "ftp://localhost",
        "HTTP://localhost",
        "http://",
        "http://localhost/",
        "http://localhost:0",
        "http://localhost:99999",
        "http://localhost:",
        "http://a@b",
        "http://a b",
        "http://[::1",
        "http://::1",
        "http://1.2.3.4.5",
        "http://256.1.1.1",
        "http://a..b",
        "http://-a",
        "http://*.example",
        "http://localhost:8000\n",
        3,
        None,
    ],
)
def test_what_is_no_origin_is_refused(text: object) -> None:
    with pytest.raises(Refused):
        kinds.address().read(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("camp.localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("localhost.example", False),
        ("192.168.1.5", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert kinds.is_loopback(host) is loopback


def test_listeners_are_addresses_of_this_machine() -> None:
    read = kinds.listener().read
    assert read("[::1]:80") == Listener("::1", 80)
    assert str(read("[::1]:80")) == "[::1]:80"
    assert read("127.0.0.1:0") == Listener("127.0.0.1", 0)
    for wrong in ("camp.example:80", "127.0.0.1", ":80", "127.0.0.1:65536", "127.0.0.1:8 0", 8000, True, None):
        with pytest.raises(Refused):
            read(wrong)


def test_port_ranges_are_written_with_both_ends() -> None:
    read = kinds.port_range().read("20000-20009")
    assert isinstance(read, PortRange)
    assert (read.count, 20009 in read, 20010 in read, str(read)) == (10, True, False, "20000-20009")
    for wrong in ("20009-20000", "80-90", "20000", "20000-", "20000-70000", "1-2-3", 20000, None):
        with pytest.raises(Refused):
            kinds.port_range().read(wrong)


@pytest.mark.parametrize("value", [True, "1", 1.5, 0, 11, None, float("nan")])
def test_whole_numbers_are_neither_texts_nor_truth_values(value: object) -> None:
    with pytest.raises(Refused):
        kinds.whole(1, 10).read(value)


@pytest.mark.parametrize("value", [True, "1", 0.5, float("nan"), float("inf"), 10**400, None])
def test_numbers_are_finite_and_within_bounds(value: object) -> None:
    with pytest.raises(Refused):
        kinds.number(1, 10).read(value)


def test_a_line_end_belongs_to_no_name_and_no_size() -> None:
    assert not kinds.variable_name_ok("COURSE\n")
    assert kinds.variable_name_ok("COURSE")
    for kind, value in ((SIZE, "1KiB\n"), (kinds.listener(), "::1\n:80"), (kinds.address(), "http://camp\n")):
        with pytest.raises(Refused):
            kind.read(value)


@pytest.mark.parametrize("value", ["/api", "../api", "a/../b", "a b", "a\nb", "a#b", "x" * 300, 3])
def test_a_health_path_stays_below_its_project(value: object) -> None:
    with pytest.raises(Refused):
        kinds.health_path().read(value)


def test_a_health_path_may_have_a_query_and_may_be_empty() -> None:
    assert kinds.health_path().read("api/status?full=1..2") == "api/status?full=1..2"
    assert kinds.health_path().read("") == ""


def test_time_zones_are_those_of_the_database() -> None:
    assert kinds.time_zone().read("UTC") == "UTC"
    with pytest.raises(Refused):
        kinds.time_zone().read("Mars/Olympus")


def test_a_command_has_a_program_and_no_nul() -> None:
    read = kinds.command().read
    assert read([]) == ()
    assert read(["python3", ""]) == ("python3", "")
    for wrong in ([""], ["a\0"], ["x"] * 65, ["x" * 5000], "python3", [3], None):
        with pytest.raises(Refused):
            read(wrong)
