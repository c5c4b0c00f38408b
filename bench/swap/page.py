"""The results as docs/explanation/pushes.md shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "pushes.md"
BEGIN, END = "<!-- swaps: from bench/results/swap.json -->", "<!-- end of swaps -->"


ROWS = {
    "pull": "the image is on the ship, s",
    "gap": "an attendee waits for an answer, s",
    "bytes": "sent by the registry to the ship, KiB",
}
"""What each row of swap.json is, for people."""


def put(results: Mapping[str, Any]) -> None:
    """Put the table into the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{shown(results)}{END}{rest.partition(END)[2]}", encoding="utf-8")


def shown(results: Mapping[str, Any]) -> str:
    """The table. ``results``: as in swap.json."""
    lines = ["", "| median (largest) | mux | by hand | ratio |", "|---|---|---|---|"]
    for name, row in results["rows"].items():
        cells = [f"{row[who]['median']:g} ({row[who]['largest']:g})" for who in ("mux", "by hand")]
        lines.append(f"| {ROWS[name]} | {' | '.join(cells)} | {row['ratio']:g} |")
    push = results["push_s"]
    lines += [
        "",
        f"A whole push, from the command to the end of its last wave, took {push['median']:g} s "
        f"({push['largest']:g} s at most): {results['attendees']} attendees, one after the other, each wave watched "
        f"for a second. New in each image was a layer of {results['layer_bytes'] >> 20} MiB. "
        f"{results['rounds']} rounds in "
        f"turn on {results['date']} at `{results['commit']}`, {results['machine']}, at a load of "
        f"{results['load_at_start']:g} when it began.",
    ]
    return "\n".join(lines) + "\n\n"
