"""Draws histograms as SVG, with nothing but the standard library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from IPython.display import SVG

WIDTH, HEIGHT, FOOT = 640, 180, 34
GREY, BLUE, ORANGE = "#888888", "#3b7dd8", "#e0992a"


def histogram(values: Sequence[float], bins: int, label: str, marks: Sequence[float] = ()) -> SVG:
    """A histogram of ``values`` in ``bins`` bars of equal width; ``marks`` are drawn as upright lines."""
    low, high = min([*values, *marks]), max([*values, *marks])
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / width), bins - 1)] += 1

    def across(value: float) -> float:
        return WIDTH * (value - low) / (width * bins)

    bars = "".join(
        f'<rect x="{across(low + n * width):.1f}" y="{HEIGHT - HEIGHT * count / max(counts):.1f}"'
        f' width="{WIDTH / bins * 0.92:.1f}" height="{HEIGHT * count / max(counts):.1f}" fill="{BLUE}">'
        f"<title>{low + n * width:.2f} to {low + (n + 1) * width:.2f}: {count}</title></rect>"
        for n, count in enumerate(counts)
    )
    lines = "".join(
        f'<line x1="{across(mark):.1f}" x2="{across(mark):.1f}" y1="0" y2="{HEIGHT}"'
        f' stroke="{ORANGE}" stroke-width="3"/>'
        for mark in marks
    )
    foot = (
        f'<g fill="{GREY}" font-family="sans-serif" font-size="13">'
        f'<text x="0" y="{HEIGHT + 18}">{low:.2f}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 18}" text-anchor="end">{high:.2f}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT + 18}" text-anchor="middle">{escape(label)}</text></g>'
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {WIDTH + 8} {HEIGHT + FOOT}">'
    return SVG(f"{head}{bars}{lines}{foot}</svg>")
