"""How far a rollout is, for a terminal: one line, or bars. Pure: from the admin API's words to texts.

Rules: what a ship says is shown, never sent to the terminal raw. What is not known is said to be unknown.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from mux.cli.output import plain
from mux.core.plural import are

BAR_CHARS = 40
REASONS_SHOWN = 5
"""Groups of failures under the bars; `mux rollout status` names each."""
MINUTES_FROM_S = 90.0


def summary(found: dict[str, Any]) -> str:
    """One line: how far a rollout is."""
    words = f"{found['project']}: {'paused, ' if found['paused'] else ''}{found['phase']}"
    parts = [
        f"{found['pulled']} of {found['ships']} ships pulled",
        f"{found['proved']} proved",
        f"{found['swapped']} of {found['bound']} attendees swapped",
    ]
    parts += [f"{found[name]} {name}" for name in ("swapping", "waiting") if found[name]]
    if found["working"]:
        parts.append(f"{found['working']} not idle")
    if found["when"] == "offer":
        parts.append(f"{found['accepted']} of {found['offered']} offers accepted")
    if found["failures"]:
        parts.append(f"{len(found['failures'])} failed")
    waits = f"; waits for {found['waits_for']}" if found["waits_for"] else ""
    return f"{words}: {', '.join(parts)}{waits}"


def eta(found: dict[str, Any]) -> str:
    """How long it will take; empty once it has ended."""
    if found["phase"] not in {"pulling", "proving", "swapping"}:
        return ""
    seconds = found["eta_s"]
    if seconds is None:
        return "time left: unknown"
    if seconds < MINUTES_FROM_S:
        return f"time left: about {max(1, round(seconds))} s"
    return f"time left: about {round(seconds / 60)} min"


def reasons(found: dict[str, Any]) -> list[str]:
    """Why things failed, the most frequent reason first."""
    counted = Counter(one["why"] for one in found["failures"])
    return [f"{count:>4} × {why}" for why, count in counted.most_common(REASONS_SHOWN)]


def bars(found: dict[str, Any]) -> Any:
    """What a terminal shows: bars of ships and attendees, what it waits for, what is left, why things failed."""
    from rich.console import Group  # noqa: PLC0415 - only terminals need it
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    rows = [
        ("ships pulled", found["pulled"], found["ships"]),
        ("ships proved", found["proved"], found["ships"]),
    ]
    if found["when"] == "offer":
        rows.append(("offers accepted", found["accepted"], found["offered"]))
    rows.append(("attendees swapped", found["swapped"], found["bound"]))
    table = Table.grid(padding=(0, 2))
    for name, count, total in rows:
        bar = ProgressBar(total=max(1, total), completed=min(count, total), width=BAR_CHARS)
        table.add_row(Text(name), bar, Text(f"{count} of {total}"))
    lines = [f"{found['project']}: {'paused, ' if found['paused'] else ''}{found['phase']}"]
    if found["waits_for"]:
        lines[0] += f"; waits for {found['waits_for']}"
    if found["working"]:
        lines.append(f"{are(found['working'], 'attendee')} working, and waited for")
    lines += [line for line in (eta(found),) if line]
    return Group(table, *(Text(plain(line)) for line in (*lines, *reasons(found))))
