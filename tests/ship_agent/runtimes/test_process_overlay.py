"""The runtime `process` with files as overlays, where they can be mounted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ship_agent.cli import CommandError, make_runtime
from ship_agent.files.mounts import upper_at
from ship_agent.runtimes.process import ProcessRuntime
from tests.ship_agent.files.conftest import need
from tests.ship_agent.runtimes.conftest import Lab, opened


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


def test_overlays_are_refused_where_containers_would_not_see_them(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="use --files sync"):
        make_runtime("docker", tmp_path, files="overlay")
