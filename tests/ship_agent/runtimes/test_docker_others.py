"""Images that others made: where an attendee's files are in a container, whatever the image says of its directories."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ship_agent.runtimes import docker_images
from ship_agent.runtimes.image_config import image_of
from tests.docker_engine import Engine
from tests.ship_agent.runtimes.conftest import opened
from tests.ship_agent.runtimes.docker_image import HOME
from tests.ship_agent.runtimes.docker_lab import DockerLab

DOCKERFILE = """\
COPY --chown=1000:100 home /opt/tutorial
COPY --chown=1000:100 home/notes.txt /opt/tutorial/work/
VOLUME /opt/tutorial/work
WORKDIR /opt/tutorial
CMD ["jupyter", "lab"]"""
"""Its Jupyter starts elsewhere than in its HOME, and there is a volume below that."""


@pytest.fixture
async def lab(docker_engine: Engine, tmp_path: Path) -> AsyncIterator[DockerLab]:
    """A lab."""
    async with opened(lab := DockerLab(tmp_path, docker_engine)):
        yield lab


async def test_what_is_saved_where_jupyter_starts_is_kept_in_volumes_too(lab: DockerLab) -> None:
    spec = await lab.started(text="from the image", dockerfile=DOCKERFILE)
    home = lab.directory / "ship/containers" / spec.id / "home"

    # Names are relative to the working directory.
    assert await lab.ask(spec, "read", name="notes.txt") == "from the image"
    assert await lab.ask(spec, "read", name="work/notes.txt") == "from the image"
    assert (await lab.ask(spec, "environment"))["HOME"] == "/home/jovyan"
    for name in ("mine.txt", "work/mine.txt"):
        await lab.ask(spec, "write", name=name, text="saved")
        assert (home / name).read_text() == "saved"

    await lab.runtime.stop(spec.id, 1)
    await lab.runtime.start(spec)
    await lab.answers(spec)

    assert await lab.ask(spec, "read", name="work/mine.txt") == "saved"
    assert (await lab.container(spec))["Mounts"] != []
    assert not [mount for mount in (await lab.container(spec))["Mounts"] if mount["Type"] == "volume"]


async def test_a_workspace_that_an_older_agent_began_keeps_its_files_where_they_are(
    lab: DockerLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of agents that took the files to be in HOME whatever the image starts, and did not note where they are."""
    with monkeypatch.context() as older:
        older.setattr(
            docker_images,
            "image_of",
            lambda inspected, kept="", project=None: image_of(inspected, kept or HOME, project),
        )
        spec = await lab.started(text="from the image", dockerfile=DOCKERFILE)
    await lab.ask(spec, "write", name=f"{HOME}/mine.txt", text="saved")
    place = lab.directory / "ship/containers" / spec.id / "workspace.json"
    noted = json.loads(place.read_text(encoding="utf-8"))
    assert noted.pop("home") == HOME
    place.write_text(json.dumps(noted), encoding="utf-8")

    await lab.again()
    for _ in range(2):
        await lab.runtime.stop(spec.id, 1)
        await lab.again()
        await lab.runtime.start(spec)
        await lab.answers(spec)
        assert await lab.ask(spec, "read", name=f"{HOME}/mine.txt") == "saved"
        assert await lab.ask(spec, "read", name="/opt/tutorial/notes.txt") == "from the image"

    newer = lab.spec(spec.project, "ship-1.1.intro.2", seat=1)
    await lab.runtime.start(newer)
    await lab.answers(newer)
    assert await lab.ask(newer, "read", name="/opt/tutorial/work/notes.txt") == "from the image"
    await lab.ask(newer, "write", name="/opt/tutorial/theirs.txt", text="saved")
    assert (place.parent.parent / newer.id / "home" / "theirs.txt").read_text(encoding="utf-8") == "saved"
