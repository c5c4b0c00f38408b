"""The table of pushes: on disk (``pushes.json``) and as docs/explanation/pushes.md shows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.docker_engine import ROOT
from tests.e2e.measured import Table
from tests.e2e.pushes.rows import Row

TABLE = Path(__file__).with_name("pushes.json")
PAGE = ROOT / "docs" / "explanation" / "pushes.md"
BEGIN, END = "<!-- pushes: from tests/e2e/pushes/pushes.json -->", "<!-- end of pushes -->"


_TABLE = Table(TABLE, PAGE, BEGIN, END, lambda found: Row(**found))
rows = _TABLE.rows


def put(new: Iterable[Row], *, commit: str, date: str) -> None:
    """Put rows into the table, and the table into the page; other rows stay."""
    _TABLE.put(new, shown, commit=commit, date=date)


def shown() -> str:
    """The table as the page has it."""
    lines = ["", f"{_TABLE.origin()}, on two cores.", ""]
    lines += [
        "| images of | what was pushed, or went wrong | what came of it | swapped | back again | polls | of them "
        "failed | longest wait | in all |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in rows()]
    lines += ["", "What the organizer reads:", ""]
    lines += dict.fromkeys(f"- {row.what}: “{row.said}”" for row in rows() if row.said)
    return "\n".join(lines) + "\n\n"


def _line(row: Row) -> str:
    failed = ", ".join(f"{number} × {how}" for how, number in row.failed.items()) or "none"
    return (
        f"| {row.kind} | {row.what} | {row.came} | {row.replaced} of {row.attendees} | {row.back} | {row.polls} | "
        f"{failed} | {row.gap_s:.1f} s | {row.took_s:.1f} s |"
    )
