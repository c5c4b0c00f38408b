"""What was confirmed is there after ``kill -9``, whole batches only."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from mux.store.sql import SqlStore, sqlite_url

ROOT = Path(__file__).parents[2]


async def _confirmed_until_killed(path: Path, after: int) -> int:
    """Run the writer, kill it once it has confirmed ``after`` batches, and return the last number it confirmed."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.crash_writer", str(path), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    try:
        for _ in range(after):
            line = await writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        rest = await writer.stdout.read()
    finally:
        if writer.returncode is None:
            await writer.wait()
    numbers = [int(number) for number in (line + rest).decode().splitlines() if number]
    return max(numbers)


async def test_a_writer_killed_in_the_middle_loses_nothing_it_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "mux.db"
    for after in (3, 17, 40):
        confirmed = await _confirmed_until_killed(path, after)
        store = SqlStore(sqlite_url(path))
        await store.open()
        records = await store.load(0.0)
        await store.close()
        assert records.controls is not None
        written = records.controls.turns
        # The last batch may have been written and not yet confirmed, as a whole.
        assert written in (confirmed, confirmed + 1)
        everybody = {f"user-{turn}" for turn in range(1, written + 1)}
        assert {kept.user for kept in records.assignments} == everybody
        assert {kept.user for kept in records.sessions} == everybody
        assert records.epochs == {f"user-{turn}": turn for turn in range(1, written + 1)}
        assert records.ships[0].generation == written


async def test_a_writer_killed_while_it_makes_the_database_leaves_one_that_opens(tmp_path: Path) -> None:
    path = tmp_path / "mux.db"
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.crash_writer", str(path), stdout=asyncio.subprocess.DEVNULL, cwd=ROOT
    )
    while not path.exists():
        await asyncio.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    await writer.wait()
    store = SqlStore(sqlite_url(path))
    await store.open()
    await store.close()
