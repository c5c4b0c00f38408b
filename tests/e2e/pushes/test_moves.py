"""Whoever is moved as planned, off a ship of containers, finds what they saved and what they only typed."""

from __future__ import annotations

import pytest

from tests.e2e.pushes.house import House
from tests.e2e.pushes.moves import WAYS, moves

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


@pytest.mark.parametrize("way", [pytest.param(way, marks=[] if way == "drain" else pytest.mark.long) for way in WAYS])
async def test_work_goes_along_to_the_next_seat(way: str, house: House) -> None:
    await moves(house, way)
