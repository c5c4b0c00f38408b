"""The table of pushes is whole, and the page shows it."""

from __future__ import annotations

from tests.e2e.pushes import table
from tests.e2e.pushes.cases import KINDS


def test_there_is_a_row_for_everything_that_can_be_pushed() -> None:
    assert {row.key for row in table.rows()} == {(kind.name, what) for kind, cases in KINDS.items() for what in cases}


def test_the_page_shows_the_table() -> None:
    page = table.PAGE.read_text("utf-8")
    assert table.BEGIN in page
    assert page.partition(table.BEGIN)[2].partition(table.END)[0] == f"\n{table.shown()}"
