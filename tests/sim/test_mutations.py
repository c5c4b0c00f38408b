"""The simulation bites: deliberate mistakes in the core break a rule. docs/explanation/simulation.md has the table."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.sim.actions import scenario
from tests.sim.house import House
from tests.sim.mutations import MUTATIONS, Mutation, applied, caught, search, table, write

SOME = (
    "a silent ship counts as lost",
    "an assignment is not saved",
    "no change raises the generation",
    "the queue is served from its end",
    "a move does not raise the epoch",
    "any key is accepted for a ship",
    "a route to a workspace with secrets does not wait for its restart",
    "ships that are on their way do not count as seats",
    "the earlier of two pushes wins",
    "those who have not accepted an offer are swapped",
    "requests do not wait for a swap",
    "whoever was moved is led to a warm workspace before their files are there",
)
SEEDS_MORE = 25
"""The core changes, and with it which seed catches a mistake: one of the first few still must."""
SEEDS_LONG = 700

BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}


@pytest.mark.parametrize("name", SOME)
def test_a_mistake_in_the_core_is_caught(name: str) -> None:
    seeds = {row["mutation"]: row["seed"] for row in table()}
    seed = seeds[name]
    assert isinstance(seed, int)
    assert caught(BY_NAME[name], seed) or search(BY_NAME[name], SEEDS_MORE)["seed"] is not None


def test_a_mistake_is_taken_back_afterwards() -> None:
    before = House(scenario(0)).run()
    assert caught(BY_NAME["a silent ship counts as lost"], 0)
    assert House(scenario(0)).run() == before


def test_a_mistake_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(LookupError), applied(Mutation("none", "fleet", "there is no such line", "")):
        pass


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_mistake_can_still_be_made(mutation: Mutation) -> None:
    with applied(mutation):
        pass


def test_the_table_tells_of_every_mutation() -> None:
    assert [row["mutation"] for row in table()] == [mutation.name for mutation in MUTATIONS]


def _row(mutation: Mutation) -> dict[str, object]:
    return search(mutation, SEEDS_LONG)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_mistake_from_which_something_follows_is_caught() -> None:
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        rows = list(pool.map(_row, MUTATIONS))
    write(rows)
    assert [row["mutation"] for row in rows if row["seed"] is None and not row["remark"]] == []
