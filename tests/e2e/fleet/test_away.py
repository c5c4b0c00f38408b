"""EC2 does not take the mux's credentials any more: a mux that has ships goes on, says so, and sees when it is over."""

from __future__ import annotations

import pytest

from tests.e2e.fleet.house import House, open_house
from tests.fakes.ec2 import KEY_ID

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


async def told(house: House, text: str) -> bool:
    return any(text in notice["text"] for notice in (await house.status())["notices"])


async def test_a_mux_whose_credentials_are_refused_starts_all_the_same_where_there_are_ships() -> None:
    fleet = ("attendees = 2", "seats_per_ship = 2", "boot_deadline_s = 3600")
    async with open_house(agents=False, fleet=fleet) as house:
        await house.start()
        await house.run("fleet", "warm", "2", "--yes", "--no-watch")

        async def launched() -> bool:
            return len(house.live) == 1

        await house.until(launched)
        await house.kill_whole()
        key = house.cloud.keys.pop(KEY_ID)
        await house.start()
        await house.until(lambda: told(house, "does not say which machines there are: AWS does not accept"))
        assert len((await house.status())["ships"]) == 1

        house.cloud.keys[KEY_ID] = key
        await house.until(lambda: told(house, "says again which machines there are"))
        assert len(house.live) == 1
