"""``make bench-proxy``: the data plane beside other proxies, in one run, on this machine.

Every row is measured for every target in turn, several rounds, and the median counts, so that what else the machine
does meets all of them. Targets have one core, load and upstream the other. mux has everything on that an event has:
sessions, shares, counters. nginx, HAProxy and Caddy come from Debian's packages, configurable-http-proxy from npm;
what is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import described
from bench.proxy.load import Sample, idle_bytes
from bench.proxy.page import PAGE, page
from bench.proxy.plot import P99, SPENT, plot
from bench.proxy.rows import FOREIGN_MAX, measure, wanted
from bench.proxy.targets import BODY_BYTES, CHP, HTTP_PROXY, Target, stage

RESULTS = Path(__file__).parents[1] / "results"
IDLE = "memory of an idle WebSocket"
PROGRAMS = {
    "nginx": ["nginx", "-v"],
    "HAProxy": ["haproxy", "-v"],
    "Caddy": ["caddy", "version"],
    CHP: [str(HTTP_PROXY / CHP), "--version"],
    "wrk": ["wrk", "-v"],
}


def version(words: list[str]) -> str:
    """First line of what a program says of itself."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip().split("\n", 1)[0]


def versions() -> dict[str, str]:
    """What runs, by name, as each says it of itself."""
    libraries = {name: importlib.metadata.version(name) for name in ("aiohttp", "uvloop")}
    return {**{name: version(words) for name, words in PROGRAMS.items()}, **libraries, "Linux": platform.release()}


def idle(target: Target, core: int, sockets: int) -> float:
    """Memory of an idle WebSocket, in bytes."""
    held = round(idle_bytes(target, core, sockets))
    print(f"memory of an idle WebSocket {target.name:24} {held:10.0f} B", flush=True)
    return held


def run(chosen: argparse.Namespace) -> dict[str, object]:
    """All rows for all targets."""
    samples: dict[str, dict[str, list[Sample]]] = {}
    held: dict[str, float] = {}
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        stage(Path(folder), 0, (os.cpu_count() or 2) - 1) as made,
    ):
        targets = list(made.targets(set(chosen.only)))
        if chosen.rows in IDLE:
            for target in targets:
                if target.process is not None:
                    held[target.name] = idle(target, made.load_core, chosen.sockets)
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
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": version(["git", "rev-parse", "--short", "HEAD"]),
        "machine": described(),
        "versions": versions(),
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "took_s": round(time.monotonic() - began),
        "foreign_max": FOREIGN_MAX,
        "body_bytes": BODY_BYTES,
        "rows": {row: {name: together(taken) for name, taken in found.items()} for row, found in samples.items()},
        "idle_websocket_bytes": {"open": chosen.sockets, "open_tls": chosen.sockets, **held},
    }


def together(taken: list[Sample]) -> dict[str, float]:
    """Medians of the samples of one target in one row; of foreign work the most, of errors all."""
    return {
        "rate": round(statistics.median(sample.rate for sample in taken), 1),
        "cpu_us": round(statistics.median(sample.cpu_us for sample in taken), 2),
        "p50_ms": round(statistics.median(sample.p50_ms for sample in taken), 3),
        "p99_ms": round(statistics.median(sample.p99_ms for sample in taken), 3),
        "foreign": round(max(sample.foreign for sample in taken), 3),
        "errors": sum(sample.errors for sample in taken),
        "samples": len(taken),
    }


def rendered(found: dict[str, Any], profile: dict[str, Any]) -> dict[Path, str]:
    """Every file that follows from the results alone.

    Args:
        found: what this measured.
        profile: what ``python -m bench.proxy.profile`` saw.
    """
    return {
        RESULTS / "proxy.svg": plot(found, SPENT),
        RESULTS / "proxy-p99.svg": plot(found, P99),
        PAGE: page(found, profile),
    }


def render() -> None:
    """Write the page and the pictures anew from the results that are kept."""
    found, profile = (json.loads((RESULTS / name).read_text("utf-8")) for name in ("proxy.json", "profile.json"))
    for path, text in rendered(found, profile).items():
        path.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure; with ``--write``, keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of each sample; GETs take whole seconds")
    parser.add_argument("--sockets", type=int, default=5000, help="idle WebSockets")
    parser.add_argument("--only", nargs="*", default=[], help="names of targets")
    parser.add_argument("--rows", default="", help="only rows whose name holds this; not with --write")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--write", action="store_true", help="keep the results in bench/results, and the page of them")
    parser.add_argument("--render", action="store_true", help="only write page and pictures of the kept results anew")
    chosen = parser.parse_args()
    if chosen.write and (chosen.rows or chosen.only):
        parser.error("--write keeps whole runs only: leave out --rows and --only")
    if chosen.render:
        render()
        return
    text = json.dumps(run(chosen), indent=2) + "\n"
    if chosen.json:
        chosen.json.write_text(text, encoding="utf-8")
    if chosen.write:
        (RESULTS / "proxy.json").write_text(text, encoding="utf-8")
        render()


if __name__ == "__main__":
    main()
