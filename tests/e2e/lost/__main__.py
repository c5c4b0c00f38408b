"""``python -m tests.e2e.lost``: kills ships under an attendee who saves, and writes how old the files are after it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from datetime import UTC, datetime

from tests.docker_engine import ROOT, Engine, shared_engine
from tests.e2e.kills.attendee import FILE
from tests.e2e.lost.ages import figures, measured, write
from tests.e2e.lost.house import SHARED_FILE
from tests.images.conftest import build


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.lost", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--containers", action="store_true", help="workspaces are JupyterLab in containers")
    parser.add_argument("--shared", action="store_true", help="what is saved is in the directory that projects share")
    options = parser.parse_args()
    with shared_engine() if options.containers else contextlib.nullcontext() as engine:
        asyncio.run(measure(options.kills, options.seed, engine, shared=options.shared))


async def measure(kills: int, seed: int, engine: Engine | None, *, shared: bool) -> None:
    """Measure; what is there is written after each kill, so that a run can be cut off."""
    date = datetime.now(UTC).date().isoformat()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    ages: list[float] = []
    if engine is not None:
        build(engine)
    async for age in measured(kills, seed, engine, SHARED_FILE if shared else FILE):
        ages.append(age)
        sys.stdout.write(f"{len(ages)}: {age:.2f} s\n")
        sys.stdout.flush()
        found = figures(ages, seed=seed, commit=commit, date=date)
        write(found, "shared" if shared else "containers" if engine is not None else "")


if __name__ == "__main__":
    main()
