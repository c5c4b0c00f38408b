"""One house of small containers for pushes and planned moves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.docker_engine import Engine
from tests.e2e.pushes.house import House, open_house


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def house(docker_engine: Engine) -> AsyncIterator[House]:
    """A mux with two attendees in small containers; its end is part of the proof."""
    async with open_house(docker_engine) as opened:
        yield opened
