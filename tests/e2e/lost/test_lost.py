"""A ship is killed while its attendee works: on another seat they find their files before anything else."""

from __future__ import annotations

import pytest

from tests.e2e.lost.house import first_answer, open_house

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


async def test_whoever_is_moved_off_a_dead_ship_finds_their_files_there() -> None:
    async with open_house() as (house, attendee):
        lost = await house.ship_of_the_attendee()
        assert await attendee.saves()
        saved = attendee.seen.saved
        await house.until_kept(str(saved))
        await house.kill_ship(lost)
        await house.run("ship", "lost", lost, "--yes")
        assert await first_answer(attendee) == saved
        assert await house.ship_of_the_attendee() != lost
