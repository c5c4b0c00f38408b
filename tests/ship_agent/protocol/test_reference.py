"""The reference page names what the code has."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from ship_agent import join
from ship_agent.protocol import codec, link

PAGE = (Path(__file__).parents[3] / "docs/reference/control-protocol.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]


def test_every_key_of_join_json_is_described_and_no_other() -> None:
    keys = {field.name for field in dataclasses.fields(join.Join)} | {"version"}
    assert set(re.findall(r"^\| `(\w+)` \|", section("join.json"), re.MULTILINE)) == keys


@pytest.mark.parametrize("code", sorted(set(re.findall(r'CodecError\(\s*"(\w+)"', inspect.getsource(codec)))))
def test_every_code_of_a_protocol_error_is_described(code: str) -> None:
    assert f"`{code}`" in section("Afterwards")


@pytest.mark.parametrize("code", sorted(set(re.findall(r'self\.refuse\(\s*"(\w+)"', inspect.getsource(link)))))
def test_every_code_of_a_refusal_is_described(code: str) -> None:
    assert re.search(rf"^\| `{code}` \| (yes|no) \|", section("The handshake"), re.MULTILINE)
