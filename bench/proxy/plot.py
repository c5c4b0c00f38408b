"""Bars of what each request takes, nginx being 1, as SVG."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

SPENT = ("cpu_us", "Processor time for each request or message")
P99 = ("p99_ms", "Time that 99 of 100 requests or messages stay below")
WIDTH, LEFT, RIGHT, BAR = 860, 250, 90, 14
COLOURS = {"mux": "#1b6ca8", "nginx": "#2e7d32", "nginx 256k": "#66a36a", "HAProxy": "#8e44ad", "Caddy": "#b8860b"}
MOST = 3.0


def plot(found: dict[str, Any], what: tuple[str, str]) -> str:
    """The picture.

    Args:
        found: what ``python -m bench.proxy`` measured.
        what: of it: SPENT or P99.
    """
    key, title = what
    parts: list[str] = []
    y = 40
    for row, targets in found["rows"].items():
        if "nginx" not in targets:
            continue
        parts.append(f'<text x="{LEFT - 10}" y="{y + 22}" text-anchor="end">{escape(row)}</text>')
        for name, colour in COLOURS.items():
            if name not in targets:
                continue
            ratio = targets[name][key] / (targets["nginx"][key] or 1)
            length = min(ratio, MOST) / MOST * (WIDTH - LEFT - RIGHT)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(
                f'<text x="{LEFT + length + 6:.1f}" y="{y + 10}" font-size="10">{ratio:.2f} {escape(name)}</text>'
            )
            y += BAR
        y += 10
    one = LEFT + (WIDTH - LEFT - RIGHT) / MOST
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}" font-family="sans-serif"'
        f' font-size="12" role="img"><title>{title}, nginx being 1</title>',
        f'<rect width="{WIDTH}" height="{y + 10}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-weight="bold">{title}; nginx is 1, less is better</text>',
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="30" y2="{y}" stroke="#999999" stroke-dasharray="3 3"/>',
    ]
    return "\n".join([*head, *parts, "</svg>\n"])
