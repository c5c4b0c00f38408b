"""Fixtures of the admin API's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.admin.support import Admin, running_admin


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    """A running API."""
    async with running_admin(tmp_path) as running:
        yield running
