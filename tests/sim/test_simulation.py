"""Thousands of histories of a house in virtual time: whatever goes wrong, every rule of `tests.sim.rules` holds.

A failing seed is shown with the fewest actions that break the rule. `python -m tests.sim --seed N` shows it again.
"""

from __future__ import annotations

import os

import pytest

from mux.core.rollout import RolloutState
from tests.sim.actions import Action, scenario
from tests.sim.day import LOOK_EVERY, SEATS_PER_SHIP, Fewer, day
from tests.sim.house import House
from tests.sim.many import commit_here, run_seeds, timed, write_results
from tests.sim.transcript import minimised, transcript

SEEDS = 300
SEEDS_LONG = 10_000
CHUNK = 30


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_rule_holds_whatever_goes_wrong(first: int) -> None:
    failures = run_seeds(range(first, first + CHUNK)).failures
    assert not failures, transcript(failures[0][0])


def test_a_seed_is_the_same_history_each_time() -> None:
    runs = []
    for _ in range(2):
        house = House(scenario(7), trace=True)
        runs.append((house.run(), list(house.trace or ())))
    assert runs[0] == runs[1]
    assert runs[0][1]


def test_what_a_failure_does_not_need_is_left_out_of_it() -> None:
    actions = [Action(float(number), "asks", number) for number in range(40)]
    needed = {3, 17, 31}
    left = minimised(actions, lambda some: needed <= {action.pick for action in some})
    assert {action.pick for action in left} == needed


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_histories_and_their_table() -> None:
    commit = commit_here()
    tally, took_s = timed(range(SEEDS_LONG), os.cpu_count() or 1)
    write_results(tally, took_s, commit)
    assert not tally.failures, transcript(tally.failures[0][0])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [3, 12])
def test_a_fleet_of_hundreds_of_ships_settles_as_well(seed: int) -> None:
    House(scenario(seed, scale=100), every=200).run()


@pytest.mark.parametrize("ships", [10, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_a_day_of_a_large_room_with_a_push_comes_to_rest(ships: int) -> None:
    house = House(day(0, ships), every=LOOK_EVERY, rules=Fewer)
    house.run()
    (rollout,) = house.mux.fleet.world.rollouts.values()
    assert rollout.state is RolloutState.DONE
    assert len(house.mux.fleet.world.assignments) == ships * SEATS_PER_SHIP
