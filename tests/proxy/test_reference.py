"""The reference page and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mux.proxy import limits
from mux.proxy.failures import WORKSPACE_TEXTS
from mux.proxy.refusal import Malformed
from mux.proxy.request import METHODS, METHODS_DAV, _second_opinion

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/proxy.md").read_text(encoding="utf-8")
SOURCE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "mux/proxy").glob("*.py")))
NAMED = set(re.findall(r"`([A-Za-z_0-9]+)", PAGE))


def test_every_limit_is_listed() -> None:
    names = {name for name in vars(limits) if name.isupper()}
    assert names - NAMED == set()
    assert {name for name in NAMED if re.fullmatch(r"[A-Z_0-9]*_(MAX|MIN|S|MS|HIGH|LOW)", name)} - names == set()


def test_every_refusal_is_listed() -> None:
    codes = set(re.findall(r"(?:Malformed|Refusal|TooMany)\(\s*(?:[0-9]{3},\s*)?\"([a-z_0-9]+)\"", SOURCE))
    codes |= {"bare_cr", "bare_lf", "body_timeout", "client_stalled", "half_closed"}
    codes |= {f"{who}_{kind}" for who in ("workspace", "control") for kind in WORKSPACE_TEXTS}
    assert len(codes) > 50
    assert codes - NAMED == set()


def test_every_counter_is_listed() -> None:
    counted = {f"mux_proxy_{name}" for name in re.findall(r"tally\.count\(\"([a-z_]+)\"", SOURCE)}
    counted |= set(re.findall(r"mux_proxy_[a-z_]+(?=[\"{])", SOURCE))
    assert len(counted) > 8
    assert counted - NAMED == set()


def test_every_method_is_listed() -> None:
    assert {method.decode() for method in METHODS | METHODS_DAV} <= set(re.findall(r"[A-Z]+", PAGE))


def test_what_llhttp_refuses_is_refused() -> None:
    """The second opinion: nothing is known that only llhttp refuses, so it is asked directly."""
    with pytest.raises(Malformed, match="parsers_differ"):
        _second_opinion(b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n")
