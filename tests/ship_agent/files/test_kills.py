"""Killed at every step, and out of space at every step: nothing is lost, nothing is mixed."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.ship_agent.files.conftest import need
from tests.ship_agent.files.situations import SITUATIONS

ROOT = Path(__file__).parents[3]
TABLE = Path(__file__).with_name("kills.json")
SLICE = (
    "edited and changed by the image: stays, the new one beside",
    "a directory with something own becomes a file: beside",
    "hard links",
    "seed 7",
)
KILLS_S_MAX = 1500
SEEDS = 40
"""Situations by chance that are killed in."""


def killing(way: str, stride: int, *names: str) -> dict[str, dict[str, int]]:
    """Run the program. Raises AssertionError with its words."""
    need(way, Path(tempfile.gettempdir()))
    run = subprocess.run(
        [sys.executable, "-m", "tests.ship_agent.files.killing", way, str(stride), *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=KILLS_S_MAX - 10,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    told: dict[str, dict[str, int]] = json.loads(run.stdout)
    return told


@pytest.mark.parametrize("way", ["sync", "overlay"])
def test_a_kill_or_a_full_disk_at_some_steps(way: str) -> None:
    told = killing(way, 5, *SLICE)
    for kind in ("kills", "full_disk"):
        assert set(told[kind]) == set(SLICE)
        assert all(told[kind].values())


@pytest.mark.long
@pytest.mark.timeout(KILLS_S_MAX)
@pytest.mark.parametrize("way", ["sync", "overlay"])
def test_a_kill_or_a_full_disk_in_the_middle_of_anything(way: str) -> None:
    seeds = [f"seed {seed}" for seed in range(SEEDS)]
    told = killing(way, 3, *seeds)
    assert set(told["kills"]) == set(seeds)


@pytest.mark.long
@pytest.mark.timeout(2 * KILLS_S_MAX)
def test_a_kill_or_a_full_disk_at_every_step() -> None:
    table: dict[str, Any] = {
        "commit": _git("rev-parse", "--short", "HEAD"),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    for way in ("sync", "overlay"):
        told = killing(way, 1)
        assert len(told["kills"]) == len(SITUATIONS)
        table[way] = {kind: {"all": sum(found.values()), **found} for kind, found in told.items()}
    TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
