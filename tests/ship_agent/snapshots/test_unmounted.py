"""Overlays that are not mounted, as after a boot: what the attendee changed is in snapshots all the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ship_agent.files.base import FilesFailure
from ship_agent.files.place import remove_tree
from ship_agent.files.record import RECORD
from ship_agent.protocol.snapshot import SnapshotEntry
from ship_agent.snapshots.look import look
from ship_agent.snapshots.reading import Known, read_chunk
from ship_agent.snapshots.take import Taken, source_of, take
from tests.ship_agent.files.conftest import need
from tests.ship_agent.files.ways import Room

IMAGE = {"a": "1", "b": "1", "gone": "1", "d/x": "1", "d/y": "1", "e/z": "1", "e/f/z": "1", "w/v": "1"}
NOW = 1.0


@pytest.fixture
def room() -> Iterator[Room]:
    """An overlay in which everything was done that can be: edited, made, deleted, deleted and made again."""
    directory = Path(tempfile.mkdtemp(prefix="mux-files-"))
    try:
        need("overlay", directory)
        made = Room(directory, "overlay")
        try:
            made.bring_to(made.content(IMAGE))
            home = made.way.home
            (home / "a").write_text("edited")
            (home / "gone").unlink()
            shutil.rmtree(home / "d")
            (home / "d").mkdir()
            (home / "d" / "y").write_text("mine")
            shutil.rmtree(home / "e")
            (home / "w").chmod(0o700)
            (home / "own" / "deep").mkdir(parents=True)
            (home / "own" / "deep" / "file").write_text("own")
            (home / "link").symlink_to("/etc")
            yield made
        finally:
            made.close()
    finally:
        remove_tree(directory)


def of(taken: Taken) -> tuple[list[SnapshotEntry], list[str]]:
    """What counts of a snapshot: not when a directory was written to."""
    return [one.model_copy(update={"mtime_ns": 0}) for one in taken.manifest.entries], taken.manifest.gone


def test_what_lies_over_an_image_is_taken_whether_it_is_mounted_or_not(room: Room) -> None:
    home = room.way.home
    mounted = take(home, Known(), NOW)
    assert mounted.manifest.gone == ["d/x", "e", "e/f", "e/f/z", "e/z", "gone"]
    room.way.release()
    assert list(home.iterdir()) == []
    known = Known()
    taken = take(home, known, NOW)
    assert of(taken) == of(mounted)
    assert taken.look == look(source_of(home, known)), "another look that equals it needs no other snapshot"
    for chunk, source in taken.sources.items():
        assert read_chunk(taken.directory, source, chunk) is not None


def test_without_its_record_all_that_lies_over_the_image_is_the_attendees(room: Room) -> None:
    room.way.release()
    (room.workspace / RECORD).write_text("{")
    entries, gone = of(take(room.way.home, Known(), NOW))
    assert {entry.path for entry in entries} == {"a", "d", "d/y", "link", "own", "own/deep", "own/deep/file", "w"}
    assert gone == []


def test_a_directory_that_is_mounted_meanwhile_is_taken_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.way.release()
    places = iter([source_of(room.way.home, Known()), room.way.home])
    monkeypatch.setattr("ship_agent.snapshots.take.source_of", lambda *_: next(places))
    with pytest.raises(FilesFailure, match="exchanged") as failure:
        take(room.way.home, Known(), NOW)
    assert failure.value.retryable
