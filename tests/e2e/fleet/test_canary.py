"""`mux check --canary` of an event on EC2: one ship is taken all the way, and nothing of it is left."""

from __future__ import annotations

import pytest

from tests.e2e.fleet.house import House, open_house
from tests.fakes.agents import NOWHERE
from tests.fakes.ec2 import State

pytestmark = pytest.mark.timeout(900)


async def nothing_is_left(house: House) -> None:
    """Whatever was launched is gone with all that belonged to it."""
    await house.agents.settled()
    assert {machine.state for machine in house.cloud.instances.values()} == {State.TERMINATED}
    assert (house.cloud.volumes, house.cloud.templates) == ({}, {})
    assert not any(house.agents.disk(name).exists() for name in house.cloud.instances)
    assert house.processes() == []


async def test_a_canary_that_joins_is_told_to_be_well_and_is_gone_afterwards() -> None:
    async with open_house(fleet=("attendees = 40", "seats_per_ship = 1")) as house:
        found = (await house.check("--canary"))["canary"]
        assert found["outcome"] == "ok", f"{found}\n{house.agents.account()}"
        assert "ship-0001 was available with 1 seat after" in found["said"]
        assert [machine.boots for machine in house.cloud.instances.values()] == [1]
        await nothing_is_left(house)


@pytest.mark.long
async def test_a_canary_whose_agent_cannot_reach_the_mux_is_told_and_is_gone_afterwards() -> None:
    fleet = ("attendees = 40", "seats_per_ship = 2", "boot_deadline_s = 15")
    async with open_house(fleet=fleet) as house:
        house.agents.mux_at = NOWHERE
        found = (await house.check("--canary"))["canary"]
        assert found["outcome"] == "failure"
        assert "not available within 15 s of its launch: its agent never joined; see" in found["said"]
        assert "could not be removed" not in found["said"]
        await nothing_is_left(house)
