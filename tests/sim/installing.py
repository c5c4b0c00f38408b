"""Machines that bring nothing: in some houses they install before there is an agent, say so, and now and then give up.

A word is said as real machines say theirs: that of one that gave up again and again until it is heard, others once; and
some arrive late, when an agent has spoken already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from mux.core.events import BootTold
from mux.core.model import ShipId
from mux.core.world import World

if TYPE_CHECKING:
    from tests.sim.house import House
    from tests.sim.machines import SimMachine

HOUSES = 0.25
"""Share of houses with such machines."""
GIVE_UP = 0.15
"""Share of machines that give up, in time of trouble."""
LATE = 0.3
"""Share of words that arrive late."""
AGAIN_S = 4.0
GAVE_UP = "its installation failed"


def install(house: House, machine: SimMachine, then: Callable[[], None]) -> None:
    """A machine boots: have it become one with an agent, which ``then`` starts."""
    dice, key = house.dice, machine.key
    if machine.boot > 1 or dice.roll("installs") >= HOUSES:
        then()
        return
    troubled = house.time.now < house.scenario.faults_s
    at = 0.0
    for number in range(1 + int(3 * dice.roll("steps", key))):
        house.time.after(at, _say, house, machine, f"step {number}", False)
        at += dice.between(0.2, 6.0, "step", key, number)
    if troubled and dice.roll("gives up", key) < GIVE_UP:
        house.time.after(at, _say, house, machine, "its disk is full", True)
    else:
        house.time.after(at, then)


def _say(house: House, machine: SimMachine, doing: str, failed: bool) -> None:
    if house.provider.machines.get(machine.ship) is not machine or not machine.up:
        return
    heard: list[bool] = []
    if house.mux.up and not machine.partitioned:
        late = house.dice.roll("late word", machine.key, doing) < LATE
        late_s = house.dice.between(0.0, 12.0, "word", machine.key, doing) if late and not failed else 0.02
        word = BootTold(machine.ship, doing, failed or late)
        house.time.after(late_s, house.mux.post, word, partial(heard.append, True))
    if failed:
        house.time.after(AGAIN_S, lambda: None if heard else _say(house, machine, doing, failed))


class InstallingRules:
    """Once an agent has spoken for a ship, nothing that its machine said before counts against it."""

    def __init__(self) -> None:
        self._gave_up: set[ShipId] = set()

    def broken(self, world: World, bound: Mapping[ShipId, str]) -> Iterator[str]:
        """To be called after every batch; ``bound``: the key of each ship that has one."""
        gave_up = {ship.id for ship in world.ships.values() if ship.failed.startswith(GAVE_UP)}
        for ship in sorted(gave_up - self._gave_up):
            if ship in bound:
                yield f"{ship} is given up by a word of before its agent joined"
        self._gave_up |= gave_up  # what a mux that starts reads of them is not news
