"""The table of kills is whole, and the page shows it."""

from __future__ import annotations

import pytest

from tests.e2e.kills import table
from tests.e2e.kills.every import every


@pytest.mark.parametrize("runtime", table.HEADINGS)
def test_there_is_a_row_for_everything_that_can_be_killed(runtime: str) -> None:
    assert {row.what for row in table.rows() if row.runtime == runtime} == set(every(runtime))


def test_no_row_has_lost_an_edit() -> None:
    assert [row for row in table.rows() if row.saves_lost] == []


def test_the_page_shows_the_table() -> None:
    page = table.PAGE.read_text("utf-8")
    assert table.BEGIN in page
    assert page.partition(table.BEGIN)[2].partition(table.END)[0] == f"\n{table.shown()}"
