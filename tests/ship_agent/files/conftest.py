"""A room for each way, on a real file system."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ship_agent.files.mounts import can_mount
from ship_agent.files.place import remove_tree
from tests.ship_agent.files.ways import Room


def need(way: str, directory: Path) -> None:
    """Skip what cannot be tested here; with CI set it must be."""
    missing = ""
    if way == "overlay" and not can_mount(directory):
        missing = "overlays cannot be mounted here: that needs root on Linux"
    elif way == "sync-user" and os.geteuid() != 0:
        missing = "the way sync runs without privileges already"
    if missing and os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


@pytest.fixture(params=["sync", "sync-user", "overlay"])
def room(request: pytest.FixtureRequest) -> Iterator[Room]:
    # Not pytest's own directory: nobody but its owner gets in there.
    with_rights = Path(tempfile.mkdtemp(prefix="mux-files-"))
    try:
        need(request.param, with_rights)
        room = Room(with_rights, request.param)
        yield room
        room.close()
    finally:
        remove_tree(with_rights)
