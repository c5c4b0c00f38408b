"""The table of pushes: on disk (``pushes.json``) and as docs/explanation/pushes.md shows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.docker_engine import ROOT
from tests.e2e.pushes.rows import Row

TABLE = Path(__file__).with_name("pushes.json")
PAGE = ROOT / "docs" / "explanation" / "pushes.md"
BEGIN, END = "<!-- pushes: from tests/e2e/pushes/pushes.json -->", "<!-- end of pushes -->"


@dataclass(frozen=True)
class Entry:
    """A row, and the commit and the day that it was measured at."""

    row: Row
    commit: str
    date: str


def rows() -> list[Row]:
    """The rows on disk."""
    return [entry.row for entry in entries()]


def entries() -> list[Entry]:
    """The rows with their origin."""
    if not TABLE.exists():
        return []
    found = []
    for each in json.loads(TABLE.read_text("utf-8")):
        commit, date = each.pop("commit"), each.pop("date")
        found.append(Entry(Row(**each), commit, date))
    return found


def put(new: Iterable[Row], *, commit: str, date: str) -> None:
    """Put rows into the table, and the table into the page; other rows stay."""
    merged = {entry.row.key: entry for entry in [*entries(), *(Entry(row, commit, date) for row in new)]}
    content = [{"commit": each.commit, "date": each.date, **asdict(each.row)} for each in merged.values()]
    TABLE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{shown()}{END}{rest.partition(END)[2]}", encoding="utf-8")


def shown() -> str:
    """The table as the page has it."""
    commits = ", ".join(f"`{commit}`" for commit in sorted({entry.commit for entry in entries()}))
    dates = ", ".join(sorted({entry.date for entry in entries()}))
    lines = ["", f"Measured on {dates} at {commits}, on two cores with much other work.", ""]
    lines += [
        "| images of | what was pushed, or went wrong | what came of it | swapped of 2 | back again | polls | of them "
        "failed | longest wait | in all |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in rows()]
    said = [row for row in rows() if row.said]
    lines += ["", "What the organizer reads:", ""]
    lines += [f"- {row.what}: “{row.said}”" for row in said]
    return "\n".join(lines) + "\n\n"


def _line(row: Row) -> str:
    failed = ", ".join(f"{number} × {how}" for how, number in row.failed.items()) or "none"
    return (
        f"| {row.kind} | {row.what} | {row.came} | {row.replaced} | {row.back} | {row.polls} | {failed} | "
        f"{row.gap_s:.1f} s | {row.took_s:.1f} s |"
    )
