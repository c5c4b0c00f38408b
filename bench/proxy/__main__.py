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
import platform
import statistics
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.proxy import load
from bench.proxy.plot import plot
from bench.proxy.targets import BODY_BYTES, Target, stage

RESULTS = Path(__file__).parents[1] / "results"
FOREIGN_MAX = 0.10
"""A sample in which others had more than this share of the machine is taken once more."""

ROWS = {
    "GET 200 B, c=1": ("one", "/camp/intro/small", 1),
    "GET 200 B, c=64": ("one", "/camp/intro/small", 64),
    "GET 200 B, c=512": ("one", "/camp/intro/small", 512),
    "GET 200 B, c=2000": ("one", "/camp/intro/small", 2000),
    "GET 2 KB, c=64": ("one", "/camp/intro/2k", 64),
    "GET 2 KB, c=512": ("one", "/camp/intro/2k", 512),
    "GET 2 KB chunked, c=64": ("one", "/camp/intro/chunked/2k", 64),
    "GET 200 B, eight heads, c=64": ("eight", "/camp/intro/small", 64),
    "GET 200 B, never-seen heads, c=64": ("new", "/camp/intro/small", 64),
    "64 MiB down, 1 stream": ("one", "/camp/intro/body/64m", 1),
    "64 MiB down, 8 streams": ("one", "/camp/intro/body/64m", 8),
    "64 MiB up, 1 stream": ("upload", "/camp/intro/small", 1),
}
SOCKETS = {
    "WebSocket 128 B, 1": (1, 128),
    "WebSocket 128 B, 200": (200, 128),
    "WebSocket 16 KB, 200": (200, 16384),
}
IDLE = "memory of an idle WebSocket"


def measure(target: Target, row: str, directory: Path, core: int, seconds: float) -> load.Sample:
    """One sample of one row; once more if others had too much of the machine."""
    if row in SOCKETS:
        connections, size = SOCKETS[row]
        return load.messages(target, core, connections, size, seconds)
    kind, path, connections = ROWS[row]
    sample = load.http(target, directory, core, kind=kind, path=path, connections=connections, seconds=seconds)
    if sample.foreign > FOREIGN_MAX:
        sample = load.http(target, directory, core, kind=kind, path=path, connections=connections, seconds=seconds)
    return sample


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
        targets = list(made.targets(set(chosen.only)))
        direct = Target("direct", made.upstream, None)
        for number in range(chosen.rounds):
            for row in [*ROWS, *SOCKETS]:
                for target in [direct, *targets]:
                    if row in SOCKETS and (target is direct or target.name == "aiohttp" or "http-proxy" in target.name):
                        continue
                    sample = measure(target, row, Path(folder), made.load_core, chosen.seconds)
                    samples.setdefault(row, {}).setdefault(target.name, []).append(sample)
                    print(
                        f"{number + 1} {row:36} {target.name:24} {sample.rate:10.1f}/s {sample.cpu_us:9.1f} us "
                        f"p99 {sample.p99_ms:.1f} ms foreign {sample.foreign:.0%} errors {sample.errors}",
                        flush=True,
                    )
        for target in targets:
            if target.name != "aiohttp" and "http-proxy" not in target.name:
                idle[target.name] = round(load.idle_bytes(target, made.load_core, chosen.sockets))
                print(f"{IDLE:38} {target.name:24} {idle[target.name]:10.0f} B", flush=True)
    rows = {
        row: {
            name: {
                "rate": round(statistics.median(sample.rate for sample in taken), 1),
                "cpu_us": round(statistics.median(sample.cpu_us for sample in taken), 2),
                "p50_ms": round(statistics.median(sample.p50_ms for sample in taken), 3),
                "p99_ms": round(statistics.median(sample.p99_ms for sample in taken), 3),
                "foreign": round(statistics.median(sample.foreign for sample in taken), 3),
                "errors": sum(sample.errors for sample in taken),
            }
            for name, taken in found.items()
        }
        for row, found in samples.items()
    }
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": version(["git", "rev-parse", "--short", "HEAD"]),
        "machine": f"{os.cpu_count()} cores, {cpu or platform.machine()}, Python {platform.python_version()}",
        "versions": {
            name: version(words)
            for name, words in {
                "nginx": ["nginx", "-v"],
                "haproxy": ["haproxy", "-v"],
                "caddy": ["caddy", "version"],
                "configurable-http-proxy": ["configurable-http-proxy", "--version"],
            }.items()
        },
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "body_bytes": BODY_BYTES,
        "rows": rows,
        "idle_websocket_bytes": {"open": chosen.sockets, **idle},
    }


def main() -> None:
    """Measure; with ``--write``, keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each sample")
    parser.add_argument("--sockets", type=int, default=5000, help="idle WebSockets")
    parser.add_argument("--only", nargs="*", default=[], help="names of targets")
    parser.add_argument("--write", action="store_true", help="keep the results in bench/results")
    chosen = parser.parse_args()
    found = run(chosen)
    if chosen.write:
        (RESULTS / "proxy.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        (RESULTS / "proxy.svg").write_text(plot(found), encoding="utf-8")


if __name__ == "__main__":
    main()
