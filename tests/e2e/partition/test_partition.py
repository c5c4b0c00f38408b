"""A ship cut off, in network namespaces: what follows from each way of it, and what comes after."""

from __future__ import annotations

import pytest

from tests.docker_engine import Engine
from tests.e2e.partition import table
from tests.e2e.partition.cases import CASES, cases

LOST_AFTER_S = 5.0
"""As short as a loaded machine allows: nobody is moved by it as long as one of the two ways is open."""


@pytest.mark.timeout(900)
async def test_a_ship_that_nobody_reaches_is_lost_comes_back_keeps_the_work_and_is_released() -> None:
    (row,) = [row async for row in cases(LOST_AFTER_S, ["both"])]
    assert row.moved


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_ship_of_containers_is_lost_comes_back_keeps_the_work_and_is_released(docker_engine: Engine) -> None:
    (row,) = [row async for row in cases(LOST_AFTER_S, ["both"], docker_engine)]
    assert row.moved


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_ship_cut_off_in_each_way_and_the_table_of_it(docker_engine: Engine) -> None:
    rows = [row for engine in (None, docker_engine) async for row in cases(20.0, tuple(CASES), engine)]
    assert [(row.cut, row.moved) for row in rows] == [("link", False), ("path", False), ("both", True)] * 2
    table.put(rows)


def test_the_page_shows_the_table() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert page.partition(table.BEGIN)[2].partition(table.END)[0] == f"\n{table.shown()}"
