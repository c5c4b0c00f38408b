"""``python -m bench.proxy.profile``: where the time of a request goes, in mux, nginx and configurable-http-proxy.

Linux's ``perf`` looks at the one process 2,000 times a second while wrk asks. What the kernel does for a system call
counts for that call, so that what they spend on the same bytes can be told from what they spend themselves. Who waits
longest is looked at beside it, and what a new connection costs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import described
from bench.proxy import load, waits
from bench.proxy.__main__ import RESULTS, render, version
from bench.proxy.rows import ROWS, SMALL
from bench.proxy.targets import CHP, Target, stage

LOOKED_AT = tuple(f"GET {size}, c={count}" for size in ("200 B", "2 KB") for count in (64, 512, 2000))
WAITS = tuple(f"GET {size}, c={count}" for size in ("200 B", "2 KB") for count in (512, 2000))
CALLS = {"write": r"ksys_write|__sys_sendto|__sys_sendmsg|do_writev", "read": r"ksys_read|__sys_recvfrom|do_readv"}
CALLS["epoll"] = r"do_epoll_wait|do_epoll_ctl|__do_sys_epoll_ctl"
SECONDS = 4


def shares(data: Path) -> dict[str, float]:
    """Percent of the samples, by system call and by library.

    Args:
        data: what ``perf record`` wrote.
    """
    words = ["perf", "report", "-i", str(data), "-g", "none", "--stdio"]
    found: dict[str, float] = {}
    symbols = subprocess.run([*words, "--children", "--sort", "sym"], capture_output=True, text=True, check=True).stdout
    for percent, symbol in re.findall(r"^\s+([\d.]+)%\s+[\d.]+%\s+\[k\] (\S+)", symbols, re.MULTILINE):
        for name, pattern in CALLS.items():
            if re.fullmatch(pattern, symbol):
                found[f"kernel, {name}"] = round(found.get(f"kernel, {name}", 0.0) + float(percent), 1)
    objects = subprocess.run([*words, "--no-children", "--sort", "dso"], capture_output=True, text=True, check=True)
    for percent, name in re.findall(r"^\s+([\d.]+)%\s+(\S+)", objects.stdout, re.MULTILINE):
        if name == "[kernel.kallsyms]":
            found["kernel, all"] = round(float(percent), 1)
        elif float(percent) >= 1.0:
            plain = "uvloop" if name.startswith("loop.cpython") else re.sub(r"(-|\.so|3\.\d).*", "", name)
            found[plain] = round(found.get(plain, 0.0) + float(percent), 1)
    return found


def look(target: Target, row: str, directory: Path, core: int) -> dict[str, object]:
    """One row of one target."""
    kind, path, connections = ROWS[row]
    pids = ",".join(map(str, target.pids()))
    data = directory / "perf.data"
    words = ["perf", "record", "-o", str(data), "-g", "-F", "2000", "-p", pids, "--", "sleep", str(SECONDS - 1)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        taken = load.http(target, directory, core, kind=kind, path=path, connections=connections, seconds=SECONDS)
    return {"rate": round(taken.rate), "cpu_us": round(taken.cpu_us, 1), "percent": shares(data)}


def main() -> None:
    """Look; with ``--write``, keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy.profile", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep it in bench/results, and its page")
    parser.add_argument("--json", type=Path, help="write it to this file")
    chosen = parser.parse_args()
    rows: dict[str, dict[str, object]] = {}
    waiting: dict[str, dict[str, object]] = {}
    connection_us: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), 0, 1) as made:
        for target in list(made.targets({"mux", "nginx", CHP})):
            if target.process is None:
                continue
            for row in WAITS:
                _, path, count = ROWS[row]
                waiting.setdefault(row, {})[target.name] = waits.look(target, path, made.load_core, count, SECONDS)
            for row in LOOKED_AT:
                found = rows.setdefault(row, {})[target.name] = look(target, row, Path(folder), made.load_core)
                print(f"{row:20} {target.name:6}", found, flush=True)
            closing = {"kind": "close", "path": SMALL, "connections": 64, "seconds": SECONDS}
            taken = load.http(target, Path(folder), made.load_core, **closing)
            connection_us[target.name] = round(taken.cpu_us, 1)
            print(f"a connection with one request, {target.name}: {taken.cpu_us:.1f} us", flush=True)
    whole = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": version(["git", "rev-parse", "--short", "HEAD"]),
        "machine": described(),
        "rows": rows,
        "waits": waiting,
        "connection_us": connection_us,
    }
    text = json.dumps(whole, indent=2) + "\n"
    if chosen.json:
        chosen.json.write_text(text, encoding="utf-8")
    if chosen.write:
        (RESULTS / "profile.json").write_text(text, encoding="utf-8")
        render()


if __name__ == "__main__":
    main()
