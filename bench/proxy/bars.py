"""What was aimed at beside what was measured, and, of what was missed, why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.proxy.targets import CHP

REPEATED = [f"GET {size}, c={count}" for size in ("200 B", "2 KB") for count in (64, 512, 2000)]
NEW = [f"GET {size}, never-seen heads, c={count}" for size in ("200 B", "2 KB") for count in (64, 512)]
MANY = [name for name in REPEATED if not name.endswith("c=64")]
BODIES = [f"64 MiB {way}, {count} at once" for way in ("down", "up") for count in (1, 8)]

Cells = dict[str, dict[str, dict[str, float]]]
"""What was measured: row, then target, then what."""


@dataclass(frozen=True)
class Bar:
    """One aim.

    Args:
        what: in the table.
        aim: a ratio: at least this, or, where it is negative here, at most this.
        rows: the worst of them counts.
        key: of what was measured: ``rate``, ``cpu_us`` or ``p99_ms``.
        peer: what mux is compared with.
        ours: which mux.
    """

    what: str
    aim: float
    rows: list[str]
    key: str
    peer: str
    ours: str = "mux"

    def worst(self, cells: Cells) -> tuple[float, str] | None:
        """The worst ratio, and its row; None if none was measured."""
        ratios = [
            (cells[row][self.ours][self.key] / (cells[row][self.peer][self.key] or 1), row)
            for row in self.rows
            if self.ours in cells.get(row, {}) and self.peer in cells[row]
        ]
        return (min if self.aim > 0 else max)(ratios, default=None)

    def met(self, ratio: float) -> bool:
        """Whether this is good enough."""
        return ratio >= self.aim if self.aim > 0 else ratio <= -self.aim


BARS = [
    Bar("GET, repeated heads, against nginx", 1.0, REPEATED, "rate", "nginx"),
    Bar("the same, against configurable-http-proxy", 10.0, REPEATED, "rate", CHP),
    Bar("GET, never-seen heads, against nginx", 0.8, NEW, "rate", "nginx"),
    Bar("p99 at 512 and 2,000 connections, against nginx", -1.2, MANY, "p99_ms", "nginx"),
    Bar("WebSocket 200 × 128 B, against nginx", 0.9, ["WebSocket 128 B, 200"], "rate", "nginx"),
    Bar(
        "WebSocket 200 × 16 KB, against nginx with 256 KB buffers", 0.9, ["WebSocket 16 KB, 200"], "rate", "nginx 256k"
    ),
    Bar("64 MiB bodies, processor time, against nginx with 256 KB buffers", -1.0, BODIES, "cpu_us", "nginx 256k"),
    Bar("TLS GET, against nginx", 0.7, ["TLS: GET 200 B, c=64"], "rate", "nginx, TLS", "mux, TLS"),
    Bar("idle WebSocket, in KB", -4.0, ["idle, in KB"], "held", "one"),
    Bar("idle WebSocket, against nginx", -0.25, ["idle"], "held", "nginx"),
]


def bars(found: dict[str, Any], profile: dict[str, Any]) -> list[str]:
    """The table of all aims, and a paragraph for each that was missed.

    Args:
        found: what ``python -m bench.proxy`` measured.
        profile: what ``python -m bench.proxy.profile`` saw.
    """
    cells = _with_idle(found)
    lines = ["## What was aimed at", "", "As ratios; each line shows the worst of its rows.", ""]
    lines += ["| | aim | measured | |", "|---|---|---|---|"]
    missed: list[str] = []
    for bar in BARS:
        words = f"≥ {bar.aim:g}" if bar.aim > 0 else f"≤ {-bar.aim:g}"
        worst = bar.worst(cells)
        if worst is None:
            lines.append(f"| {bar.what} | {words} | not measured | |")
            continue
        ratio, row = worst
        lines.append(f"| {bar.what} | {words} | {ratio:.2f} | {'met' if bar.met(ratio) else 'missed'} |")
        if not bar.met(ratio):
            told = [f"**Missed in {row}, against {bar.peer}: {ratio:.2f} of {words}.**"]
            missed += ["", *told, *_why(bar, row, cells[row], profile)]
    return [*lines, *missed, ""]


def _with_idle(found: dict[str, Any]) -> Cells:
    """All rows, memory of idle WebSockets among them."""
    idle = {name: {"held": held} for name, held in found["idle_websocket_bytes"].items() if "open" not in name}
    in_kb = {"mux": idle["mux"], "one": {"held": 1000.0}} if "mux" in idle else {}
    return {**found["rows"], "idle": idle, "idle, in KB": in_kb}


def _why(bar: Bar, row: str, targets: dict[str, dict[str, float]], profile: dict[str, Any]) -> list[str]:
    ways: dict[str, Callable[[], list[str]]] = {
        "rate": lambda: [*_ceiling(bar, targets), *_spent(bar, row, profile)],
        "cpu_us": lambda: _spent(bar, row, profile),
        "p99_ms": lambda: _slowest(bar, row, targets, profile),
    }
    return ways.get(bar.key, list)()


def _ceiling(bar: Bar, targets: dict[str, dict[str, float]]) -> list[str]:
    """What could be reached at all: load and upstream share a core, and have an end too."""
    direct = targets.get("direct")
    if direct is None:
        return []
    needed = bar.aim * targets[bar.peer]["rate"]
    lines = [
        f"The aim is {needed:,.0f} a second here; load and upstream alone, with no proxy between them, make",
        f"{direct['rate']:,.0f}, and mux {targets[bar.ours]['rate']:,.0f}.",
    ]
    if needed > direct["rate"]:
        lines.append("So the aim lies beyond what these two can do: their core is the limit here, not the proxy's.")
    return lines


def _spent(bar: Bar, row: str, profile: dict[str, Any]) -> list[str]:
    """Where the processor time of a request goes, in both."""
    seen = profile["rows"].get(row, {})
    if not {bar.ours, bar.peer} <= set(seen):
        return ["The profile that is kept did not look at this row."]
    lines = ["Processor time of a request while the profile was taken:"]
    parts = []
    for name in (bar.ours, bar.peer):
        whole, kernel = seen[name]["cpu_us"], seen[name]["percent"].get("kernel, all", 0.0)
        parts.append(
            f"{name} {whole:.1f} µs, of which {whole * kernel / 100:.1f} in the kernel and"
            f" {whole * (100 - kernel) / 100:.1f} its own"
        )
    return [*lines, "; ".join(parts) + "."]


def _slowest(bar: Bar, row: str, targets: dict[str, dict[str, float]], profile: dict[str, Any]) -> list[str]:
    """Who waits longest."""
    lines = [f"99 of 100 stay below {targets[bar.ours]['p99_ms']:.0f} ms and {targets[bar.peer]['p99_ms']:.0f} ms."]
    seen = profile.get("waits", {}).get(row, {})
    if not {bar.ours, bar.peer} <= set(seen):
        return [*lines, "The profile that is kept did not look at who waits in this row."]
    for name in (bar.ours, bar.peer):
        first, later = seen[name]["first"], seen[name]["later"]
        lines.append(
            f"{name}: {first['of_slowest']:.0%} of the slowest hundredth are the first answer on their connection"
            f" (half below {first['p50_ms']:.0f} ms, the last after {first['max_ms']:.0f}); once all connections are"
            f" taken, 99 of 100 stay below {later['p99_ms']:.0f} ms."
        )
    costs = profile["connection_us"]
    count = int(row.rpartition("=")[2])
    lines.append(
        "A connection with one request costs "
        + ", ".join(f"{name} {costs[name]:.0f} µs" for name in (bar.ours, bar.peer))
        + f" of processor time, so {count:,} that come at once keep its core busy for "
        + " and ".join(f"{costs[name] * count / 1000:.0f} ms" for name in (bar.ours, bar.peer))
        + " before the last is answered."
    )
    return lines
