"""jupyter_server's own tests through the proxy: what passes directly passes through it.

A slice in every run; all of them in `make test-long`, which writes `results.json`.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conformance.suite import ROOT, VERSION, Outcomes, Ports, free_port, lost, proxy, run

RESULTS = Path(__file__).parent / "results.json"
WAYS = {"heads remembered": (), "every head read anew, no splice": ("--no-memo", "--no-splice")}
"""The proxy's options; a slice goes the first way in every run."""
SLICE = (
    "tests/services/contents/test_api.py",
    "tests/test_files.py",
    "tests/test_paths.py",
    "tests/base/test_websocket.py",
    "tests/services/events/test_api.py",
    "tests/test_terminal.py::test_terminal_create_with_cwd",
    "tests/services/kernels/test_api.py::test_connection",
)
"""Every kind of traffic: bodies and odd paths, redirects and cookies, WebSockets of three kinds."""


def tries_again(tests: list[str], directory: Path, ports: Ports | None) -> Outcomes:
    """Run tests once more: on a loaded machine a test of the suite may run into its own timeout."""
    return run(tests, directory, ports) if tests else {}


def not_passed(outcomes: Outcomes) -> list[str]:
    return sorted(test for test, outcome in outcomes.items() if outcome == "failed")


@pytest.mark.timeout(300)
def test_a_slice_passes_through_the_proxy(tmp_path: Path) -> None:
    with proxy(tmp_path) as ports:
        through = dict(run(SLICE, tmp_path, ports))
        through |= tries_again(not_passed(through), tmp_path, ports)
    direct = tries_again(not_passed(through), tmp_path, None)
    assert lost(direct, through) == []
    assert Counter(through.values())["passed"] >= 300


def test_the_suite_fails_where_no_proxy_listens(tmp_path: Path) -> None:
    """So a green run means that the requests went through it."""
    nowhere = Ports(upstream=free_port(), proxy=free_port())
    outcomes = run(["tests/services/config/test_api.py"], tmp_path, nowhere)
    assert set(outcomes.values()) == {"failed"}


@pytest.mark.long
@pytest.mark.timeout(5400)
def test_everything_that_passes_directly_passes_through_the_proxy_both_ways(tmp_path: Path) -> None:
    direct = dict(run(["tests"], tmp_path, None))
    direct |= tries_again(not_passed(direct), tmp_path, None)
    through: dict[str, Outcomes] = {}
    for way, options in WAYS.items():
        with proxy(tmp_path, *options) as ports:
            found = dict(run(["tests"], tmp_path, ports))
            through[way] = {**found, **tries_again(not_passed(found), tmp_path, ports)}
    record(direct, through)
    assert {way: lost(direct, outcomes) for way, outcomes in through.items()} == {way: [] for way in WAYS}


def record(direct: Outcomes, through: Mapping[str, Outcomes]) -> None:
    """Write the table that is committed."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    table = {
        "jupyter_server": VERSION,
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).date().isoformat(),
        "direct": dict(sorted(Counter(direct.values()).items())),
        "through": {
            way: {**dict(sorted(Counter(outcomes.values()).items())), "lost": lost(direct, outcomes)}
            for way, outcomes in through.items()
        },
        "failed_directly": not_passed(direct),
    }
    RESULTS.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
