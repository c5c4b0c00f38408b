"""The page of the results: tables for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.proxy.bars import bars
from bench.proxy.targets import CHP, TLS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "proxy-figures.md"

COLUMNS = ("direct", "mux", "nginx", "nginx 256k", "HAProxy", "Caddy", CHP, "aiohttp")
TLS_COLUMNS = tuple(name + TLS for name in ("direct", "mux", "nginx", "HAProxy"))
HEADINGS = {"direct": "no proxy"}
SPLITS = ("kernel, write", "kernel, read", "kernel, epoll", "kernel, all")

Cell = Callable[[dict[str, float]], str]


def page(found: dict[str, Any], profile: dict[str, Any]) -> str:
    """The page, as Markdown.

    Args:
        found: what ``python -m bench.proxy`` measured.
        profile: what ``python -m bench.proxy.profile`` saw.
    """
    measured = [*_intro(found), *_rates(found), *_latency(found), *bars(found, profile)]
    return "\n".join([*measured, *_profile(profile), *_past(found, profile), ""])


def _intro(found: dict[str, Any]) -> list[str]:
    limit = found.get("foreign_max", 0.1)
    return [
        "# How fast the data plane is",
        "",
        f"Measured by `make bench-proxy` on {found['date']} at commit `{found['commit']}`: {found['machine']};",
        f"{_versions(found['versions'])}.",
        "Each proxy had one core, load generator and upstream the other: *no proxy* is what these two reach alone, the",
        "ceiling of small requests. Requests carry the head of a browser. mux was fed as in an event: it looked up a",
        "session and a route for each, held the limits, and told what it counted. The others passed everything on.",
        "Medians of",
        f"{found['rounds']} samples of {found['seconds']:g} s, taken in turn; of Caddy, {CHP}, aiohttp",
        f"and no proxy one sample. A sample in which others had more than {limit:.0%} of the machine was taken again;",
        "one that stayed above it is marked *. The figures compare proxies on this machine, and say nothing about",
        "another. All of them are in `bench/results/proxy.json`.",
        "",
        "![Processor time for each request, beside nginx](../../bench/results/proxy.svg)",
        "",
        "![Time that 99 of 100 stay below, beside nginx](../../bench/results/proxy-p99.svg)",
        "",
    ]


def _versions(said: dict[str, str]) -> str:
    """Names and numbers, of the first lines in which programs tell their versions."""
    names = {name.lower(): name for name in COLUMNS}
    parts = []
    for name, words in said.items():
        number = re.search(r"\d+(?:\.\d+)+[\w.+-]*", words)
        if number:
            parts.append(f"{names.get(name, name)} {number[0]}")
    return ", ".join(parts)


def _table(found: dict[str, Any], columns: tuple[str, ...], cell: Cell) -> list[str]:
    """Rows in which one of the columns was measured."""
    limit = found.get("foreign_max", 0.1)
    columns = tuple(name for name in columns if any(name in targets for targets in found["rows"].values()))
    plain = [name.removesuffix(TLS) for name in columns]
    lines = [f"| | {' | '.join(HEADINGS.get(name, name) for name in plain)} |", f"|---|{'---|' * len(columns)}"]
    for row, targets in found["rows"].items():
        taken = [targets.get(name) for name in columns]
        if any(taken):
            cells = ["" if one is None else cell(one) + (" *" if one["foreign"] > limit else "") for one in taken]
            lines.append(f"| {row.removeprefix('TLS: ')} | {' | '.join(cells)} |")
    return lines


def _idle(found: dict[str, Any], columns: tuple[str, ...], count: str) -> str:
    idle = found["idle_websocket_bytes"]
    columns = tuple(name for name in columns if any(name in targets for targets in found["rows"].values()))
    cells = [f"{idle[name] / 1000:.1f} KB" if name in idle else "" for name in columns]
    return f"| memory of an idle WebSocket, {idle[count]:,} open | {' | '.join(cells)} |"


def _rates(found: dict[str, Any]) -> list[str]:
    return [
        "Requests, bodies or messages a second, and in brackets microseconds of processor time for each:",
        "",
        *_table(found, COLUMNS, _rate),
        _idle(found, COLUMNS, "open"),
        "",
        "Over TLS:",
        "",
        *_table(found, TLS_COLUMNS, _rate),
        _idle(found, TLS_COLUMNS, "open_tls"),
        "",
    ]


def _latency(found: dict[str, Any]) -> list[str]:
    return [
        "## How long an answer takes",
        "",
        "Milliseconds that half of all and that 99 of 100 stayed below. The load asks again as soon as it is answered,",
        "so with many connections this is mostly the queue in front of a core that is never idle.",
        "",
        *_table(found, COLUMNS, _times),
        "",
        "Over TLS:",
        "",
        *_table(found, TLS_COLUMNS, _times),
        "",
    ]


def _rate(taken: dict[str, float]) -> str:
    rate = f"{taken['rate']:,.0f}" if taken["rate"] >= 100 else f"{taken['rate']:.1f}"
    return f"{rate} ({taken['cpu_us']:,.0f})" if taken["cpu_us"] else rate


def _times(taken: dict[str, float]) -> str:
    return f"{_ms(taken['p50_ms'])} / {_ms(taken['p99_ms'])}"


def _ms(value: float) -> str:
    """Two figures at least: enough to compare by."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _profile(profile: dict[str, Any]) -> list[str]:
    """Why a row is not faster: where its time goes."""
    lines = [
        "## Where the time goes",
        "",
        f"`python -m bench.proxy.profile` on {profile['date']} at commit `{profile['commit']}`: percent of",
        "the processor time of a request. What the kernel does for the same bytes is the same for all; own is Python",
        "with uvloop in mux, nginx's code in nginx, and JavaScript with Node.js in configurable-http-proxy.",
        "",
        "| | | kernel: write | read | epoll | all | own |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, targets in profile["rows"].items():
        for name, seen in targets.items():
            shares = [seen["percent"].get(part, 0.0) for part in SPLITS]
            lines.append(f"| {row} | {name} | {' | '.join(f'{share:.0f}' for share in (*shares, 100 - shares[-1]))} |")
    return [*lines, "", *_waits(profile)]


def _waits(profile: dict[str, Any]) -> list[str]:
    """Who the slowest are."""
    if not profile.get("waits"):
        return []
    lines = [
        "Who waits, in milliseconds: the first answer on a connection, for which a proxy takes it, apart from later",
        "ones once all are taken. The generator here is slower than wrk, so the figures compare with each other only.",
        "",
        "| | | first: half | last | later: half | 99 of 100 | slowest 1 % that are first |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, targets in profile["waits"].items():
        for name, seen in targets.items():
            first, later = seen["first"], seen["later"]
            times = (first["p50_ms"], first["max_ms"], later["p50_ms"], later["p99_ms"])
            cells = " | ".join(f"{value:.0f}" for value in times)
            lines.append(f"| {row} | {name} | {cells} | {first['of_slowest']:.0%} |")
    costs = ", ".join(f"{name} {cost:.0f} µs" for name, cost in profile["connection_us"].items())
    return [*lines, "", f"Processor time of a new connection with one request of 200 B: {costs}.", ""]


def _past(found: dict[str, Any], profile: dict[str, Any]) -> list[str]:
    """How much faster than nginx this could ever be."""
    lines = [
        "## How far past nginx can it go?",
        "",
        "Most of a request's time is the kernel's, and is spent for the same bytes by whoever passes them on. If",
        "Python and uvloop took no time at all, mux would be so many times as fast as nginx, by processor time;",
        "*without a proxy* is how far load and upstream could follow. More than that takes fewer system calls for a",
        "request (io_uring, or several requests to one write), not faster code of our own.",
        "",
        "| | mux, µs | of it the kernel's | nginx, µs | today | own time zero | without a proxy |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, targets in profile["rows"].items():
        if not {"mux", "nginx"} <= set(targets):
            continue
        ours, theirs = targets["mux"]["cpu_us"], targets["nginx"]["cpu_us"]
        kernel = ours * targets["mux"]["percent"].get("kernel, all", 100.0) / 100
        rates = found["rows"].get(row, {})
        free = f"{rates['direct']['rate'] / rates['nginx']['rate']:.2f}" if {"direct", "nginx"} <= set(rates) else ""
        cells = f"{ours:.1f} | {kernel:.1f} | {theirs:.1f} | {theirs / ours:.2f} | {theirs / kernel:.2f} | {free}"
        lines.append(f"| {row} | {cells} |")
    return lines
