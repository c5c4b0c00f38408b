"""``python -m tests.e2e.pushes``: measures the table and writes it, row by row, on containers and on processes.

Rows that were measured before stay, so that a run can be cut off and gone on with: ``--missing`` measures the others,
``--only`` one of them, ``--runtime`` those of a runtime. All take about a quarter of an hour on two quiet cores.
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
from tests.e2e.pushes import table
from tests.e2e.pushes.every import CASES, KINDS
from tests.e2e.pushes.house import open_house
from tests.e2e.pushes.images import PROCESS, Kind


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.pushes", description=__doc__)
    parser.add_argument("--missing", action="store_true", help="measure only what the table has not")
    parser.add_argument("--only", action="append", metavar="ROW", help="measure this row")
    parser.add_argument("--runtime", choices=["docker", "process"], help="measure on this runtime alone")
    options = parser.parse_args()
    there = {row.key for row in table.rows()} if options.missing else set()
    for kind, cases in KINDS.items():
        wanted = [what for what in cases if what in (options.only or CASES) and (kind.name, what) not in there]
        runtime = "process" if kind is PROCESS else "docker"
        if wanted and options.runtime in {None, runtime}:
            with shared_engine() if runtime == "docker" else contextlib.nullcontext() as engine:
                asyncio.run(measure(engine, kind, wanted))


async def measure(engine: Engine | None, kind: Kind, wanted: Sequence[str]) -> None:
    """Measure rows in one house, and write each when it is there."""
    date = datetime.now(UTC).date().isoformat()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    async with open_house(engine, kind) as house:
        for what in wanted:
            row = await CASES[what](house)
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
            table.put([row], commit=commit, date=date)


if __name__ == "__main__":
    main()
