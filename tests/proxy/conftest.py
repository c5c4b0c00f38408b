"""Fixtures of the data plane's tests: a rig on the fast loop, and the same on both loops where it matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.proxy.rig import Rig

BOTH_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

SHORT: dict[str, Any] = {"memo": True, "splice": True, "warm": 3}
STRICT: dict[str, Any] = {"memo": False, "splice": False}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Modules that set ``BOTH_LOOPS`` run on plain asyncio too; all others on uvloop alone."""
    if getattr(getattr(item, "module", None), "BOTH_LOOPS", False):
        return BOTH_LOOPS
    return {"uvloop": uvloop.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What passes is the same with all that makes it fast and without: modules that set ``BOTH_WAYS`` run both ways.

    On the short way connections to the workspaces are open, so that the first request may already take it. Where a
    module takes seconds it sets ``STRICT_IS_LONG`` too, and `make test` runs the short way alone.
    """
    if "way" in metafunc.fixturenames and getattr(metafunc.module, "BOTH_WAYS", False):
        long = [pytest.mark.long] if getattr(metafunc.module, "STRICT_IS_LONG", False) else []
        metafunc.parametrize("way", [SHORT, pytest.param(STRICT, marks=long)], ids=["short", "strict"])


@pytest.fixture
def way() -> dict[str, Any]:
    """How a rig is made, for modules that do not set ``BOTH_WAYS``."""
    return {}


@pytest.fixture
async def rig(tmp_path: Path, way: dict[str, Any]) -> AsyncIterator[Rig]:
    """Two attendees with a workspace each, the control process's pages, and a data plane before them."""
    async with Rig(tmp_path, **way) as rig:
        yield rig
