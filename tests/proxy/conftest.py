"""Fixtures of the data plane's tests: a rig on the fast loop, and the same on both loops where it matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.proxy.rig import Rig

BOTH_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Modules that set ``BOTH_LOOPS`` run on plain asyncio too; all others on uvloop alone."""
    if getattr(getattr(item, "module", None), "BOTH_LOOPS", False):
        return BOTH_LOOPS
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Two attendees with a workspace each, the control process's pages, and a data plane before them."""
    async with Rig(tmp_path) as rig:
        yield rig
