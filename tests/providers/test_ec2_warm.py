"""Warming a fleet on the strict fake EC2 in virtual time, with faults and kills: exactly as many machines as ships."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.virtual import run_virtually
from tests.providers.ec2_warm import SETTLE_S, KilledError, Mux, house, warmed


def test_fifty_ships_while_everything_goes_wrong() -> None:
    found = run_virtually(warmed(50))
    assert sum(found["faults"].values()) >= 5


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_thousand_ships_while_everything_goes_wrong(seed: int) -> None:
    found = run_virtually(warmed(1000, seed))
    assert sum(found["faults"].values()) >= 200
    # Two to launch, and what the faults and the listings take.
    assert found["calls_per_ship"]["CreateFleet"] < 1.5
    assert found["calls_per_ship"]["CreateLaunchTemplateVersion"] < 1.5


async def warmed_through_kills(ships: int, commits: list[int]) -> None:
    """Each process dies after so many commits, before it acts on the last one; then one lives."""
    async with house(ships) as made:
        for count in commits:
            async with Mux(made) as mux:
                mux.store.commits_left = count
                with pytest.raises(KilledError):
                    await mux.until_ready(ships + 1)
        async with Mux(made) as mux:
            await mux.until_ready(ships)
            await asyncio.sleep(SETTLE_S)
            made.assert_exact(ships)
        # None of these deaths may have cost a machine: client tokens find what was made.
        assert len(made.cloud.instances) == ships


def test_twenty_ships_through_kills_between_decision_and_act() -> None:
    run_virtually(warmed_through_kills(20, [1, 2, 3, 5, 8]))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("commits", [[1, 2, 4, 8, 16, 32], [10, 10, 10, 10], [50, 50, 50]])
def test_three_hundred_ships_through_kills_between_decision_and_act(commits: list[int]) -> None:
    run_virtually(warmed_through_kills(300, commits))


@pytest.mark.parametrize(
    "after_s", [pytest.param(0.5, marks=pytest.mark.long), 3.0, pytest.param(20.0, marks=pytest.mark.long)]
)
def test_a_kill_at_any_time_leaves_as_many_machines_as_ships(after_s: float) -> None:
    async def run() -> None:
        async with house(20) as made:
            async with Mux(made):
                await asyncio.sleep(after_s)
            async with Mux(made) as mux:
                await mux.until_ready(20)
                await asyncio.sleep(SETTLE_S)
                made.assert_exact(20)

    run_virtually(run())
