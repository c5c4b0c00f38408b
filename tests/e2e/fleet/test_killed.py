"""The mux is killed whole in the middle of warming 300 seats: afterwards every machine is there, and is there once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Mapping

import pytest

from tests.e2e.fleet.house import House, open_house
from tests.e2e.harness import kill
from tests.fakes.ec2 import Cloud
from tests.fakes.ec2.api import Answer, Api

pytestmark = pytest.mark.timeout(900)

SEATS = 300
MAKING = ("CreateLaunchTemplateVersion", "CreateFleet")
"""What the mux asks for, once for each machine."""
QUIET = 4
"""Listings after the last machine, in which one too many would be ended, or one that was forgotten launched."""


class Struck(Api):
    """Kills whoever asks, when EC2 has done what it was asked for and they have not heard of it yet."""

    house: House

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self._made = 0
        self._at = 0
        self.killed = asyncio.Event()

    def kill_after(self, calls: int) -> None:
        """Do it at that call of those that make machines, counted from here."""
        self._at = self._made + calls
        self.killed.clear()

    async def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request."""
        before = len(self.cloud.calls)
        answer = await super().answer(headers, body)
        if any(call.action in MAKING for call in self.cloud.calls[before:]):
            self._made += 1
            if self._made == self._at:
                await self.house.kill_whole()
                self.killed.set()
        return answer


async def every_machine_is_there_once(seats_per_ship: int, *kills: int) -> None:
    """Warm; the mux is killed after so many calls, started again, and so on; then look at what there is."""
    ships = -(-SEATS // seats_per_ship)
    fleet = (f"attendees = {SEATS}", f"seats_per_ship = {seats_per_ship}", "boot_deadline_s = 3600")
    made: list[Struck] = []

    def through(cloud: Cloud) -> Api:
        made.append(Struck(cloud))
        return made[0]

    async with open_house(agents=False, fleet=fleet, through=through) as house:
        (api,) = made
        api.house = house
        await house.start()
        for number, calls in enumerate(kills):
            api.kill_after(calls)
            if number == 0:
                # Whether its answer comes before the end: what it asks for is kept before the first machine is.
                with contextlib.suppress(AssertionError):
                    await house.run("fleet", "warm", str(SEATS), "--yes", "--no-watch")
            await api.killed.wait()
            assert len(house.live) < ships, "it was in the middle"
            await house.start()

        async def complete() -> bool:
            return len((await house.status())["ships"]) == len(house.live) == ships

        await house.until(complete)
        listings = _listings(house)

        async def quiet() -> bool:
            return _listings(house) >= listings + QUIET

        await house.until(quiet)
        known = Counter(ship["id"] for ship in (await house.status())["ships"])
        assert Counter(instance.tags["mux:ship"] for instance in house.cloud.instances.values()) == known
        assert (len(known), len(house.live)) == (ships, ships)
        assert set(known.values()) == {1}
        await kill(house.processes())


def _listings(house: House) -> int:
    return sum(call.action == "DescribeInstances" and not call.code for call in house.cloud.calls)


async def test_a_mux_that_is_killed_while_it_warms_300_seats_has_every_machine_once() -> None:
    await every_machine_is_there_once(8, 40)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
async def test_whenever_the_mux_is_killed_there_are_300_machines(seed: int) -> None:
    dice = random.Random(seed)
    await every_machine_is_there_once(1, dice.randint(1, 250), dice.randint(1, 150))
