"""``make bench-proxy``: the data plane beside other proxies, in one run, on this machine.

Every row is measured for every target in turn, several rounds, and the median counts, so that what else the machine
does meets all of them. Targets have one core, load and upstream the other. mux has everything on that an event has:
sessions, shares, counters. nginx, HAProxy and Caddy come from Debian's packages, configurable-http-proxy from npm;
what is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import described
from bench.proxy import load
from bench.proxy.page import PAGE, page
from bench.proxy.plot import plot
from bench.proxy.targets import BODY_BYTES, HTTP_PROXY, SLOW, Target, stage

RESULTS = Path(__file__).parents[1] / "results"
FOREIGN_MAX = 0.10
"""A sample in which others had more than this share of the machine is taken once more."""

SMALL, TWO, CHUNKED, BODY = (f"/camp/intro/{name}" for name in ("small", "2k", "chunked/2k", "body/64m"))
ROWS = {
    **{f"GET 200 B, c={count}": ("one", SMALL, count) for count in (1, 64, 512, 2000)},
    **{f"GET 2 KB, c={count}": ("one", TWO, count) for count in (1, 64, 512, 2000)},
    **{f"GET 2 KB chunked, c={count}": ("one", CHUNKED, count) for count in (1, 64, 512, 2000)},
    **{f"GET 200 B, eight heads, c={count}": ("eight", SMALL, count) for count in (64, 512)},
    **{f"GET 200 B, never-seen heads, c={count}": ("new", SMALL, count) for count in (64, 512)},
    **{f"64 MiB down, {count} at once": ("one", BODY, count) for count in (1, 8)},
    **{f"64 MiB up, {count} at once": ("upload", SMALL, count) for count in (1, 8)},
}
TLS_ROWS = {
    "TLS: GET 200 B, c=64": ("one", SMALL, 64),
    "TLS: GET 200 B, c=512": ("one", SMALL, 512),
    "TLS: handshake and GET, c=64": ("close", SMALL, 64),
}
SOCKETS = {
    "WebSocket 128 B, 1": (1, 128),
    "WebSocket 128 B, 200": (200, 128),
    "WebSocket 16 KB, 1": (1, 16384),
    "WebSocket 16 KB, 200": (200, 16384),
}
BODIES_TIMES = 3
"""So much longer are samples of large bodies, which count when they are complete."""
TLS_SOCKETS = 1000
"""Idle WebSockets over TLS: the clients are on this machine too, and need more memory than the target."""


def measure(target: Target, row: str, directory: Path, core: int, seconds: int) -> load.Sample:
    """One sample of one row; once more if others had too much of the machine."""
    if row in SOCKETS:
        connections, size = SOCKETS[row]
        return load.messages(target, core, connections, size, seconds)
    kind, path, connections = (TLS_ROWS if target.tls else ROWS)[row]
    if row.startswith("64 MiB"):
        seconds *= BODIES_TIMES
    sample = load.http(target, directory, core, kind=kind, path=path, connections=connections, seconds=seconds)
    if sample.foreign > FOREIGN_MAX:
        sample = load.http(target, directory, core, kind=kind, path=path, connections=connections, seconds=seconds)
    return sample


def wanted(targets: list[Target], number: int) -> Iterator[tuple[str, Target]]:
    """Rows and targets of one round, in turn."""
    for row in (*ROWS, *SOCKETS, *TLS_ROWS):
        for target in targets:
            once = target.process is None or target.name in SLOW
            echoes = row in SOCKETS or row.startswith("64 MiB up")
            if (once and number) or (echoes and not target.tunnels) or target.tls != (row in TLS_ROWS):
                continue
            yield row, target


def version(words: list[str]) -> str:
    """First line of what a program says of itself."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip().split("\n", 1)[0]


def run(chosen: argparse.Namespace) -> dict[str, object]:
    """All rows for all targets."""
    samples: dict[str, dict[str, list[load.Sample]]] = {}
    idle: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        stage(Path(folder), 0, (os.cpu_count() or 2) - 1) as made,
    ):
        targets = [Target("direct", made.upstream, None, behind=made.behind), *made.targets(set(chosen.only))]
        for target in targets:
            if target.tunnels and not chosen.rows:
                idle[target.name] = round(
                    load.idle_bytes(target, made.load_core, TLS_SOCKETS if target.tls else chosen.sockets)
                )
                print(f"memory of an idle WebSocket {target.name:24} {idle[target.name]:10.0f} B", flush=True)
        for number in range(chosen.rounds):
            for row, target in wanted(targets, number):
                if chosen.rows not in row:
                    continue
                sample = measure(target, row, Path(folder), made.load_core, chosen.seconds)
                samples.setdefault(row, {}).setdefault(target.name, []).append(sample)
                print(
                    f"{number + 1} {row:36} {target.name:24} {sample.rate:10.1f}/s {sample.cpu_us:9.1f} us "
                    f"p99 {sample.p99_ms:.1f} ms foreign {sample.foreign:.0%} errors {sample.errors}",
                    flush=True,
                )
    rows = {
        row: {
            name: {
                "rate": round(statistics.median(sample.rate for sample in taken), 1),
                "cpu_us": round(statistics.median(sample.cpu_us for sample in taken), 2),
                "p50_ms": round(statistics.median(sample.p50_ms for sample in taken), 3),
                "p99_ms": round(statistics.median(sample.p99_ms for sample in taken), 3),
                "foreign": round(statistics.median(sample.foreign for sample in taken), 3),
                "errors": sum(sample.errors for sample in taken),
                "samples": len(taken),
            }
            for name, taken in found.items()
        }
        for row, found in samples.items()
    }
    programs = {
        "nginx": ["nginx", "-v"],
        "haproxy": ["haproxy", "-v"],
        "caddy": ["caddy", "version"],
        "configurable-http-proxy": [str(HTTP_PROXY / "configurable-http-proxy"), "--version"],
    }
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": version(["git", "rev-parse", "--short", "HEAD"]),
        "machine": described(),
        "versions": {name: version(words) for name, words in programs.items()},
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "body_bytes": BODY_BYTES,
        "rows": rows,
        "idle_websocket_bytes": {"open": chosen.sockets, "open_tls": TLS_SOCKETS, **idle},
    }


def main() -> None:
    """Measure; with ``--write``, keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of each sample")
    parser.add_argument("--sockets", type=int, default=5000, help="idle WebSockets")
    parser.add_argument("--only", nargs="*", default=[], help="names of targets")
    parser.add_argument("--rows", default="", help="only rows whose name holds this; not with --write")
    parser.add_argument("--write", action="store_true", help="keep the results in bench/results, and the page of them")
    chosen = parser.parse_args()
    if chosen.write and (chosen.rows or chosen.only):
        parser.error("--write keeps whole runs only: leave out --rows and --only")
    found = run(chosen)
    if chosen.write:
        (RESULTS / "proxy.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        (RESULTS / "proxy.svg").write_text(plot(found), encoding="utf-8")
        profile = json.loads((RESULTS / "profile.json").read_text(encoding="utf-8"))
        PAGE.write_text(page(found, profile), encoding="utf-8")


if __name__ == "__main__":
    main()
