"""Image names are read as every engine reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.registry import BadReferenceError, Reference

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("text", "whole", "host"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "registry-1.docker.io"),
        ("camp/intro:2", "docker.io/camp/intro:2", "registry-1.docker.io"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "registry-1.docker.io"),
        ("localhost/intro", "localhost/intro:latest", "localhost"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000"),
        (f"r.example.org/a@{DIGEST}", f"r.example.org/a@{DIGEST}", "r.example.org"),
        (f"r.example.org:443/a:v1@{DIGEST}", f"r.example.org:443/a:v1@{DIGEST}", "r.example.org:443"),
    ],
)
def test_names_are_read_as_engines_read_them(text: str, whole: str, host: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == whole
    assert reference.host == host


@pytest.mark.parametrize(
    "text",
    ["", "UPPER", "a//b", "a/", "/a", "a:", "a:b:c", "a@sha256:12", "a b", "a?x=y", "a/../b", "../v2", "x" * 300,
     "host.example.org/", "host.example.org/a#b", "a@", "a\n"],
)  # fmt: skip
def test_what_is_no_name_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(BadReferenceError, match="host/path/name:tag"):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("localhost:5000/a", True),
        ("127.0.0.1:5000/a", True),
        ("127.9.9.9/a", True),
        ("[::1]:5000/a", True),
        ("10.0.0.1:5000/a", False),
        ("localhost.example.org/a", False),
        ("127.0.0.1.example.org/a", False),
        ("a", False),
    ],
)
def test_a_registry_of_this_machine_is_known_by_its_address(text: str, loopback: bool) -> None:
    assert Reference.parse(text).loopback is loopback


@given(st.text(max_size=60))
def test_any_text_is_a_reference_that_reads_back_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except BadReferenceError:
        return
    assert Reference.parse(str(reference)) == reference
