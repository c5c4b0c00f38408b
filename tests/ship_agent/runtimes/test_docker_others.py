"""Images that others made: where an attendee's files are in a container, whatever the image says of its directories."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.docker_engine import Engine
from tests.ship_agent.runtimes.conftest import opened
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
