"""A plot of cost against size as SVG: both axes logarithmic, one line for each kind of event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 30, 50
COLOURS = ("#1b6ca8", "#c8553d", "#2e7d32", "#8e44ad", "#b8860b", "#00838f", "#6d4c41", "#455a64", "#ad1457", "#33691e")


def plot(sizes: Sequence[int], costs: Mapping[str, Sequence[float]]) -> str:
    """The picture.

    Args:
        sizes: numbers of ships, rising.
        costs: microseconds for each size, by name.
    """
    every = [cost for row in costs.values() for cost in row]
    low, high = floor(log10(min(every))), ceil(log10(max(every)))
    first, last = log10(sizes[0]), log10(sizes[-1])

    def x(size: float) -> float:
        return LEFT + (log10(size) - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def y(cost: float) -> float:
        return HEIGHT - BOTTOM - (log10(cost) - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12" role="img"><title>Cost of one call of the core against the number of ships</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_duration(power)}</text>')
    parts += [
        f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>' for size in sizes
    ]
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">ships</text>')
    ends = _apart({name: y(row[-1]) for name, row in costs.items()})
    for (name, row), colour in zip(costs.items(), COLOURS, strict=False):
        points = " ".join(f"{x(size):.1f},{y(cost):.1f}" for size, cost in zip(sizes, row, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{ends[name]:.1f}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _duration(power: int) -> str:
    units = {0: "µs", 3: "ms", 6: "s"}
    unit = max(each for each in units if each <= max(power, 0))
    return f"{10 ** (power - unit):g} {units[unit]}"


def _apart(ends: Mapping[str, float]) -> dict[str, float]:
    """Where the names stand, so that none covers another."""
    found: dict[str, float] = {}
    at = -100.0
    for name, wanted in sorted(ends.items(), key=lambda item: item[1]):
        at = max(wanted + 4, at + 14)
        found[name] = at
    return found
