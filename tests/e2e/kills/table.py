"""The table of kills: on disk (``kills.json``) and as docs/explanation/what-breaks.md shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.docker_engine import ROOT
from tests.e2e.kills.rows import Row
from tests.e2e.measured import Table

TABLE = Path(__file__).with_name("kills.json")
PAGE = ROOT / "docs" / "explanation" / "what-breaks.md"
BEGIN, END = "<!-- kills: from tests/e2e/kills/kills.json -->", "<!-- end of kills -->"
UNNOTICED_S = 0.5
"""A gap that a page load does not show: within what a machine under load takes for one."""


KINDS = {
    "refused": "connection refused",
    "cut off": "cut off",
    "302": "a way to a page that waits",
    "waiting page": "a page that waits",
}
"""What was there instead of the workspace, in words; other statuses speak for themselves."""
HEADINGS = {
    "process": "### Workspaces as processes",
    "docker": "### Workspaces as containers",
}


def _row(found: dict[str, Any]) -> Row:
    return Row(**{**found, "what": tuple(found["what"]), "texts": tuple(found["texts"])})


_TABLE = Table(TABLE, PAGE, BEGIN, END, _row)
rows = _TABLE.rows


def put(new: Iterable[Row], *, commit: str, date: str) -> None:
    """Put rows into the table, and the table into the page; other rows stay."""
    _TABLE.put(new, shown, commit=commit, date=date)


def shown() -> str:
    """The table as the page has it."""
    lines = ["", f"{_TABLE.origin()}, on two cores."]
    for runtime, heading in HEADINGS.items():
        lines += ["", heading, ""]
        lines += [
            "| what was killed | pages | the kernel's WebSocket | kernel | everything there again |",
            "|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in rows() if row.runtime == runtime]
    return "\n".join(lines) + "\n\n"


def _line(row: Row) -> str:
    kernel = "the same" if row.kernel_kept else "a new one"
    return f"| {' + '.join(row.what)} | {_pages(row)} | {_socket(row)} | {kernel} | {row.repaired_s:.1f} s |"


def _pages(row: Row) -> str:
    if not row.page_errors and row.page_gap_s < UNNOTICED_S:
        return "nothing"
    return f"{row.page_gap_s:.1f} s without: {', '.join(_kinds(row))}" if row.page_errors else f"{row.page_gap_s:.1f} s"


def _kinds(row: Row) -> Iterator[str]:
    for kind in row.page_errors:
        yield KINDS.get(kind, f"a page with status {kind}" if kind.isdigit() else kind)


def _socket(row: Row) -> str:
    silent = f"silent for {row.kernel_gap_s:.1f} s"
    if row.websocket_closed:
        return f"closed, {silent}"
    return "nothing" if row.kernel_gap_s < UNNOTICED_S else silent
