"""A plot of boots as SVG: one bar for each kind of image, cut into its phases, in seconds from left to right."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP = 760, 150, 30, 40
ROW, BAR, LEGEND = 46, 26, 20
COLOURS = ("#1b6ca8", "#c8553d", "#2e7d32", "#8e44ad", "#b8860b", "#00838f")


def plot(boots: Mapping[str, Mapping[str, float]]) -> str:
    """The picture.

    Args:
        boots: for each kind of image the seconds of each phase, in order; the same phases in each.
    """
    longest = max(sum(phases.values()) for phases in boots.values())
    names = list(next(iter(boots.values())))
    below = TOP + ROW * len(boots)
    height = below + 40 + LEGEND * len(names)
    scale = (WIDTH - LEFT - RIGHT) / longest
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="12" role="img"><title>Time from launch to a ready seat, by phase</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    step = next(each for each in (1, 2, 5, 10, 20, 50, 100, 200, 500) if longest / each <= 10)
    for second in range(0, int(longest) + 1, step):
        at = LEFT + second * scale
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 8}" y2="{below}" stroke="#dddddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{below + 16}" text-anchor="middle">{second} s</text>')
    for row, (kind, phases) in enumerate(boots.items()):
        y, at = TOP + row * ROW, float(LEFT)
        parts.append(f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end">{escape(kind)}</text>')
        for seconds, colour in zip(phases.values(), COLOURS, strict=False):
            width = seconds * scale
            parts.append(f'<rect x="{at:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
            at += width
    for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        y = below + 32 + number * LEGEND
        each = ", ".join(f"{phases[name]:.1f} s" for phases in boots.values())
        parts.append(f'<rect x="{LEFT}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + 20}" y="{y + 11}">{escape(name)}: {each}</text>')
    return "\n".join([*parts, "</svg>\n"])
