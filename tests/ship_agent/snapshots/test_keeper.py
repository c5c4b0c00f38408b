"""When a ship takes snapshots, on a clock that each look at a directory moves on."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ship_agent.snapshots import keeper
from ship_agent.snapshots.client import FilesClient
from ship_agent.snapshots.keeper import LOOK_S, SnapshotKeeper
from ship_agent.snapshots.take import Look, look

AT_LEAST_EVERY_S = 30.0
"""What is promised while changes go on."""
CROWDED_S = 2.45
"""Between two looks on a ship where one takes 0.35 s, with the rest that follows it."""
HANGS_S = 60.0


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        """As `time.monotonic`."""
        return self.now


class Mux:
    """Takes every snapshot, and knows when; the stand-in for a `FilesClient`."""

    def __init__(self, clock: Clock, enough: int) -> None:
        self.linked = asyncio.Event()
        self.linked.set()
        self.offered_at: list[float] = []
        self.had_enough = asyncio.Event()
        self._clock = clock
        self._enough = enough

    async def offer(self, of: str, body: bytes) -> list[str]:
        """Nothing of it is missing."""
        assert of == "intro"
        assert b"growing.log" in body
        self.offered_at.append(self._clock.now)
        if len(self.offered_at) >= self._enough:
            self.had_enough.set()
        return []

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("apart_s", [LOOK_S, CROWDED_S])
async def test_what_is_written_without_pause_is_kept_at_least_every_30_s(
    apart_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    growing = home / "growing.log"
    clock = Clock()
    mux = Mux(clock, enough=4)

    def written_meanwhile(directory: Path) -> Look:
        """No two looks see the same: the writer is faster than any of them."""
        with growing.open("ab") as file:
            file.write(b"another line\n")
        clock.now += apart_s
        return look(directory)

    monkeypatch.setattr(keeper, "look", written_meanwhile)
    monkeypatch.setattr(keeper, "time", SimpleNamespace(monotonic=clock.read, time=clock.read))
    # The pauses pass on the test's clock alone.
    monkeypatch.setattr(keeper, "LOOK_S", 0.0)
    monkeypatch.setattr(keeper, "REST", 0.0)
    began = clock.now
    snapshots = SnapshotKeeper(cast(FilesClient, mux), tmp_path / "staging")
    snapshots.watch({"intro": home}, frozenset())
    running = asyncio.create_task(snapshots.run())
    try:
        async with asyncio.timeout(HANGS_S):
            await mux.had_enough.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    taken = [began, *mux.offered_at]
    gaps = [later - earlier for earlier, later in itertools.pairwise(taken)]
    # More than two looks apart: it was not taken for finished, but for having been written for long.
    assert all(2 * apart_s < gap <= AT_LEAST_EVERY_S for gap in gaps), gaps
