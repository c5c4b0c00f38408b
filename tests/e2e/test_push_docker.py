"""A push of containers while somebody works, in Chromium; `test_push` has the same on processes."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.docker_engine import Engine
from tests.e2e.people import Room
from tests.e2e.test_push import AtWork

pytestmark = [
    pytest.mark.long,
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(900),
    pytest.mark.parametrize("mux", ["docker"], indirect=True),
]
DOCKERFILE = "FROM mux/example\nRUN echo '# {word}' > /home/jovyan/README.md\n"


def changed_image(engine: Engine, word: str) -> str:
    """The example with another README, in the engine alone."""
    name = f"mux/example-{word}"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=DOCKERFILE.format(word=word).encode(),
        env=os.environ | {"DOCKER_HOST": engine.host, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        check=True,
    )
    return name


async def test_a_push_saves_what_is_typed_and_leaves_the_page_as_it_is(room: Room) -> None:
    assert room.mux.engine is not None
    ana = await AtWork.begins(room, "Ana")
    image = changed_image(room.mux.engine, "fixed")
    await room.mux.run("push", "intro", image, "--yes", "--when", "now", "--max-unavailable", "100%")
    await ana.sees_that_nothing_is_lost()
    assert await ana.lab.read("README.md") == "# fixed\n"
    await ana.goes_on()
