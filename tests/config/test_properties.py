"""Whatever is done to a valid file, the answer is an event file or its faults."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.config import ConfigError, differences, parse, template
from mux.config.template import toml
from tests.config.files import VALID, parsed

BASE = Path("/event")
SECRET = "hunter-of-secrets"

scalars = (
    st.none().map(lambda _: "")
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["127.0.0.1:8000", "http://localhost:1", "2GiB", "intro", "/", "..", "a" * 5000, "20000-20001"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The tables of a valid file after a few changes anywhere in them."""
    tables = tomllib.loads(draw(st.sampled_from([VALID, template()])))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = tables
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            action = draw(st.sampled_from(["set", "drop", "add"]))
            if action == "set":
                place[key] = draw(values)
            elif action == "drop":
                del place[key]
            elif isinstance(place, dict):
                place[draw(st.text(max_size=12))] = draw(values)
            else:
                place.append(draw(values))
            break
    return tables


def document(tables: dict[str, Any]) -> str:
    return "".join(f"{toml(key)} = {toml_value(value)}\n" for key, value in tables.items())


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return toml(value)


@pytest.mark.parametrize("name", ["[\x1f", "[0]\x1b[2J", "\u202e", "a b"])
def test_a_name_of_a_variable_that_is_none_steers_no_terminal(name: str) -> None:
    tables = tomllib.loads(VALID)
    tables["project"][0]["environment"] = {name: ""}
    with pytest.raises(ConfigError, match="a name that is not allowed") as refused:
        parse(document(tables), base=BASE, environ={}, files=False)
    assert all(str(fault).isprintable() for fault in refused.value.faults)


@settings(max_examples=300, deadline=None)
@given(mutated())
def test_a_mutated_file_gives_an_event_file_or_faults(tables: dict[str, Any]) -> None:
    text = document(tables)
    try:
        parse(text, base=BASE, environ={})
    except ConfigError as refused:
        assert refused.faults
        assert all(str(fault).isprintable() and len(str(fault)) < 2000 for fault in refused.faults)
    try:
        file = parse(text, base=BASE, environ={}, files=False)
    except ConfigError:
        return
    assert differences(file, file) == []
    assert parse(text, base=BASE, environ={}, files=False) == file


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(VALID)), st.integers(0, 40), st.text(max_size=10))
def test_a_mangled_text_gives_an_event_file_or_faults(start: int, length: int, put: str) -> None:
    with contextlib.suppress(ConfigError):
        parsed(VALID[:start] + put + VALID[start + length :])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["passcode", "token", "extra", "environment", "secret"]), values)
def test_what_stands_under_a_key_that_is_not_known_is_never_shown(key: str, value: Any) -> None:
    text = VALID + f"[auth]\n{key} = {toml_value([SECRET, value])}\n"
    with contextlib.suppress(ConfigError):
        parsed(text)
        raise AssertionError("it was taken")
    try:
        parsed(text)
    except ConfigError as refused:
        assert SECRET not in str(refused)


@given(st.dictionaries(st.sampled_from(["MUX_LISTEN_PUBLIC", "MUX_LISTEN_ADMIN", "MUX_DATA_DIRECTORY"]), st.text()))
def test_whatever_variables_hold_the_answer_is_an_event_file_or_faults(environ: dict[str, str]) -> None:
    with contextlib.suppress(ConfigError):
        parse(VALID, base=BASE, environ=environ, files=False)
