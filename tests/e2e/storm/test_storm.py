"""A room in a storm, smaller than the real one."""

from __future__ import annotations

import pytest

from tests.e2e.storm.storm import Weather, storm

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_killed_everybody_keeps_their_work_and_nobody_gets_anothers(seed: int) -> None:
    found = await storm(Weather(people=40, seats_per_ship=10, storm_s=90.0, kills_max=15, moves_max=2, seed=seed))
    assert found["killed"]
