"""One measurement: some seconds of load on one target, and what the machine did meanwhile."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.proxy.targets import BODY_BYTES, SESSIONS, TICKS, Target, cpu_s

ATTENDEE_CONNECTIONS = 1000
"""Connections of one attendee, who may not have them all: more are another's, and asked for by another thread."""
SAVED_BYTES = 2048
"""Of a small body, as Jupyter sends one to start a kernel or to save a notebook."""
LUA = """
local headers = {{
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    .. "Chrome/156.0.0.0 Safari/537.36",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd", ["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8",
  ["Connection"] = "{kind}" == "close" and "close" or "keep-alive", ["Origin"] = "{origin}",
  ["Cookie"] = "_xsrf=2|5a0b6e6c|b2d9c4a6c6a8d1c0a4f4c0b2f5e1a7d3|1762550000; mux_session=",
  ["Referer"] = "{origin}/camp/intro/lab/tree/intro.ipynb",
  ["Sec-Fetch-Dest"] = "empty", ["Sec-Fetch-Mode"] = "cors", ["Sec-Fetch-Site"] = "same-origin",
}}
local kind, path, count, heads = "{kind}", "{path}", 0, {{}}
local threads, sessions = 0, {{"{sessions}"}}
setup = function(thread)
  threads = threads + 1
  thread:set("session", sessions[threads])
end
init = function(args)
  headers["Cookie"] = headers["Cookie"] .. session
  local method = ({{ upload = "POST", post = "POST", put = "PUT" }})[kind] or "GET"
  local size = ({{ upload = {body}, post = {saved}, put = {saved} }})[kind]
  local body = size and string.rep("x", size) or nil
  for i = 1, 8 do
    headers["X-Turn"] = tostring(i)
    heads[i] = wrk.format(method, path, headers, body)
  end
end
request = function()
  count = count + 1
  if kind == "new" then
    headers["X-Turn"] = string.format("%d-%d", count, math.random(1000000000))
    return wrk.format("GET", path, headers)
  end
  return heads[kind == "eight" and count % 8 + 1 or 1]
end
"""


@dataclass(frozen=True)
class Sample:
    """What one measurement gave.

    Args:
        rate: requests or messages a second.
        cpu_us: processor time of the target for each, in microseconds.
        p50_ms: half were faster; 0 where that was not measured.
        p99_ms: 99 of 100 were faster.
        foreign: share of the machine that went to neither target, upstream nor load.
        errors: answers that were not 2xx, and broken connections.
    """

    rate: float
    cpu_us: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    foreign: float = 0.0
    errors: int = 0


class Spent:
    """Processor time from now on, of a target and of everybody.

    Args:
        target: whose.
        load_pid: what asks it, if it runs already; what has started and ended meanwhile is counted without it.
    """

    def __init__(self, target: Target, load_pid: int | None = None) -> None:
        self._target = target
        self._load = [] if load_pid is None else [load_pid]
        self._began = time.monotonic(), *self._now()
        self.target_s = 0.0
        self._foreign = 0.0

    def stop(self) -> None:
        """No more of it counts."""
        began, *before = self._began
        took = time.monotonic() - began
        self.target_s, ours, busy = (now - then for now, then in zip(self._now(), before, strict=True))
        self._foreign = max(0.0, (busy - self.target_s - ours) / ((os.cpu_count() or 1) * took))

    def foreign(self) -> float:
        """Share of the machine that went to neither the target nor what is behind it nor the load."""
        return self._foreign

    def _now(self) -> tuple[float, float, float]:
        ours = self._target.behind_s() + _children_s() + cpu_s(self._load)
        return self._target.cpu_s(), ours, machine_busy_s()


def machine_busy_s() -> float:
    """Processor time that this machine has used, all processes, in seconds."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return (sum(map(int, fields)) - int(fields[3]) - int(fields[4])) / TICKS


def http(
    target: Target, directory: Path, core: int, *, kind: str, path: str, connections: int, seconds: float
) -> Sample:
    """Load by wrk. Uploads go where WebSockets do.

    Args:
        target: what is measured.
        directory: for the script.
        core: of the load.
        kind: ``one`` head again and again, ``eight`` in turn, ``new`` each time, ``upload`` of a large body, ``post``
            or ``put`` of a small one, or ``close``: a connection for each request.
        path: of the request.
        connections: open at once.
        seconds: of load; wrk counts whole ones, at least one.
    """
    threads = -(-connections // ATTENDEE_CONNECTIONS)
    script = directory / "load.lua"
    origin = target.origin
    address = target.echo if kind == "upload" else origin + path
    path = urlsplit(address).path
    sizes = {"body": BODY_BYTES, "saved": SAVED_BYTES}
    script.write_text(LUA.format(origin=origin, sessions='", "'.join(SESSIONS), kind=kind, path=path, **sizes))
    words = ["taskset", "-c", str(core), "wrk", f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    words += ["--latency", "--timeout", "60s"]
    spent = Spent(target)
    done = subprocess.run([*words, "-s", str(script), address], capture_output=True, text=True, check=True)
    spent.stop()
    text = done.stdout
    number = int(_found(r"(\d+) requests in", text))
    took = _ms(_found(r"requests in ([\d.]+\w+)", text)) / 1000
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    return Sample(
        rate=number / took,
        cpu_us=spent.target_s / max(number, 1) * 1e6,
        p50_ms=_ms(_found(r"50%\s+([\d.]+\w+)", text)),
        p99_ms=_ms(_found(r"99%\s+([\d.]+\w+)", text)),
        foreign=spent.foreign(),
        errors=(int(errors[1]) if errors else 0) + (sum(map(int, broken.groups())) if broken else 0),
    )


def messages(target: Target, core: int, connections: int, size: int, seconds: float) -> Sample:
    """WebSocket messages to and fro."""
    process = _sockets(target, core, connections, size, seconds)
    assert process.stdout is not None
    process.stdout.readline()
    spent = Spent(target, process.pid)
    found = json.loads(process.stdout.readline())
    spent.stop()
    process.wait()
    return Sample(
        rate=found["messages"] / found["seconds"],
        cpu_us=spent.target_s / max(found["messages"], 1) * 1e6,
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        foreign=spent.foreign(),
    )


def idle_bytes(target: Target, core: int, connections: int) -> float:
    """Memory of the target for each WebSocket that is open and silent."""
    before = target.memory_bytes()
    process = _sockets(target, core, connections, 128, 0)
    assert process.stdout is not None and process.stdin is not None
    if not process.stdout.readline():
        raise SystemExit(f"{target.name}: {connections} WebSockets could not be opened")
    held = target.memory_bytes() - before
    process.stdin.close()
    process.wait()
    return held / connections


def _sockets(target: Target, core: int, connections: int, size: int, seconds: float) -> subprocess.Popen[bytes]:
    words = ["taskset", "-c", str(core), sys.executable, "-m", "bench.proxy.sockets", "load"]
    words += [
        target.echo,
        ",".join(SESSIONS),
        str(connections),
        str(size),
        str(seconds),
        *(["reframed"] if target.reframes else []),
    ]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said:\n{text}")
    return match[1]


def _ms(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if match is None:
        raise SystemExit(f"wrk said {text!r} of a time")
    return float(match[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[match[2]]
