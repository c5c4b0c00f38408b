"""What attendees lock by its mode, under an agent that may not read it then: kept as it was, named, never lost."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from ship_agent.files.place import remove_tree
from ship_agent.protocol.snapshot import Manifest, read_manifest
from ship_agent.snapshots import keeper
from ship_agent.snapshots.client import FilesClient
from ship_agent.snapshots.keeper import LOCKED, SnapshotKeeper
from ship_agent.snapshots.reading import Known, read_chunk
from ship_agent.snapshots.restore import restore
from ship_agent.snapshots.take import take
from tests.ship_agent.files.trees import write
from tests.ship_agent.files.ways import Room

HANGS_S = 60.0
NOW = 1.0
IMAGE = {"d/image": "1", "d/dropped": "1", "a": "1"}
MINE = {"d/mine": "mine", "d/e/deep": "mine", "file": "mine", "open": "mine"}
UNREADABLE = ["d", "file"]


@pytest.fixture
def room() -> Iterator[Room]:
    """The directory of an agent that is not root: by one that becomes somebody else, if this one is."""
    directory = Path(tempfile.mkdtemp(prefix="mux-files-"))
    made = Room(directory, "sync-user")
    try:
        made.bring_to(made.content(IMAGE))
        with made.acting():
            write(made.way.home, MINE)
            (made.way.home / "d" / "dropped").unlink()
        yield made
    finally:
        remove_tree(directory)


def lock(room: Room, mode: int) -> None:
    for name in UNREADABLE:
        (room.way.home / name).chmod(mode)


def files(manifest: Manifest) -> dict[str, list[str]]:
    return {entry.path: entry.chunks for entry in manifest.entries if entry.kind == "file"}


@pytest.mark.parametrize("mode", [0o000, 0o100, 0o200])
def test_what_is_locked_stays_in_snapshots_as_it_was_and_is_named(room: Room, mode: int) -> None:
    home = room.way.home
    with room.acting():
        before = take(home, Known(), NOW).manifest
        lock(room, mode)
        known = Known()
        alone = take(home, known, NOW).manifest
        taken = take(home, known, NOW, earlier=before).manifest
        after = take(home, known, NOW, earlier=taken).manifest
    assert alone.locked == UNREADABLE
    assert files(alone).keys() == {"open"}
    assert alone.gone == [], "what cannot be seen is not deleted"
    assert (files(taken), taken.gone, taken.locked) == (files(before), before.gone, UNREADABLE)
    assert after == taken, "and in every one after it"
    modes = {entry.path: entry.mode for entry in taken.entries}
    assert (modes["d"], modes["file"]) == (mode, mode)


def test_what_is_locked_is_on_the_next_ship_as_locked_as_it_was(room: Room) -> None:
    home = room.way.home
    (room.directory / "there").mkdir()
    there = Room(room.directory / "there", room.name)
    with room.acting():
        before = take(home, Known(), NOW)
        chunks = {chunk: read_chunk(home, source, chunk) or b"" for chunk, source in before.sources.items()}
        lock(room, 0o000)
        taken = take(home, Known(), NOW, earlier=before.manifest).manifest
    there.bring_to(there.content(IMAGE))
    with there.acting():
        restore(there.way.home, taken, chunks.__getitem__)
    assert there.seen() == room.seen()


class Mux:
    """Keeps every snapshot with its chunks; the stand-in for a `FilesClient`."""

    def __init__(self) -> None:
        self.linked = asyncio.Event()
        self.linked.set()
        self.chunks: set[str] = set()
        self.kept: list[Manifest] = []
        self.newer = asyncio.Event()

    async def offer(self, of: str, body: bytes) -> list[str]:
        """What is missing of it."""
        assert of
        manifest = read_manifest(body)
        missing = [chunk for chunk in manifest.chunks() if chunk not in self.chunks]
        if not missing:
            self.kept.append(manifest)
            self.newer.set()
        return missing

    async def put(self, of: str, chunk: str, block: bytes) -> None:
        """Keep one."""
        assert of and block
        self.chunks.add(chunk)

    async def newest(self, of: str) -> Manifest | None:
        """The last."""
        assert of
        return self.kept[-1] if self.kept else None

    async def close(self) -> None:
        """Nothing is open."""


async def test_what_is_locked_is_told_while_it_is_though_the_agent_is_another_one(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_S", 0.01)
    mux = Mux()
    with room.acting():
        for locked in (False, True, True, False):
            lock(room, 0o000 if locked else 0o700)
            (room.way.home / "open").write_text(f"{len(mux.kept)}")
            mux.newer.clear()
            snapshots = SnapshotKeeper(cast(FilesClient, mux), tmp_path / "staging")
            snapshots.watch({"intro": room.way.home}, frozenset())
            running = asyncio.create_task(snapshots.run())
            try:
                async with asyncio.timeout(HANGS_S):
                    await mux.newer.wait()
                    while snapshots.unkept() != ({"intro": LOCKED} if locked else {}):
                        await asyncio.sleep(0.01)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            newest = mux.kept[-1]
            assert newest.locked == (UNREADABLE if locked else [])
            assert files(newest).keys() == MINE.keys()
            assert newest.gone == ["d/dropped"]
