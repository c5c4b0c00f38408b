"""``python -m tests.e2e.kills``: measures the table and writes it, row by row; takes minutes for each runtime.

Rows that were measured before stay, so that a run can be cut off and gone on with: ``--missing`` measures the others.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.docker_engine import ROOT, Engine, shared_engine
from tests.e2e.kills import table
from tests.e2e.kills.every import Happening, every, measured
from tests.images.conftest import build


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.kills", description=__doc__)
    parser.add_argument("runtime", nargs="*", default=["process", "docker"], help="process, docker or both")
    parser.add_argument("--missing", action="store_true", help="measure only what the table has not")
    parser.add_argument("--only", action="append", metavar="PART+PART", help="measure this row")
    options = parser.parse_args()
    for runtime in options.runtime:
        chosen = [tuple(each.split("+")) for each in options.only] if options.only else every(runtime)
        if options.missing:
            there = {row.key for row in table.rows()}
            chosen = [each for each in chosen if (runtime, each) not in there]
        with shared_engine() if runtime == "docker" else contextlib.nullcontext() as engine:
            asyncio.run(measure(chosen, engine))


async def measure(chosen: Sequence[Happening], engine: Engine | None) -> None:
    """Measure rows, and write each when it is there."""
    if engine is not None:
        build(engine)
    date = datetime.now(UTC).date().isoformat()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    async for row in measured(chosen, engine):
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
        table.put([row], commit=commit, date=date)


if __name__ == "__main__":
    main()
