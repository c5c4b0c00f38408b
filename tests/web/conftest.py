"""Fixtures of the pages' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mux.auth.settings import AuthSettings
from tests.web.page_parts import PASSCODE, House, house


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """An event with a roster."""
    async with house(tmp_path) as built:
        yield built


@pytest.fixture
async def open_home(tmp_path: Path) -> AsyncIterator[House]:
    """An event where newcomers choose a name."""
    async with house(tmp_path, AuthSettings(passcode=PASSCODE)) as built:
        yield built
