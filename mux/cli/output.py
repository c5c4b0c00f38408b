"""What commands print: lines, tables, JSON, questions.

Rules: on a terminal tables are drawn and severities coloured, elsewhere everything is plain text in aligned columns;
``NO_COLOR`` (no-color.org) is respected, and means no bold either. Texts may come from a ship or an attendee, so
control characters are shown, never sent to the terminal.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mux.cli.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows, and so can hide it."""


def plain(text: object, *, lines: bool = False) -> str:
    """A text that is safe for a terminal: control and direction characters are escaped; ``lines`` keeps line breaks."""
    return "".join(c if _is_harmless(c) or (lines and c == "\n") else _escaped(c) for c in str(text))


def _is_harmless(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and character not in _BIDI


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def on_terminal() -> bool:
    """Whether output goes to a person's terminal."""
    return sys.stdout.isatty()


def say(text: str = "", *, lines: bool = False) -> None:
    """One line on stdout."""
    sys.stdout.write(plain(text, lines=lines) + "\n")


def warn(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write(plain(text) + "\n")


def say_json(value: Any, *, compact: bool = False) -> None:
    """A value for scripts: keys as the admin API names them, in its order."""
    text = json.dumps(value, ensure_ascii=False, indent=None if compact else 2)
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")


def say_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headers; nothing at all without rows."""
    if not rows:
        return
    cells = [[plain(cell) for cell in row] for row in rows]
    if on_terminal():
        _draw(headers, cells)
        return
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    for line in [[header.upper() for header in headers], *cells]:
        joined = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write(joined.rstrip() + "\n")


def _draw(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only terminals need it
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    terminal().print(table)


def terminal() -> Console:
    """What tables and bars are drawn on; without any escape for those who want no colours."""
    from rich.console import Console  # noqa: PLC0415 - only terminals need it

    # `no_color` of rich leaves bold and dim.
    return Console() if _wants_colours() else Console(color_system=None)


def _wants_colours() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    """``text`` in a colour (``red``, ``yellow``, ``green``), on terminals that want any."""
    codes = {"red": "31", "green": "32", "yellow": "33"}
    if not (on_terminal() and _wants_colours()):
        return text
    return f"\x1b[{codes[colour]}m{text}\x1b[0m"


def say_painted(text: str, colour: str) -> None:
    """One line on stdout, in a colour where that is wanted."""
    sys.stdout.write(paint(plain(text), colour) + "\n")


def say_after(painted: str, text: str) -> None:
    """One line on stdout that begins with something that `paint` has made."""
    sys.stdout.write(painted + plain(text) + "\n")


def confirmed(question: str) -> bool:
    """A person's yes. Raises UsageError without a terminal to ask on."""
    if not (sys.stdin.isatty() and on_terminal()):
        raise UsageError(f"{question} There is no terminal to ask on: say --yes")
    sys.stdout.write(f"{plain(question)} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def clock_time(at: float) -> str:
    """A moment in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
