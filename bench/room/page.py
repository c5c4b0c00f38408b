"""What the rehearsal says, in docs/explanation/what-breaks.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "what-breaks.md"
BEGIN, END = "<!-- room: from bench/results/room.json -->", "<!-- end of room -->"


def put(found: dict[str, Any]) -> None:
    """Put the results into the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{shown(found)}{END}{rest.partition(END)[2]}", encoding="utf-8")


def shown(found: dict[str, Any]) -> str:
    """The results as the page has them."""
    entered = found["rows"][0]
    lines = [
        "",
        f"Measured on {found['date']} at `{found['commit']}` ({found['machine']}): {found['people']} attendees on "
        f"ships of {found['seats_per_ship']} seats, all ready {found['ready_s']:.0f} s after the start of mux.",
        "",
        f"Everybody logs in at once: the last one is logged in after {entered['login_s']['max']:.1f} s and in their "
        f"workspace after {entered['inside_s']['max']:.1f} s. Saves that were confirmed and are missing at the end: "
        f"{found['lost']}.",
        "",
        "| what happens | for | page, p50 and p99 | echo, p50 and p99 | longest time without a page | "
        "refused or cut off | WebSockets ended | cores: control, proxies, agents |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(row) for row in found["rows"][1:]),
    ]
    return "\n".join(lines) + "\n\n"


def _line(row: dict[str, Any]) -> str:
    cores = row.get("cores")
    cells = [
        row["what"],
        f"{row['took_s']:.0f} s",
        f"{row['page_ms']['p50']:g}, {row['page_ms']['p99']:g} ms",
        f"{row['echo_ms']['p50']:g}, {row['echo_ms']['p99']:g} ms",
        f"{row['gap_s']['max']:.1f} s",
        str(sum(row["failed"].values())),
        str(row["websockets_closed"]),
        ", ".join(f"{cores[name]:.2f}" for name in ("control", "proxies", "agents")) if cores else "-",
    ]
    return f"| {' | '.join(cells)} |"
