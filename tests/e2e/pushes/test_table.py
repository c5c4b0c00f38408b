"""The tables of pushes are whole, and the page shows them."""

from __future__ import annotations

import json

from bench.swap import page as swaps
from tests.docker_engine import ROOT
from tests.e2e.pushes import table
from tests.e2e.pushes.every import KINDS


def test_there_is_a_row_for_everything_that_can_be_pushed() -> None:
    assert {row.key for row in table.rows()} == {(kind.name, what) for kind, cases in KINDS.items() for what in cases}


def test_the_page_shows_the_table() -> None:
    page = table.PAGE.read_text("utf-8")
    assert table.BEGIN in page
    assert page.partition(table.BEGIN)[2].partition(table.END)[0] == f"\n{table.shown()}"


def test_the_page_shows_what_a_swap_costs() -> None:
    results = json.loads((ROOT / "bench/results/swap.json").read_text("utf-8"))
    page = swaps.PAGE.read_text("utf-8")
    assert page.partition(swaps.BEGIN)[2].partition(swaps.END)[0] == f"\n{swaps.shown(results)}"
