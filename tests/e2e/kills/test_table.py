"""The table of kills is whole, and the page shows it."""

from __future__ import annotations

from tests.e2e.kills import table


def test_no_row_has_lost_an_edit() -> None:
    assert [row for row in table.rows() if row.saves_lost] == []


def test_the_page_shows_the_table() -> None:
    page = table.PAGE.read_text("utf-8")
    assert table.BEGIN in page
    assert page.partition(table.BEGIN)[2].partition(table.END)[0] == f"\n{table.shown()}"
