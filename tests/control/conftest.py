"""Fixtures of the control channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.control.harness import Mux, RawShip


@pytest.fixture
async def mux(tmp_path: Path) -> AsyncIterator[Mux]:
    """A listener with a core behind it, started."""
    made = Mux(tmp_path / "mux")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def raw_ship(mux: Mux) -> AsyncIterator[Callable[[], RawShip]]:
    """Makes connections that say what a test wants."""
    async with aiohttp.ClientSession() as session:
        yield lambda: RawShip(mux, session)
