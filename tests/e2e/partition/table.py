"""The table of ships cut off: on disk (``partitions.json``) and as docs/explanation/ships-cut-off.md shows it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.docker_engine import ROOT
from tests.e2e.partition.cases import Row

TABLE = Path(__file__).parents[1] / "partitions.json"
PAGE = ROOT / "docs" / "explanation" / "ships-cut-off.md"
BEGIN, END = "<!-- partitions: from tests/e2e/partitions.json -->", "<!-- end of partitions -->"
UNNOTICED_S = 1.0
"""A gap that nobody notices: within what a machine under load takes for a page."""
RUNTIMES = {"process": "Workspaces as processes", "docker": "Workspaces as containers"}
CUTS = {"link": "the ship from the mux", "path": "attendees from the ship", "both": "the ship from everybody"}


def put(rows: Sequence[Row]) -> None:
    """Keep what a run measured as data, and in the page."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    found = {
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "load": round(os.getloadavg()[1], 1),
        "rows": [asdict(row) for row in rows],
    }
    TABLE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{shown()}{END}{rest.partition(END)[2]}", encoding="utf-8")


def shown() -> str:
    """The table as the page has it."""
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    rows = [Row(**row) for row in found["rows"]]
    head = (
        f"Measured on {found['date']} at commit `{found['commit']}`, with `lost_after_s = {rows[0].lost_after_s:g}`, "
        f"on two cores at a load of {found['load']:g}."
    )
    columns = ("cut", "for", "the longest wait", "what was shown meanwhile", "seat afterwards", "linked again after")
    lines = ["", head]
    for runtime, title in RUNTIMES.items():
        if measured := [_line(row) for row in rows if row.runtime == runtime]:
            lines += ["", f"### {title}", "", _cells(columns), _cells(["---"] * len(columns)), *measured]
    return "\n".join(lines) + "\n\n"


def _cells(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _line(row: Row) -> str:
    gap = "not noticed" if row.gap_s < UNNOTICED_S and not row.errors else f"{row.gap_s:.0f} s"
    texts = " ".join(f"“{text}”" for text in row.texts) or "-"
    seat = "on another ship" if row.moved else "the same"
    return _cells([CUTS[row.cut], f"{row.cut_s:.0f} s", gap, texts, seat, f"{row.healed_s:.0f} s"])
