"""A plot of swaps as SVG: for each row every sample as a point, mux above, by hand below, the median as a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, ROW, LINE = 760, 90, 60, 30, 110, 32
COLOURS = {"mux": "#1b6ca8", "by hand": "#c8553d"}


def plot(rows: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """The picture.

    Args:
        rows: by name, for each who the figures.
        titles: what each row is, for people.
    """
    height = TOP + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="12" role="img"><title>A push beside doing it by hand</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (name, row) in enumerate(rows.items()):
        top = TOP + number * ROW
        most = max(row[who]["largest"] for who in COLOURS) or 1.0
        scale = (WIDTH - LEFT - RIGHT) / most
        parts.append(f'<text x="{LEFT}" y="{top}" font-weight="bold">{escape(titles[name])}</text>')
        for line, (who, colour) in enumerate(COLOURS.items()):
            y = top + 22 + line * LINE
            median = LEFT + row[who]["median"] * scale
            parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{who}</text>')
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#dddddd"/>')
            parts += [
                f'<circle cx="{LEFT + sample * scale:.1f}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.6"/>'
                for sample in row[who]["samples"]
            ]
            at = f'x1="{median:.1f}" x2="{median:.1f}" y1="{y - 9}" y2="{y + 9}"'
            parts.append(f'<line {at} stroke="{colour}" stroke-width="2"/>')
            parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y + 4}" fill="{colour}">{row[who]["median"]:g}</text>')
    return "\n".join([*parts, "</svg>\n"])
