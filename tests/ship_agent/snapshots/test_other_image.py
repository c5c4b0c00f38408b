"""A snapshot that is put onto another image's content: what a change of images would have made of its directory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ship_agent.files.place import remove_tree
from ship_agent.snapshots.reading import Known, read_chunk
from ship_agent.snapshots.restore import restore
from ship_agent.snapshots.take import Taken, take
from tests.ship_agent.files.situations import SITUATIONS, Situation
from tests.ship_agent.files.trees import takes_attrs
from tests.ship_agent.files.ways import Room

NOT_IN_SNAPSHOTS = ("pipes and sockets", "deeper than a path may be long")


@pytest.fixture
def rooms() -> Iterator[tuple[Room, Room]]:
    """Two ships."""
    directory = Path(tempfile.mkdtemp(prefix="mux-files-"))
    made = []
    for name in ("here", "there"):
        (directory / name).mkdir()
        made.append(Room(directory / name, "sync"))
    yield made[0], made[1]
    remove_tree(directory)


def moved(taken: Taken, source: Path, target: Path) -> None:
    """Put a snapshot onto another ship."""
    chunks = {}
    for chunk, where in taken.sources.items():
        block = read_chunk(source, where, chunk)
        assert block is not None
        chunks[chunk] = block
    restore(target, taken.manifest, chunks.__getitem__)


@pytest.mark.parametrize(
    "situation",
    [one for one in SITUATIONS if one.name not in NOT_IN_SNAPSHOTS and not one.root],
    ids=lambda situation: situation.name,
)
def test_files_that_move_while_the_image_changes(rooms: tuple[Room, Room], situation: Situation) -> None:
    here, there = rooms
    if situation.attrs and not takes_attrs(here.directory):
        pytest.skip("this file system has no extended attributes")
    here.prepare(situation)
    taken = take(here.way.home, Known(), 1.0)
    there._contents = 1  # the next image
    there.bring_to(there.content(situation.new))
    for _ in range(2):
        moved(taken, here.way.home, there.way.home)
        assert there.seen() == here.full(situation.then)
