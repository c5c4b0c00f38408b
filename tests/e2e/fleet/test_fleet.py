"""An organizer's fleet on EC2, from the first launch on: attendees are served, moved in time, parked and woken."""

from __future__ import annotations

import pytest

from tests.e2e.fleet.house import House, open_house
from tests.e2e.kills.attendee import Attendee
from tests.fakes.ec2 import State

pytestmark = pytest.mark.timeout(900)

NOTICE_S = 600.0
"""Until the end of a machine that has been announced: people are moved at once, and a loaded machine has time."""
FLEET = ("attendees = 1", "spare_seats = 1", "seats_per_ship = 1")


async def moved_in_time(house: House, attendee: Attendee, left: str) -> None:
    """The attendee gets a seat on another ship, with the last save, while the old machine is still there."""
    assert await attendee.saves()
    saved = attendee.seen.saved

    async def moved() -> bool:
        return {ship for ship, _ in (await house.seats()).values()} - {left} != set()

    await house.until(moved)
    assert await house.finds(attendee) == saved
    assert await house.ship_of_the_attendee() != left


async def told(house: House, ship: str) -> list[str]:
    """What organizers are told of a ship's machine."""
    notices = (await house.status())["notices"]
    return [notice["text"] for notice in notices if notice["subject"] == ship and "by its provider" in notice["text"]]


async def test_a_spot_machine_is_warmed_serves_and_is_left_before_it_is_taken_back() -> None:
    async with open_house(fleet=FLEET, market="spot") as house:
        await house.start()
        assert (await house.status())["ships"] == [], "its time has not come"
        await house.warm(2)
        assert [(instance.state, instance.spot) for instance in house.live] == [(State.RUNNING, True)] * 2
        async with house.at_work() as attendee:
            left = await house.ship_of_the_attendee()
            machine = house.instance_of(left)
            house.cloud.interrupt(machine.id, NOTICE_S)
            await moved_in_time(house, attendee, left)
            assert machine.reason is None or machine.reason[0] != "Server.SpotInstanceTermination"
            assert any("is taken back by its provider (terminate)" in text for text in await told(house, left))


@pytest.mark.long
async def test_a_machine_that_ec2_retires_is_left_in_time() -> None:
    async with open_house(fleet=FLEET) as house:
        await house.start()
        await house.warm(2)
        async with house.at_work() as attendee:
            left = await house.ship_of_the_attendee()
            machine = house.instance_of(left)
            # What is announced is then heard from EC2 alone, not from the machine.
            machine.made.setdefault("MetadataOptions", {})["HttpEndpoint"] = "disabled"
            house.cloud.schedule_retirement(machine.id, NOTICE_S)
            await moved_in_time(house, attendee, left)
            assert machine.reason is None or machine.reason[0] != "Server.ScheduledStop"
            assert any("instance-retirement" in text for text in await told(house, left))


@pytest.mark.long
async def test_a_parked_machine_comes_back_with_its_attendees_seat_and_files() -> None:
    async with open_house(fleet=("attendees = 1", "seats_per_ship = 1")) as house:
        await house.start()
        await house.warm(1)
        async with house.at_work() as attendee:
            assert await attendee.saves()
            saved, seats = attendee.seen.saved, await house.seats()
            (machine,) = house.live

            async def parked() -> bool:
                return {ship["state"] for ship in (await house.status())["ships"]} == {"parked"}

            await house.run("fleet", "park", "--yes")
            await house.until(parked)
            await house.agents.settled()
            assert machine.state is State.STOPPED

            await house.run("fleet", "unpark")
            assert await house.finds(attendee) == saved
            assert await house.seats() == seats
            assert [(one.id, one.boots) for one in house.live] == [(machine.id, 2)]
