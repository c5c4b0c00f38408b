"""Any image, anything that an attendee may do, any next image: both ways make what the plan says."""

from __future__ import annotations

import os

import pytest

from tests.ship_agent.files.chance import situation
from tests.ship_agent.files.ways import Room

SEEDS = 12
SEEDS_LONG = 400


@pytest.mark.skipif(os.geteuid() != 0, reason="directories that are read-only are written to as root alone")
@pytest.mark.parametrize(
    "seed",
    [
        *range(SEEDS),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(SEEDS, SEEDS_LONG)),
    ],
)
@pytest.mark.parametrize("room", ["sync", "overlay"], indirect=True)
def test_any_change_of_images(room: Room, seed: int) -> None:
    chosen = situation(seed)
    new = room.prepare(chosen)
    room.bring_to(new)
    then = room.full(chosen.then)
    assert room.seen() == then, f"seed {seed}"
    room.close()
    assert room.bring_to(new) == ()
    assert room.seen() == then, f"seed {seed}"
