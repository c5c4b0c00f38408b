"""Many seeds, in several processes, and what they came to."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.sim.actions import scenario
from tests.sim.house import House
from tests.sim.rules import BrokenRuleError

RESULTS = Path(__file__).with_name("results.json")
CHUNK = 50
FAILURES_KEPT = 20
"""Failing seeds that are named; more say no more."""


@dataclass
class Tally:
    """What some seeds came to. ``failures``: seed and broken rule."""

    seeds: int = 0
    events: int = 0
    batches: int = 0
    virtual_s: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another tally in."""
        self.seeds += other.seeds
        self.events += other.events
        self.batches += other.batches
        self.virtual_s += other.virtual_s
        self.kinds += other.kinds
        self.failures += other.failures


def run_seeds(seeds: Iterable[int]) -> Tally:
    """Run seeds one after the other."""
    tally = Tally()
    for seed in seeds:
        tally.seeds += 1
        try:
            outcome = House(scenario(seed)).run()
        except BrokenRuleError as error:
            tally.failures.append((seed, str(error)))
            continue
        tally.events += outcome.events
        tally.batches += outcome.batches
        tally.virtual_s += outcome.virtual_s
        tally.kinds += outcome.kinds
    return tally


def run_many(seeds: Sequence[int], jobs: int, tell: Callable[[Tally], None] = lambda part: None) -> Tally:
    """Run seeds in so many processes. ``tell`` hears of each part as it is done, in the order of the seeds."""
    tally = Tally()
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        for part in pool.map(run_seeds, chunks):
            tell(part)
            tally.add(part)
    return tally


def commit_here() -> str:
    """The commit that is checked out, with a mark when files differ from it. Ask before a long run, not after it."""
    words = ["git", "describe", "--always", "--abbrev=7", "--exclude=*", "--dirty"]
    return subprocess.run(words, cwd=RESULTS.parent, capture_output=True, text=True, check=False).stdout.strip()


def write_results(tally: Tally, took_s: float, commit: str, path: Path = RESULTS) -> None:
    """Keep what a long run of a commit came to as data."""
    good = max(1, tally.seeds - len(tally.failures))
    found = {
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seeds": tally.seeds,
        "failures": [{"seed": seed, "rule": rule} for seed, rule in tally.failures[:FAILURES_KEPT]],
        "events_per_seed": round(tally.events / good, 1),
        "calls_of_the_core_per_seed": round(tally.batches / good, 1),
        "virtual_hours": round(tally.virtual_s / 3600, 1),
        "wall_s": round(took_s, 1),
        "actions_by_kind": dict(sorted(tally.kinds.items())),
    }
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def timed(seeds: Sequence[int], jobs: int, tell: Callable[[Tally], None] = lambda part: None) -> tuple[Tally, float]:
    """Run seeds; the tally, and how long it took in seconds."""
    started = time.monotonic()
    return run_many(seeds, jobs, tell), time.monotonic() - started
