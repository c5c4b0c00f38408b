"""When a ship takes snapshots, on a clock that each look at a directory moves on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from ship_agent.protocol.snapshot import Manifest
from ship_agent.snapshots import keeper
from ship_agent.snapshots.client import FilesClient, FilesError
from ship_agent.snapshots.keeper import LOOK_S, SnapshotKeeper
from ship_agent.snapshots.look import Look, look
from tests.files.snapshots import file_entry

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
        if not snapshots._watched["intro"].sending:  # what a snapshot takes on a busy machine is not the test's to say
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


class Store:
    """Keeps what it is offered, of ``slow`` only once ``go`` is set, and gives chunks as often as ``answers`` says."""

    def __init__(self) -> None:
        self.linked = asyncio.Event()
        self.linked.set()
        self.go = asyncio.Event()
        self.kept: asyncio.Queue[str] = asyncio.Queue()
        self.error: FilesError | None = None
        self.asked = 0

    async def offer(self, of: str, body: bytes) -> list[str]:
        """Nothing is missing."""
        assert body
        if of == "slow":
            await self.go.wait()
        if self.error is not None:
            raise self.error
        self.kept.put_nowait(of)
        return []

    async def manifest(self, of: str, snapshot: str) -> Manifest:
        """One file of one chunk."""
        assert of and snapshot
        return Manifest(digest="", taken_at=0, entries=[file_entry(b"a.txt", b"A")])

    async def chunk(self, of: str, chunk: str) -> bytes:
        """Not with the first answer."""
        assert of and chunk
        self.asked += 1
        if self.asked == 1:
            raise FilesError("no answer", retryable=True)
        return b"A"

    async def close(self) -> None:
        """Nothing is open."""


def written(home: Path) -> Path:
    """A directory with something new in it."""
    home.mkdir()
    (home / "new.txt").write_text("new")
    return home


@contextlib.asynccontextmanager
async def at_work(store: Store, tmp_path: Path, *names: str) -> AsyncIterator[SnapshotKeeper]:
    """A keeper that watches so many directories with something new in them."""
    made = SnapshotKeeper(cast(FilesClient, store), tmp_path / "staging")
    made.watch({name: written(tmp_path / name) for name in names}, frozenset())
    running = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(HANGS_S):
            yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_store_that_is_slow_for_one_holds_up_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_S", 0.01)
    store = Store()
    async with at_work(store, tmp_path, "quick", "slow") as snapshots:
        for number in range(3):
            assert await store.kept.get() == "quick"
            (tmp_path / "quick" / "new.txt").write_text(f"{number}")
        (tmp_path / "slow" / "new.txt").write_text("newer than what is being sent")
        while not snapshots.behind().get("slow"):
            await asyncio.sleep(0.01)  # it is looked at all the same
        store.go.set()
        while snapshots.behind().get("slow"):
            await asyncio.sleep(0.01)
        assert snapshots.unkept() == {}


async def test_what_cannot_be_sent_is_said_until_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK_S", 0.01)
    monkeypatch.setattr(keeper, "RETRY_S", 0.01)
    store = Store()
    store.error = FilesError("the store of files answered with 403 AccessDenied", retryable=True)
    async with at_work(store, tmp_path, "intro") as snapshots:
        while not snapshots.unkept():
            await asyncio.sleep(0.01)
        assert snapshots.unkept() == {"intro": str(store.error)}
        store.error = None
        assert await store.kept.get() == "intro"
        while snapshots.unkept():
            await asyncio.sleep(0.01)


async def test_one_answer_that_is_lost_does_not_end_a_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FETCH_PAUSE_S", 0.0)
    store, home = Store(), tmp_path / "home"
    home.mkdir()
    await SnapshotKeeper(cast(FilesClient, store), tmp_path / "staging").restore("intro", home, "0" * 64)
    assert ((home / "a.txt").read_bytes(), store.asked) == (b"A", 2)
