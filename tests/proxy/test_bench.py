"""What the bench says of its own figures: pages follow from results, and disturbed samples are taken again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.proxy import rows
from bench.proxy.__main__ import RESULTS, rendered
from bench.proxy.bars import bars
from bench.proxy.load import Sample
from bench.proxy.page import page
from bench.proxy.targets import Target

TARGET = Target("mux", 0, None)


def kept() -> tuple[dict[str, Any], dict[str, Any]]:
    """The results that are in the repository."""
    found, profile = (json.loads((RESULTS / name).read_text("utf-8")) for name in ("proxy.json", "profile.json"))
    return found, profile


def test_page_and_pictures_follow_from_the_results() -> None:
    """``python -m bench.proxy --render`` would change nothing."""
    for path, text in rendered(*kept()).items():
        assert path.read_text("utf-8") == text, path


def test_what_was_not_measured_is_missing() -> None:
    """A run without some rows, targets and looks still has its page."""
    found, profile = kept()
    found["rows"] = {"GET 200 B, c=64": {"mux": found["rows"]["GET 200 B, c=64"]["mux"]}}
    found["idle_websocket_bytes"] = {"open": 5, "open_tls": 5}
    text = page(found, {**profile, "rows": {}, "waits": {}})
    assert "not measured" in text
    assert "nginx 256k |" not in text


def test_disturbed_samples_are_marked() -> None:
    """Where even the best sample was disturbed, the tables say so."""
    found, profile = kept()
    found["rows"]["GET 200 B, c=1"]["mux"].update(rate=4321.0, cpu_us=10.0, foreign=0.5)
    assert "4,321 (10) *" in page(found, profile)


def test_a_missed_aim_says_why() -> None:
    """p99: who waits, and what a connection costs; rates: where the time goes."""
    found, profile = kept()
    row = "GET 2 KB, c=2000"
    found["rows"][row]["mux"].update(rate=1.0, p99_ms=99_999.0)
    waits = {"first": {"of_slowest": 0.97, "p50_ms": 200.0, "max_ms": 300.0}, "later": {"p99_ms": 60.0}}
    seen = {"cpu_us": 20.0, "percent": {"kernel, all": 75.0}}
    profile["rows"][row] = {"mux": seen, "nginx": seen}
    profile["waits"] = {row: {"mux": waits, "nginx": waits}}
    profile["connection_us"] = {"mux": 150.0, "nginx": 30.0}
    text = "\n".join(bars(found, profile))
    assert f"**Missed in {row}, against nginx: 0.00 of ≥ 1.**" in text
    assert "mux 20.0 µs, of which 15.0 in the kernel and 5.0 its own" in text
    assert "mux: 97% of the slowest hundredth are the first answer on their connection" in text
    assert "keep its core busy for 300 ms and 60 ms" in text


@pytest.mark.parametrize(
    ("others", "kept_foreign", "taken"),
    [([0.05, 0.0], 0.05, 1), ([0.3, 0.1, 0.0], 0.1, 2), ([0.4, 0.2, 0.3, 0.5, 0.0], 0.2, 4)],
    ids=["quiet", "quiet the second time", "never quiet"],
)
def test_a_disturbed_sample_is_taken_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, others: list[float], kept_foreign: float, taken: int
) -> None:
    """The first quiet one stands; of TRIES_MAX that are not, the best."""
    samples = iter([Sample(1.0, 1.0, foreign=foreign) for foreign in others])
    count = 0

    def once(*_: object) -> Sample:
        nonlocal count
        count += 1
        return next(samples)

    monkeypatch.setattr(rows, "once", once)
    assert rows.measure(TARGET, "WebSocket 128 B, 1", tmp_path, 0, 1.0).foreign == kept_foreign
    assert count == taken
