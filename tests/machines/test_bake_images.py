"""A machine that is baked with a workspace image inside: it boots, pulls nothing, and holds no login."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.docker_engine import Engine
from tests.machines.rig import Harbour, Inside, auth, harbour
from tests.registry.server import PASSWORD

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(3000)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(docker_engine: Engine) -> AsyncIterator[Harbour]:
    """A mux with one machine that has booted."""
    async with harbour(docker_engine, Inside.IMAGE) as opened:
        await opened.warm()
        yield opened


async def test_a_ship_with_the_image_inside_pulls_nothing(fleet: Harbour) -> None:
    (ship,) = (await fleet.status())["ships"]
    assert (ship["state"], ship["linked"]) == ("available", True)
    journal = await fleet.inside("journalctl", "--no-pager", "--output", "cat", "--unit", "mux-ship")
    events = [json.loads(line)["event"] for line in journal.splitlines() if line.startswith("{")]
    assert "linked" in events
    assert "image pulled" not in events
    names = await fleet.inside("docker", "images", "--format", "{{.Repository}}")
    assert names.split() == [f"{fleet.server.host}/intro"]


async def test_the_login_that_pulled_it_is_nowhere_on_the_machine(fleet: Harbour) -> None:
    script = 'grep -rlaF -e "$1" -e "$2" --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev / 2>/dev/null || true'
    assert await fleet.inside("sh", "-c", script, "sh", PASSWORD, auth()) == ""
