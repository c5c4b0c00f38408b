"""An organizer's fleet on EC2, from the first launch on: attendees are served, moved in time, parked and woken."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from mux.core.notices import LEAD_S
from tests.e2e.fleet.house import House, open_house
from tests.e2e.kills.attendee import Attendee
from tests.e2e.lost.house import first_answer, newest
from tests.fakes.ec2 import Instance, State

pytestmark = pytest.mark.timeout(900)

NOTICE_S = 600.0
"""Until the end of a machine that has been announced: people are moved at once, and a loaded machine has time."""
LATER_S = 75.0
"""Until people leave a machine whose end was announced for later: time to kill the mux before, on a loaded machine."""
FLEET = ("attendees = 1", "spare_seats = 1", "seats_per_ship = 1")


async def moved_in_time(house: House, attendee: Attendee, announce: Callable[[], None]) -> None:
    """An end of their machine is announced: the attendee is elsewhere before it, with every save that was confirmed."""
    left = await house.ship_of_the_attendee()
    saved = {}
    for file in ("before.txt", "meanwhile.txt"):
        attendee.file = file
        await house.until(attendee.saves)
        saved[file] = attendee.seen.saved
    announce()

    async def moved() -> bool:
        if await attendee.saves():
            saved["meanwhile.txt"] = attendee.seen.saved
        return {ship for ship, _ in (await house.seats()).values()} - {left} != set()

    await house.until(moved)
    found = await first_answer(attendee)
    assert found is not None
    assert found >= saved["meanwhile.txt"], "one that was not confirmed may be there"
    attendee.file = "before.txt"
    assert await first_answer(attendee) == saved["before.txt"]
    assert await house.ship_of_the_attendee() != left


def ended_by_ec2(machine: Instance) -> bool:
    """Whether a machine was stopped or ended by EC2, not by mux."""
    return machine.reason is not None and machine.reason[0].startswith("Server.")


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
            await moved_in_time(house, attendee, lambda: house.cloud.interrupt(machine.id, NOTICE_S))
            assert not ended_by_ec2(machine)
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
            await moved_in_time(house, attendee, lambda: house.cloud.schedule_retirement(machine.id, NOTICE_S))
            assert not ended_by_ec2(machine)
            assert any("instance-retirement" in text for text in await told(house, left))

            # A machine that was left is of no use any more: mux ends it, and has another one instead.
            async def replaced() -> bool:
                return machine.state is State.TERMINATED and len(house.live) == 2

            await house.until(replaced)


@pytest.mark.long
async def test_a_mux_that_is_killed_after_a_notice_moves_people_in_time_though_nobody_says_it_again() -> None:
    async with open_house(fleet=FLEET) as house:
        await house.start()
        await house.warm(2)
        async with house.at_work():
            left = await house.ship_of_the_attendee()
            machine = house.instance_of(left)
            house.cloud.schedule_retirement(machine.id, LEAD_S + LATER_S)

            async def heard() -> bool:
                return any("instance-retirement" in text for text in await told(house, left))

            await house.until(heard)
            assert await house.ship_of_the_attendee() == left, "there is time"
            machine.maintenance.clear()
            house.agents.agent(machine.id).signal(signal.SIGSTOP)
            await house.kill_whole()
            await house.start()
            assert await told(house, left) == [], "neither EC2 nor the machine says it again"

            async def moved() -> bool:
                return {ship for ship, _ in (await house.seats()).values()} - {left} != set()

            await house.until(moved)
            assert await house.ship_of_the_attendee() != left


@pytest.mark.long
async def test_whoever_sat_on_a_machine_that_ec2_ended_without_a_word_has_the_newest_snapshot() -> None:
    async with open_house(fleet=FLEET) as house:
        await house.start()
        await house.warm(2)
        async with house.at_work() as attendee:
            await house.until(attendee.saves)
            saved, left = attendee.seen.saved, await house.ship_of_the_attendee()
            machine = house.instance_of(left)

            async def kept() -> bool:
                return newest(house.files, attendee.file) == str(saved)

            await house.until(kept)
            house.cloud.terminate(machine, ("Server.InternalError", "Server.InternalError: Internal error on launch"))
            await house.agents.settled()

            async def elsewhere() -> bool:
                return {ship for ship, _ in (await house.seats()).values()} - {left} != set()

            await house.until(elsewhere)
            assert await first_answer(attendee) == saved

            async def replaced() -> bool:
                return len(house.live) == 2

            await house.until(replaced)


@pytest.mark.long
async def test_a_parked_machine_comes_back_with_its_attendees_seat_and_files() -> None:
    async with open_house(fleet=("attendees = 1", "seats_per_ship = 1")) as house:
        await house.start()
        await house.warm(1)
        async with house.at_work() as attendee:
            await house.until(attendee.saves)
            saved, seats = attendee.seen.saved, await house.seats()
            (machine,) = house.live

            async def parked() -> bool:
                status = await house.quick_status()
                return status is not None and {ship["state"] for ship in status["ships"]} == {"parked"}

            await house.run("fleet", "park", "--yes")
            await house.until(parked)
            await house.agents.settled()
            assert machine.state is State.STOPPED

            await house.run("fleet", "unpark")
            assert await first_answer(attendee) == saved
            assert await house.seats() == seats
            assert [(one.id, one.boots) for one in house.live] == [(machine.id, 2)]
