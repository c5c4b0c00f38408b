"""The runtime `process` with files as overlays, where they can be mounted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from ship_agent.cli import CommandError, make_runtime
from ship_agent.files.mounts import unmount, upper_at
from ship_agent.protocol.snapshot import Manifest
from ship_agent.runtimes.process import ProcessRuntime
from ship_agent.snapshots.base import Files, Keeping
from ship_agent.snapshots.restore import restore
from tests.files.snapshots import file_entry
from tests.ship_agent.files.conftest import need
from tests.ship_agent.runtimes.conftest import Lab, opened


class Restorer:
    """Has one snapshot, and restores it; stands for a `SnapshotKeeper`."""

    async def restore(self, name: str, directory: Path, snapshot: str) -> None:
        assert name and snapshot
        manifest = Manifest(digest="", taken_at=0, entries=[file_entry(b"mine.txt", b"mine")])
        await asyncio.to_thread(restore, directory, manifest, lambda _: b"mine")


class OverlayLab(Lab):
    """A lab whose runtime mounts overlays."""

    def make(self) -> ProcessRuntime:
        return ProcessRuntime(self.directory / "ship", files="overlay")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    need("overlay", tmp_path)
    async with opened(OverlayLab(tmp_path)) as lab:
        yield lab


async def test_a_workspace_runs_on_an_overlay_through_a_new_image_and_another_agent(lab: Lab) -> None:
    spec = await lab.started(text="first")
    home = lab.directory / "ship/workspaces" / spec.id / "home"
    await lab.ask(spec, "write", name="mine.txt", text="kept")
    await lab.again()
    assert upper_at(home) == str(home.parent / "upper-1")
    await lab.runtime.stop(spec.id, 5)
    project = await lab.project(text="second")
    await lab.runtime.pull(project, project.digest, lambda _: None)
    spec = replace(spec, project=project, digest=project.digest)

    await lab.runtime.start(spec)
    await lab.answers(spec)

    assert upper_at(home) == str(home.parent / "upper-2")
    assert [await lab.ask(spec, "read", name=name) for name in ("notes.txt", "mine.txt")] == ["second", "kept"]
    assert sorted(path.name for path in (home.parent / "upper-2").iterdir()) == ["mine.txt"]
    await lab.runtime.remove(spec.id)
    assert upper_at(home) is None
    assert list(home.parent.parent.iterdir()) == []


async def test_files_are_restored_to_an_overlay_that_is_not_mounted_any_more(lab: Lab) -> None:
    spec = await lab.started(text="first")
    await lab.runtime.stop(spec.id, 5)
    home = lab.directory / "ship/workspaces" / spec.id / "home"
    unmount(home)  # as a machine that went down leaves it
    project = await lab.project(text="second")
    await lab.runtime.pull(project, project.digest, lambda _: None)
    moved = replace(spec, project=project, digest=project.digest, epoch=3, receipt="r", restore="0" * 64)

    await Keeping(lab.runtime, cast(Files, Restorer())).have(moved)

    assert upper_at(home) == str(home.parent / "upper-2")
    assert ((home / "notes.txt").read_text(), (home / "mine.txt").read_bytes()) == ("second", b"mine")
    await lab.runtime.start(moved)
    await lab.answers(moved)
    assert await lab.ask(moved, "read", name="mine.txt") == "mine"


def test_overlays_are_refused_where_containers_would_not_see_them(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="use --files sync"):
        make_runtime("docker", tmp_path, files="overlay")
