"""Snapshots of directories that are written to without pause, too large, or on a disk that does not answer."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
from pathlib import Path
from typing import Any, cast

import pytest

from ship_agent.files.base import FilesFailure
from ship_agent.files.record import RECORD, Record
from ship_agent.protocol.snapshot import CHUNK_BYTES, Manifest, SnapshotEntry, read_manifest
from ship_agent.snapshots import keeper, reading
from ship_agent.snapshots import take as take_module
from ship_agent.snapshots.client import FilesClient
from ship_agent.snapshots.keeper import SnapshotKeeper
from ship_agent.snapshots.reading import Known, TurnOverError, read_chunk
from ship_agent.snapshots.restore import restore
from ship_agent.snapshots.take import fitting, take
from tests.files.snapshots import file_entry

HANGS_S = 60.0
NOW = 1.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of an attendee, without an image."""
    made = tmp_path / "home"
    made.mkdir()
    return made


def paths(manifest: Manifest) -> list[str]:
    return [entry.path for entry in manifest.entries]


@pytest.mark.parametrize("call", ["open", "stat", "scandir"])
def test_what_the_ship_cannot_read_now_is_not_taken_for_deleted(
    home: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "d").mkdir()
    (home / "d" / "notes.txt").write_text("mine")
    real = getattr(os, call)
    asked = itertools.count()

    def exhausted(*args: Any, **named: Any) -> Any:
        if next(asked) >= 1:  # the directory itself can be had
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*args, **named)

    with monkeypatch.context() as here:
        here.setattr(os, call, exhausted)
        with pytest.raises(FilesFailure) as failure:
            take(home, Known(), NOW)
    assert failure.value.retryable
    assert paths(take(home, Known(), NOW).manifest) == ["d", "d/notes.txt"]


def test_a_file_that_shrinks_whenever_it_is_read_is_taken_as_what_there_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = home / "log"
    log.write_bytes(b"x" * 5000)
    real = reading._pread

    def shrinking(opened: int, size: int, at: int) -> bytes:
        os.truncate(log, os.fstat(opened).st_size - 100)
        return real(opened, size, at)

    monkeypatch.setattr(reading, "_pread", shrinking)
    (entry,) = take(home, Known(), NOW).manifest.entries
    assert 0 < entry.size < 5000
    assert len(entry.chunks) == 1


def test_what_grows_is_sent_as_it_was_when_it_was_taken(home: Path) -> None:
    (home / "log").write_bytes(b"one line\n")
    ((chunk, source),) = take(home, Known(), NOW).sources.items()
    with (home / "log").open("ab") as file:
        file.write(b"another line\n")
    assert read_chunk(home, source, chunk) == b"one line\n"


class Slow:
    """A mux that wants every chunk, and a file that is another one whenever it was offered."""

    def __init__(self, changing: Path) -> None:
        self.linked = asyncio.Event()
        self.linked.set()
        self.brought: dict[str, bytes] = {}
        self.kept: asyncio.Queue[Manifest] = asyncio.Queue()
        self._changing = changing
        self._numbers = itertools.count()

    async def offer(self, of: str, body: bytes) -> list[str]:
        """What is missing of it."""
        assert of
        manifest = read_manifest(body)
        self._changing.write_text(f"{next(self._numbers)}")
        missing = [chunk for chunk in manifest.chunks() if chunk not in self.brought]
        if not missing:
            self.kept.put_nowait(manifest)
        return missing

    async def put(self, of: str, chunk: str, block: bytes) -> None:
        """Keep one."""
        assert of
        self.brought[chunk] = block

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_file_that_is_rewritten_without_pause_does_not_keep_the_others_out(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_S", 0.01)
    (home / "notes.txt").write_text("mine")
    (home / "progress").write_text("")
    mux = Slow(home / "progress")
    snapshots = SnapshotKeeper(cast(FilesClient, mux), tmp_path / "staging")
    snapshots.watch({"intro": home}, frozenset())
    running = asyncio.create_task(snapshots.run())
    try:
        async with asyncio.timeout(HANGS_S):
            manifest = await mux.kept.get()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert paths(manifest) == ["notes.txt", "progress"]
    assert b"mine" in mux.brought.values()


async def test_much_to_read_is_read_in_turns(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TURN_BYTES", 1000)
    monkeypatch.setattr(keeper, "LOOK_S", 0.01)
    for number in range(5):
        (home / f"{number}").write_bytes(b"%d" % number * 800)
    known = Known()
    with pytest.raises(TurnOverError):
        take(home, known, NOW)
    assert len(known.hashed) == 2
    mux = Slow(tmp_path / "elsewhere")
    snapshots = SnapshotKeeper(cast(FilesClient, mux), tmp_path / "staging")
    snapshots.watch({"intro": home}, frozenset())
    running = asyncio.create_task(snapshots.run())
    try:
        async with asyncio.timeout(HANGS_S):
            assert paths(await mux.kept.get()) == ["0", "1", "2", "3", "4"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_files_beyond_the_bound_of_a_snapshot_are_left_out_and_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_module, "SNAPSHOT_BYTES_MAX", 100)
    for name, size in {"a": 60, "b": 60, "c": 30}.items():
        (home / name).write_bytes(bytes(size))
    manifest = take(home, Known(), NOW).manifest
    assert (paths(manifest), manifest.left_out) == (["a", "c"], ["b"])


def test_a_hole_is_restored_as_a_hole(home: Path, tmp_path: Path) -> None:
    with (home / "sparse").open("wb") as file:
        file.truncate(3 * CHUNK_BYTES + 5)
        file.seek(CHUNK_BYTES)
        file.write(b"data")
    taken = take(home, Known(), NOW)
    there = tmp_path / "there" / "home"
    there.mkdir(parents=True)
    chunks = {chunk: read_chunk(home, source, chunk) or b"" for chunk, source in taken.sources.items()}
    restore(there, taken.manifest, chunks.__getitem__)
    assert (there / "sparse").read_bytes() == (home / "sparse").read_bytes()
    assert (there / "sparse").stat().st_blocks * 512 <= 2 * CHUNK_BYTES


def entries(**files: int) -> list[SnapshotEntry]:
    """So many files in each directory, with the directory."""
    found = []
    for folder, number in files.items():
        parts = folder.split("__")
        found += [
            SnapshotEntry(path="/".join(parts[: depth + 1]), kind="dir", mode=0o755, uid=0, gid=0, mtime_ns=0)
            for depth in range(len(parts))
        ]
        found += [file_entry(f"{'/'.join(parts)}/{each}".encode(), b"") for each in range(number)]
    return sorted({entry.path: entry for entry in found}.values(), key=lambda entry: entry.name)


def test_a_package_environment_is_left_out_of_a_snapshot_that_would_be_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(take_module, "ENTRIES_MAX", 75)
    everything = [*entries(work=10, work__venv=5, work__venv__small=40, work__venv__torch=50, data=12)]
    stays, left_out = fitting(everything, 1 << 20)
    assert left_out == ["work/venv/torch"]
    assert {entry.path for entry in everything} - {entry.path for entry in stays} == {
        entry.path for entry in everything if entry.path.startswith("work/venv/torch")
    } | {"work/venv/torch"}
    assert fitting(stays, 1 << 20) == (stays, [])


def test_bytes_of_a_manifest_count_as_its_entries_do() -> None:
    everything = entries(work=10, cache=30)
    room = sum(len(entry.model_dump_json()) + 1 for entry in everything)
    assert fitting(everything, room) == (everything, [])
    stays, left_out = fitting(everything, room - 1000)
    assert left_out == ["work"], "the smallest that is enough"
    assert {entry.path.partition("/")[0] for entry in stays} == {"cache"}


def test_what_lies_in_no_directory_is_never_left_out() -> None:
    everything = [file_entry(b"%d" % number, b"") for number in range(10)]
    assert fitting(everything, 100) == (everything, [])


@pytest.mark.parametrize("damaged", [False, True])
def test_nothing_is_restored_below_a_mount_that_is_not_there(tmp_path: Path, *, damaged: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "upper-1").mkdir()
    Record("sha256:" + "1" * 64, {}, "upper-1").save(tmp_path / RECORD)
    if damaged:
        (tmp_path / RECORD).write_text("{")
    manifest = Manifest(digest="", taken_at=NOW, entries=[file_entry(b"a", b"A")])
    with pytest.raises(FilesFailure, match="not mounted"):
        restore(home, manifest, lambda _: b"A")
    assert list(home.iterdir()) == []


def test_a_directory_that_others_share_needs_no_mount_whatever_lies_beside_it(tmp_path: Path) -> None:
    shared = tmp_path / "data"
    shared.mkdir()
    (tmp_path / "upper-1").mkdir()
    (shared / "a").write_text("A")
    assert paths(take(shared, Known(), NOW).manifest) == ["a"]
