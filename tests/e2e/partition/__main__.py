"""``python -m tests.e2e.partition``: measures the table and writes it; needs root."""

from __future__ import annotations

import asyncio
import sys

from tests.docker_engine import shared_engine
from tests.e2e.partition.cases import CASES, cases
from tests.e2e.partition.table import put

LOST_AFTER_S = 20.0


async def measure() -> None:
    """Every way of being cut off, in one house of processes and one of containers."""
    rows = []
    with shared_engine() as shared:
        for engine in (None, shared):
            async for row in cases(LOST_AFTER_S, tuple(CASES), engine):
                sys.stdout.write(f"{row}\n")
                sys.stdout.flush()
                rows.append(row)
    put(rows)


if __name__ == "__main__":
    asyncio.run(measure())
