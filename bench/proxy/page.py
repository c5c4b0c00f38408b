"""The page of the results: a table for people, and what was aimed at beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "proxy-figures.md"

COLUMNS = ("mux", "nginx", "nginx 256k", "HAProxy", "Caddy", "configurable-http-proxy", "aiohttp")
REPEATED = [f"GET {size}, c={count}" for size in ("200 B", "2 KB") for count in (64, 512, 2000)]
NEW = [f"GET 200 B, never-seen heads, c={count}" for count in (64, 512)]
BODIES = [f"64 MiB {way}, {count} at once" for way in ("down", "up") for count in (1, 8)]


def page(found: dict[str, Any], profile: dict[str, Any]) -> str:
    """The page, as Markdown.

    Args:
        found: what ``python -m bench.proxy`` measured.
        profile: what ``python -m bench.proxy.profile`` saw.
    """
    return "\n".join([*_intro(found), *_rates(found), *_tls(found), *_bars(found), *_profile(profile), ""])


def _intro(found: dict[str, Any]) -> list[str]:
    versions = "; ".join(words for words in found["versions"].values() if words)
    return [
        "# How fast the data plane is",
        "",
        f"Measured by `make bench-proxy` on {found['date']} at commit `{found['commit']}`: "
        f"{found['machine']}; {versions}.",
        "Each proxy had one core, load generator and upstream the other. Requests carry the head of a browser. mux",
        "looked up a session and a route for each, and counted; the others passed everything on. Medians of "
        f"{found['rounds']} samples of {found['seconds']} s,",
        "taken in turn; of Caddy, configurable-http-proxy and aiohttp one sample. The figures compare proxies on this",
        "machine, and say nothing about another. All of them are in `bench/results/proxy.json`.",
        "",
        "![Processor time for each request, beside nginx](../../bench/results/proxy.svg)",
        "",
    ]


def _rates(found: dict[str, Any]) -> list[str]:
    columns = [name for name in COLUMNS if any(name in targets for targets in found["rows"].values())]
    lines = [
        "Requests, bodies or messages a second, and in brackets microseconds of processor time for each:",
        "",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for row, targets in found["rows"].items():
        if not row.startswith("TLS"):
            lines.append(f"| {row} | {' | '.join(_cell(targets.get(name)) for name in columns)} |")
    idle = found["idle_websocket_bytes"]
    cells = [f"{idle[name] / 1000:.1f} KB" if name in idle else "" for name in columns]
    return [*lines, f"| memory of an idle WebSocket, {idle['open']:,} open | {' | '.join(cells)} |", ""]


def _tls(found: dict[str, Any]) -> list[str]:
    columns = [f"{name}, TLS" for name in ("mux", "nginx", "HAProxy")]
    lines = ["Over TLS:", "", "| | mux | nginx | HAProxy |", "|---|---|---|---|"]
    for row, targets in found["rows"].items():
        if row.startswith("TLS"):
            lines.append(f"| {row[5:]} | {' | '.join(_cell(targets.get(name)) for name in columns)} |")
    idle = found["idle_websocket_bytes"]
    cells = [f"{idle[name] / 1000:.1f} KB" if name in idle else "" for name in columns]
    return [*lines, f"| memory of an idle WebSocket, {idle['open_tls']:,} open | {' | '.join(cells)} |", ""]


def _cell(taken: dict[str, Any] | None) -> str:
    if taken is None:
        return ""
    rate = f"{taken['rate']:,.0f}" if taken["rate"] >= 100 else f"{taken['rate']:.1f}"
    return f"{rate} ({taken['cpu_us']:,.0f})"


def _bars(found: dict[str, Any]) -> list[str]:
    """What was aimed at: at least a ratio, or, where it is negative here, at most one. The worst of its rows counts."""
    rows, idle = found["rows"], found["idle_websocket_bytes"]

    def ratios(names: list[str], key: str, peer: str, ours: str = "mux") -> list[float]:
        return [rows[name][ours][key] / (rows[name][peer][key] or 1) for name in names if peer in rows.get(name, {})]

    slow = [name for name in REPEATED if not name.endswith("c=64")]
    aims = [
        ("GET, repeated heads, against nginx", 1.0, ratios(REPEATED, "rate", "nginx")),
        (
            "the same, against configurable-http-proxy",
            10.0,
            ratios(REPEATED, "rate", "configurable-http-proxy"),
        ),
        ("GET, never-seen heads, against nginx", 0.8, ratios(NEW, "rate", "nginx")),
        ("p99 at 512 and 2,000 connections, against nginx", -1.2, ratios(slow, "p99_ms", "nginx")),
        ("WebSocket 200 × 128 B, against nginx", 0.9, ratios(["WebSocket 128 B, 200"], "rate", "nginx")),
        (
            "WebSocket 200 × 16 KB, against nginx with 256 KB buffers",
            0.9,
            ratios(["WebSocket 16 KB, 200"], "rate", "nginx 256k"),
        ),
        ("idle WebSocket, in KB", -4.0, [idle["mux"] / 1000]),
        ("idle WebSocket, against nginx", -0.25, [idle["mux"] / idle["nginx"]]),
        (
            "64 MiB bodies, processor time, against nginx with 256 KB buffers",
            -1.0,
            ratios(BODIES, "cpu_us", "nginx 256k"),
        ),
        ("TLS GET, against nginx", 0.7, ratios(["TLS: GET 200 B, c=64"], "rate", "nginx, TLS", "mux, TLS")),
    ]
    lines = ["What was aimed at, as ratios; each line shows the worst of its rows:", ""]
    lines += ["| | aim | measured | |", "|---|---|---|---|"]
    for what, aim, measured in aims:
        words = f"≥ {aim:g}" if aim > 0 else f"≤ {-aim:g}"
        if not measured:
            lines.append(f"| {what} | {words} | not measured | |")
            continue
        worst = min(measured) if aim > 0 else max(measured)
        met = worst >= aim if aim > 0 else worst <= -aim
        lines.append(f"| {what} | {words} | {worst:.2f} | {'met' if met else 'missed'} |")
    return lines


def _profile(profile: dict[str, Any]) -> list[str]:
    """Why a row is not faster: where its time goes."""
    lines = [
        "",
        "## Where the time goes",
        "",
        f"`python -m bench.proxy.profile` on {profile['date']} at commit `{profile['commit']}`: percent of",
        "the processor time of a request. What the kernel does for the same bytes is the same for both; own is Python",
        "with uvloop in one, and nginx in the other.",
        "",
        "| | | kernel: write | read | epoll | all | own |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, targets in profile["rows"].items():
        for name, seen in targets.items():
            percent = seen["percent"]
            kernel = [percent.get(f"kernel, {call}", 0.0) for call in ("write", "read", "epoll", "all")]
            own = sum(share for part, share in percent.items() if not part.startswith("kernel"))
            lines.append(f"| {row} | {name} | {' | '.join(f'{share:.0f}' for share in (*kernel, own))} |")
    return lines
