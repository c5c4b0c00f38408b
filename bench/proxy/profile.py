"""``python -m bench.proxy.profile``: where the processor time of a request goes, in mux and in nginx.

Linux's ``perf`` looks at the one process 2,000 times a second while wrk asks. What the kernel does for a system call
counts for that call, so that what the two spend on the same bytes can be told from what they spend themselves.
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
from bench.proxy import load
from bench.proxy.__main__ import RESULTS, ROWS, version
from bench.proxy.targets import Target, stage

LOOKED_AT = ("GET 200 B, c=64", "GET 2 KB, c=64", "GET 2 KB, c=2000")
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
    parser.add_argument("--write", action="store_true", help="keep it in bench/results/profile.json")
    chosen = parser.parse_args()
    rows: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), 0, 1) as made:
        for target in list(made.targets({"mux", "nginx"})):
            for row in LOOKED_AT:
                found = rows.setdefault(row, {})[target.name] = look(target, row, Path(folder), made.load_core)
                print(f"{row:20} {target.name:6}", found, flush=True)
    if chosen.write:
        whole = {
            "date": datetime.now(UTC).date().isoformat(),
            "commit": version(["git", "rev-parse", "--short", "HEAD"]),
            "machine": described(),
            "rows": rows,
        }
        (RESULTS / "profile.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
