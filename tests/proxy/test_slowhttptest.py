"""Slow attackers of slowhttptest, a program that others wrote: whoever else comes is answered all the while.

The proxy has few file descriptors, so that its bounds are reached in seconds. The attacker comes from one address,
with or without a login; the others from another one. nginx, with as many descriptors and in front of the same server,
is attacked beside it, to see what that does. `make test-long` writes ``slowhttptest.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.parts import require
from tests.proxy.rig import PATIENCE_S, Wire
from tests.proxy.test_process import dial

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/proxy-peers.md"
RESULTS = Path(__file__).parent / "slowhttptest.json"
DESCRIPTORS = 1024
CONNECTIONS = 1_000
SECONDS = 20
ANSWERS_MIN = 50
MALLORY, ALICE = "cookie-of-mallory", "cookie-of-alice"
SHAPE = ["-c", str(CONNECTIONS), "-r", "400", "-l", str(SECONDS), "-i", "3", "-p", "3"]
ATTACKS = {
    "slow headers, no login": ["-H", "-u", "/camp/intro/x"],
    "slow bodies": ["-B", "-u", "/camp/intro/x", "-j", f"mux_session={MALLORY}"],
    "ranges": ["-R", "-u", "/camp/intro/x", "-j", f"mux_session={MALLORY}"],
    "slow readers": ["-X", "-u", "/camp/intro/large", "-j", f"mux_session={MALLORY}", "-w", "512", "-y", "1024"],
}
WAYS = {"short": list[str](), "strict": ["--no-memo", "--no-splice"]}
NGINX = """user root; daemon off; pid {dir}/pid; error_log /dev/null; worker_rlimit_nofile {descriptors};
events {{ worker_connections {descriptors}; }}
http {{ access_log off; client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;
uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5;
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }} }}
"""
Fared = dict[str, Any]


@dataclass
class Others:
    """Somebody else, who opens a page again and again."""

    port: int
    took_ms: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    async def browse(self) -> None:
        """Until cancelled, each time on a connection of its own."""
        head = f"GET /camp/intro/x HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: mux_session={ALICE}\r\n\r\n"
        while True:
            began = time.perf_counter()
            try:
                wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=("127.0.0.2", 0)))
                self.answers[str((await wire.ask(head.encode())).status)] += 1
                wire.close()
            except (OSError, asyncio.IncompleteReadError) as error:
                self.answers[type(error).__name__] += 1
            self.took_ms.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.05)


def mux(directory: Path, port: int, behind: int, *flags: str) -> list[str]:
    """How a proxy process with two attendees is started."""
    address = f"127.0.0.1:{behind}"
    file = directory / "routes.json"
    users = {"mallory": MALLORY, "alice": ALICE}
    file.write_text(
        json.dumps(
            {
                "origin": f"http://127.0.0.1:{port}",
                "sessions": [{"token": token, "user": user} for user, token in users.items()],
                "routes": [{"user": user, "project": "intro", "upstream": address, "token": "t"} for user in users],
            }
        )
    )
    return [sys.executable, "-m", "mux.proxy", "--static", str(file), "--listen", f"127.0.0.1:{port}", *flags]


def nginx(directory: Path, port: int, behind: int) -> list[str]:
    """How nginx is started."""
    file = directory / "nginx.conf"
    file.write_text(NGINX.format(dir=directory, descriptors=DESCRIPTORS, port=port, behind=behind))
    return [require("nginx"), "-c", str(file)]


@contextlib.asynccontextmanager
async def served(proxy: Callable[[int, int], list[str]]) -> AsyncIterator[int]:
    """A proxy with few descriptors before a workspace; the port."""
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
        port, behind = int(free.getsockname()[1]), int(other.getsockname()[1])
    workspace = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.proxy.crowd", "--serve", str(behind), cwd=ROOT
    )
    (await dial(behind)).close()
    limit = [require("prlimit"), f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    process = await asyncio.create_subprocess_exec(*limit, *proxy(port, behind), stderr=asyncio.subprocess.DEVNULL)
    (await dial(port)).close()
    try:
        yield port
    finally:
        for running in (process, workspace):
            running.terminate()
            await running.wait()


def _seen_by_the_attacker(file: Path) -> dict[str, int]:
    with file.open(encoding="utf-8") as lines:
        rows = [{key.strip(): value for key, value in row.items() if key} for row in csv.DictReader(lines)]
    return {name.lower(): max(int(row[name]) for row in rows) for name in ("Connected", "Closed")} if rows else {}


async def attacked(program: str, directory: Path, proxy: Callable[[int, int], list[str]]) -> dict[str, Fared]:
    """Every attack on a process of its own: how the others fared."""
    table: dict[str, Fared] = {}
    for name, words in ATTACKS.items():
        async with served(proxy) as port:
            others = Others(port)
            browsing = asyncio.create_task(others.browse())
            url = [f"http://127.0.0.1:{port}{word}" if word.startswith("/") else word for word in words]
            attack = await asyncio.create_subprocess_exec(
                program, *url, *SHAPE, "-g", "-o", str(directory / "out"), stdout=asyncio.subprocess.DEVNULL
            )
            await asyncio.wait_for(attack.wait(), SECONDS + 4 * PATIENCE_S)
            while others.answers.total() < ANSWERS_MIN:  # where the attack ended at once
                await asyncio.sleep(0.05)
            browsing.cancel()
            await asyncio.gather(browsing, return_exceptions=True)
        assert attack.returncode == 0
        took = sorted(others.took_ms)
        table[name] = {
            "answered": others.answers["200"],
            "in_vain": others.answers.total() - others.answers["200"],
            "p50_ms": round(statistics.median(took), 1),
            "p99_ms": round(took[int(len(took) * 0.99)], 1),
            "attacker": _seen_by_the_attacker(directory / "out.csv"),
        }
    return table


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_whoever_else_comes_is_answered(tmp_path: Path) -> None:
    program = require("slowhttptest")
    shape = {"connections": CONNECTIONS, "seconds": SECONDS, "descriptors": DESCRIPTORS}
    tables = {}
    for way, flags in WAYS.items():
        tables[way] = await attacked(program, tmp_path, lambda *ports, flags=flags: mux(tmp_path, *ports, *flags))
        assert not any(fared["in_vain"] for fared in tables[way].values()), tables[way]
    tables["nginx"] = await attacked(program, tmp_path, lambda *ports: nginx(tmp_path, *ports))
    RESULTS.write_text(json.dumps(shape | {"attacks": tables}, indent=2) + "\n", encoding="utf-8")


def test_the_page_says_how_the_others_fared() -> None:
    tables = json.loads(RESULTS.read_text(encoding="utf-8"))["attacks"]
    page = PAGE.read_text(encoding="utf-8")
    for name in ATTACKS:
        cells = [tables[way][name] for way in (*WAYS, "nginx")]
        row = " | ".join(f"{cell['answered']}, {cell['in_vain']} in vain, {cell['p99_ms']} ms" for cell in cells)
        assert f"| {name} | {row} |" in page
