"""``python -m tests.e2e.lost``: kills ships under an attendee who saves, and writes how old the files are after it."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from datetime import UTC, datetime

from tests.docker_engine import ROOT
from tests.e2e.lost.ages import figures, measured, write


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.lost", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(measure(options.kills, options.seed))


async def measure(kills: int, seed: int) -> None:
    """Measure; what is there is written after each kill, so that a run can be cut off."""
    date = datetime.now(UTC).date().isoformat()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    ages: list[float] = []
    async for age in measured(kills, seed):
        ages.append(age)
        sys.stdout.write(f"{len(ages)}: {age:.2f} s\n")
        sys.stdout.flush()
        write(figures(ages, seed=seed, commit=commit, date=date))


if __name__ == "__main__":
    main()
