"""A ship is killed while its attendee works: on another seat they find their files before anything else."""

from __future__ import annotations

import json

import pytest

from tests.docker_engine import Engine
from tests.e2e.kills.attendee import FILE, Attendee
from tests.e2e.lost.ages import FIGURES, PLOT, drawn
from tests.e2e.lost.house import SHARED_FILE, House, first_answer, open_house
from tests.images.conftest import build

pytestmark = [pytest.mark.timeout(600)]


@pytest.mark.parametrize("light", [True, pytest.param(False, marks=pytest.mark.long)], ids=["light", "jupyterlab"])
async def test_whoever_is_moved_off_a_dead_ship_finds_their_files_there(light: bool) -> None:
    async with open_house(light=light) as (house, attendee):
        await moved_with_files(house, attendee)


async def moved_with_files(house: House, attendee: Attendee) -> None:
    """The attendee's ship is killed once snapshots have their last saves, in the home and in what projects share."""
    lost = await house.ship_of_the_attendee()
    saved = {}
    for file in (FILE, SHARED_FILE):
        attendee.file = file
        assert await attendee.saves()
        saved[file] = attendee.seen.saved
        await house.until_kept(file, str(saved[file]))
    await house.kill_ship(lost)
    await house.run("ship", "lost", lost, "--yes")
    for file in (SHARED_FILE, FILE):
        attendee.file = file
        assert await first_answer(attendee) == saved[file]
    assert await house.ship_of_the_attendee() != lost

    # A project that is opened later finds what was just written there, not the snapshot, which is older.
    attendee.file = SHARED_FILE
    assert await attendee.saves()
    attendee.opens("later")
    assert await first_answer(attendee) == attendee.seen.saved


async def test_what_is_saved_just_before_a_planned_move_is_there_on_the_other_seat() -> None:
    async with open_house(light=True) as (house, attendee):
        left = await house.ship_of_the_attendee()
        saved = {}
        for file in (FILE, SHARED_FILE, FILE):  # the last save is younger than any look at the files
            attendee.file = file
            assert await attendee.saves()
            saved[file] = attendee.seen.saved
        await house.run("ship", "drain", left, "--evict", "--yes")
        await house.until_moved(left)
        for file in (FILE, SHARED_FILE):
            attendee.file = file
            assert await first_answer(attendee) == saved[file]


@pytest.mark.long
async def test_whoever_is_moved_off_a_dead_ship_of_containers_finds_their_files_there(docker_engine: Engine) -> None:
    async with open_house(light=False, engine=build(docker_engine)) as (house, attendee):
        await moved_with_files(house, attendee)


def test_the_plot_shows_the_figures() -> None:
    assert PLOT.read_text(encoding="utf-8") == drawn(json.loads(FIGURES.read_text(encoding="utf-8")))
