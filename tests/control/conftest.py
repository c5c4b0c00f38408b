"""Fixtures of the control channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import pytest
import uvloop

from tests.control.harness import Mux, RawShip


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Modules that set ``BOTH_LOOPS`` run on the loop of the control process too; all others on plain asyncio alone."""
    plain = {"asyncio": asyncio.new_event_loop}
    both = getattr(getattr(item, "module", None), "BOTH_LOOPS", False)
    return {**plain, "uvloop": uvloop.new_event_loop} if both else plain


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
