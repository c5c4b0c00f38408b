"""The mux is killed whole while it warms 300 seats: afterwards every machine is there, and is there once.

Nothing stands behind the machines; EC2 does what it was asked for, and whoever asked is killed before the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import pytest

from tests.e2e.fleet.house import SO_S_MAX, House, open_house
from tests.e2e.harness import kill
from tests.fakes.ec2 import Cloud, State
from tests.fakes.ec2.api import Answer, Api

pytestmark = pytest.mark.timeout(900)

SEATS = 300
MAKING = ("CreateLaunchTemplateVersion", "CreateFleet")
"""What the mux asks for, once for each machine."""
WARM = ("fleet", "warm", str(SEATS), "--yes", "--no-watch")
QUIET = 4
"""Listings after the last machine, in which one too many would be ended, or one that was forgotten launched."""


class Struck(Api):
    """Kills whoever asks, when EC2 has done what it was asked for and they have not heard of it yet."""

    house: House

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self._left = self._machines = 0
        self._actions: tuple[str, ...] = ()
        self._killed = asyncio.Event()

    async def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request."""
        before = len(self.cloud.calls)
        answer = await super().answer(headers, body)
        if self._left and any(call.action in self._actions for call in self.cloud.calls[before:]):
            self._left -= 1
            if not self._left:
                self._machines = len(self.house.live)
                await self.house.kill_whole()
                self._killed.set()
        return answer

    async def strike(self, calls: int, actions: tuple[str, ...], *words: str) -> int:
        """Have the mux killed after so many calls of these actions, and start it again; how many machines there were.

        Args:
            calls: how many from now on.
            actions: of EC2.
            words: a command of `mux` that is run meanwhile. Whether it is answered or not: what it asks for is kept
                before EC2 is asked for anything.
        """
        self._left, self._actions = calls, actions
        self._killed.clear()
        if words:
            with contextlib.suppress(AssertionError):
                await self.house.run(*words)
        async with asyncio.timeout(SO_S_MAX):
            await self._killed.wait()
        await self.house.start()
        return self._machines


@contextlib.asynccontextmanager
async def opened(seats_per_ship: int) -> AsyncIterator[tuple[House, Struck]]:
    """A mux that may want 300 seats, and what answers it."""
    fleet = (f"attendees = {SEATS}", f"seats_per_ship = {seats_per_ship}", "boot_deadline_s = 3600")
    made: list[Struck] = []

    def through(cloud: Cloud) -> Api:
        made.append(Struck(cloud))
        return made[0]

    async with open_house(agents=False, fleet=fleet, through=through) as house:
        made[0].house = house
        await house.start()
        yield house, made[0]
        await kill(house.processes())


async def every_machine_is_there_once(seats_per_ship: int, *kills: int) -> None:
    """Warm; the mux is killed after so many calls that make machines, and so on; then look at what there is."""
    ships = -(-SEATS // seats_per_ship)
    async with opened(seats_per_ship) as (house, api):
        for number, calls in enumerate(kills):
            assert await api.strike(calls, MAKING, *(() if number else WARM)) < ships, "it was in the middle"
        await settled(house, ships)
        known = Counter(ship["id"] for ship in (await house.status())["ships"])
        assert Counter(instance.tags["mux:ship"] for instance in house.cloud.instances.values()) == known
        assert (len(known), len(house.live)) == (ships, ships)


async def settled(house: House, machines: int) -> None:
    """Wait until there are as many machines and ships, and some listings more, which would show that it is not over."""

    async def complete() -> bool:
        status = await house.quick_status()
        return status is not None and len(status["ships"]) == len(house.live) == machines

    await house.until(complete)
    listings = _listings(house)

    async def quiet() -> bool:
        return _listings(house) >= listings + QUIET

    await house.until(quiet)


def _listings(house: House) -> int:
    return sum(call.action == "DescribeInstances" and not call.code for call in house.cloud.calls)


async def test_a_mux_that_is_killed_while_it_warms_300_seats_has_every_machine_once() -> None:
    await every_machine_is_there_once(8, 40)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
async def test_whenever_the_mux_is_killed_there_are_300_machines(seed: int) -> None:
    dice = random.Random(seed)
    await every_machine_is_there_once(1, dice.randint(1, 250), dice.randint(1, 150))


@pytest.mark.long
async def test_a_mux_that_is_killed_while_it_cools_forgets_no_machine() -> None:
    async with opened(8) as (house, api):
        await house.run(*WARM)
        await settled(house, -(-SEATS // 8))
        await api.strike(1, ("TerminateInstances",), "fleet", "cool")
        await settled(house, 0)
        assert {instance.state for instance in house.cloud.instances.values()} == {State.TERMINATED}
