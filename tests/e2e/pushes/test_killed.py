"""A push comes to its end whatever of the mux is killed, and whenever: at moments that chance draws."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.e2e.pushes.cases import everybody_has
from tests.e2e.pushes.house import ENDED, House, open_house
from tests.e2e.pushes.images import PROCESS
from tests.e2e.pushes.rows import row, watching

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long, pytest.mark.timeout(3600)]

TURNS = 10
BAD_EVERY = 4
"""Of so many images one is bad."""


async def _push(house: House, turn: int, chance: random.Random, within_s: float) -> float:
    """Push an image, and kill something within so many seconds; how long all of it took, in seconds."""
    bad = turn % BAD_EVERY == BAD_EVERY - 1
    tag = f"turn-{turn}"
    image = await house.images.put(tag, hooks={"10-data.sh": "#!/bin/sh\nexit 3\n"} if bad else None)
    kill = chance.choice([house.kill_control, house.kill_mux, house.kill_agents])
    async with watching(house) as watch:
        went_well, said = await house.push(image, "--no-watch")
        assert went_well, said
        await asyncio.sleep(chance.uniform(0.0, within_s))
        await kill()
        found = await house.until(lambda found: found["phase"] in ENDED)
        await house.healthy()
    if not bad:
        assert found["phase"] == "done", found
        await everybody_has(house, tag, watch, tag)
        return watch.took_s
    assert found["phase"] == "stopped", found
    # Polls may fail while the whole mux is away: that is what was killed.
    ended = await row(house, tag, watch, came="stopped", said="")
    assert ended.replaced == 0, ended
    return within_s


@pytest.mark.parametrize("seed", range(2))
async def test_a_push_comes_to_its_end_whatever_is_killed_and_whenever(seed: int) -> None:
    chance = random.Random(seed)
    async with open_house(None, PROCESS) as house:
        took_s = 0.0
        for turn in range(TURNS):
            took_s = await _push(house, turn, chance, took_s)
