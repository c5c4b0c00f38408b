"""``python -m bench.proxy.crowd``: what thousands of open WebSockets and hundreds of slow clients cost the others.

A fed proxy process, one workspace process for all routes, and a crowd in a process of its own: WebSockets that say a
word now and then, and clients that take, or send, a large body a few bytes at a time, each at a time of its own. The
others ask for something small at a steady rate from here; how long they wait is measured without the crowd, with the
same crowd at the workspace itself (what the machine it runs on costs them), with it at the proxy, and without it again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import cast

import uvloop

from bench.feed.__main__ import PROJECT, SETTINGS, entry, place, proxy, proxy_cpu_s
from bench.machine import commit
from bench.proxy.sockets import KEY, SWITCH, masked_frame
from mux.core.commands import Publish
from mux.core.model import SessionHash, UserId
from mux.publisher import Publisher

RESULTS = Path(__file__).parents[1] / "results"
USERS = 60
"""The crowd belongs to the first ten, the others are the rest: no attendee may hold more than a share."""
CROWD_USERS = 10
EVERY_S = 0.1
"""Between two requests of one of the others."""
WORD_EVERY_S = 20.0
"""Between two messages of a WebSocket."""
SIP_EVERY_S = 0.1
"""Between two sips of a slow client."""
STEP_S = 0.001
"""What is due within it is done at once: people do not act in step."""
SETTLE_S = 5.0
"""After the crowd has come, until the kernel's buffers are full of what nobody takes."""
LARGE = 256 << 20
OPEN_S_MAX = 300.0
BATCH = 50


def head(line: str, number: int, *fields: str) -> bytes:
    """A request of one attendee."""
    lines = [f"{line} HTTP/1.1", "Host: camp.test:8000", f"Cookie: mux_session=token-{number}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Workspace(asyncio.Protocol):
    """Echoes after a handshake, answers ``/large`` with a large body, reads an upload, and else says two bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.kept = b""
        self.left = 0

    def data_received(self, data: bytes) -> None:
        self.kept += data
        if b"\r\n\r\n" not in self.kept:
            return
        asked, self.kept = self.kept, b""
        if b"Upgrade:" in asked:
            self.transport.write(SWITCH)
            self.data_received = self.transport.write  # type: ignore[method-assign, assignment]
        elif asked.startswith(b"POST"):
            self.data_received = lambda _: None  # type: ignore[method-assign]
        elif b"/large" in asked:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            self.left = LARGE
            self.resume_writing()
        else:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        while self.left and not self.full:
            size = min(self.left, 1 << 16)
            self.left -= size
            self.transport.write(bytes(size))


class Talker(asyncio.Protocol):
    """A WebSocket that is open, and says a word now and then."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        fields += [f"Sec-WebSocket-Key: {KEY.decode()}", "Origin: http://camp.test:8000"]
        self.transport.write(head("GET /camp/intro/ws", self.number, *fields))

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            if data.startswith(b"HTTP/1.1 101"):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(ConnectionError(repr(data[:200])))

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed"))


def slow(port: int, number: int) -> socket.socket:
    """A client that takes a body as slowly as it can, or, every third one, sends one so."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    if number % 3:
        sock.sendall(head("GET /camp/intro/large", number % CROWD_USERS))
    else:
        sock.sendall(head("POST /camp/intro/upload", number % CROWD_USERS, f"Content-Length: {LARGE}"))
    sock.setblocking(False)
    return sock


async def crowd(port: int, sockets: int, slow_clients: int) -> None:
    """Open everything, say so, go on until standard input ends, and say what is still open."""
    loop = asyncio.get_running_loop()
    talkers: list[Talker] = []
    for first in range(0, sockets, BATCH):
        batch = [Talker(number % CROWD_USERS) for number in range(first, min(sockets, first + BATCH))]
        for talker in batch:
            await loop.create_connection(lambda talker=talker: talker, "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*(talker.opened for talker in batch))
        talkers += batch
    slow_ones = [slow(port, number) for number in range(slow_clients)]
    print(json.dumps({"open": len(talkers)}), flush=True)
    over = loop.run_in_executor(None, os.read, 0, 1)
    word, began, said, sipped = masked_frame(128), loop.time(), 0, 0
    while not over.done():
        since = loop.time() - began
        while said < since * len(talkers) / WORD_EVERY_S:
            talkers[said % len(talkers)].transport.write(word)
            said += 1
        while sipped < since * len(slow_ones) / SIP_EVERY_S:
            sip(slow_ones[sipped % len(slow_ones)], sipped % len(slow_ones))
            sipped += 1
        await asyncio.sleep(STEP_S)
    print(json.dumps({"open": sum(not talker.lost for talker in talkers)}), flush=True)


def sip(sock: socket.socket, number: int) -> None:
    """Take, or send, as little as a slow client does at once."""
    with contextlib.suppress(BlockingIOError):
        if number % 3:
            sock.recv(16)
        else:
            sock.send(b"x" * 16)


@contextlib.asynccontextmanager
async def crowded(port: int, sockets: int, slow_clients: int) -> AsyncIterator[dict[str, int]]:
    """The crowd at a port, settled; how many sockets were open first and last is told in what is given."""
    words = [sys.executable, "-m", "bench.proxy.crowd", "--crowd", str(port)]
    words += ["--sockets", str(sockets), "--slow", str(slow_clients)]
    came = await asyncio.create_subprocess_exec(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert came.stdin is not None and came.stdout is not None
    async with asyncio.timeout(OPEN_S_MAX):
        counted = {"first": json.loads(await came.stdout.readline())["open"]}
    await asyncio.sleep(SETTLE_S)
    yield counted
    came.stdin.close()
    counted["last"] = json.loads(await came.stdout.readline())["open"]
    await came.wait()


async def ask_for(port: int, number: int, until: float, took_ms: list[float]) -> None:
    """One of the others: something small, again and again on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = head("GET /camp/intro/small", number)
    await asyncio.sleep(EVERY_S * number / USERS)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(asked)
        answer = await reader.readuntil(b"\r\n\r\nok")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"an answer that nobody expects: {answer[:200]!r}")
        took_ms.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(max(0.0, EVERY_S - (time.perf_counter() - began)))
    writer.close()


async def others(port: int, pid: int, seconds: float) -> dict[str, float]:
    """How long the others wait."""
    took_ms: list[float] = []
    until, cpu_s = time.perf_counter() + seconds, proxy_cpu_s(pid)
    await asyncio.gather(*(ask_for(port, number, until, took_ms) for number in range(CROWD_USERS, USERS)))
    took_ms.sort()
    return {
        "requests": len(took_ms),
        "p50_ms": round(statistics.median(took_ms), 3),
        "p99_ms": round(took_ms[int(len(took_ms) * 0.99)], 3),
        "proxy_cpu": round((proxy_cpu_s(pid) - cpu_s) / seconds, 3),
    }


async def measure(sockets: int, slow_clients: int, seconds: float) -> dict[str, object]:
    """Alone, beside the crowd, in it, alone again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        upstream = int(free.getsockname()[1])
    behind = subprocess.Popen([sys.executable, "-m", "bench.proxy.crowd", "--serve", str(upstream)])
    publisher = Publisher(lambda _: "of-the-workspace", SETTINGS)
    users = [UserId(f"u{number}") for number in range(USERS)]
    places = {
        (user, PROJECT): type(found)(found.workspace, "127.0.0.1", upstream)
        for number, user in enumerate(users)
        for found in [place(number, 0)]
    }
    tokens = {SessionHash(sha256(b"token-%d" % number).hexdigest()): entry(number) for number in range(USERS)}
    publisher.publish(Publish(sessions=tokens, routes=places))
    with tempfile.TemporaryDirectory() as folder:
        async with proxy(Path(folder), publisher) as (port, pid):
            await until(lambda: publisher.proxies > 0)
            if not await publisher.settled(publisher.seq, OPEN_S_MAX):
                raise SystemExit("the proxy was not fed")
            await others(port, pid, 2.0)
            alone = await others(port, pid, seconds)
            async with crowded(upstream, sockets, slow_clients):
                beside = await others(port, pid, seconds)
            await asyncio.sleep(SETTLE_S)
            async with crowded(port, sockets, slow_clients) as counted:
                within = await others(port, pid, seconds)
            await asyncio.sleep(SETTLE_S)
            again = await others(port, pid, seconds)
    behind.kill()
    behind.wait()
    return {
        "sockets_open": counted["first"],
        "sockets_open_at_the_end": counted["last"],
        "slow_clients": slow_clients,
        "alone": alone,
        "crowd_at_the_workspace": beside,
        "in_the_crowd": within,
        "alone_again": again,
        "p99_ratio": round(within["p99_ms"] / ((alone["p99_ms"] + again["p99_ms"]) / 2), 2),
        "p99_ratio_of_the_machine": round(beside["p99_ms"] / ((alone["p99_ms"] + again["p99_ms"]) / 2), 2),
    }


async def until(fulfilled: Callable[[], bool]) -> None:
    """Look again and again."""
    async with asyncio.timeout(OPEN_S_MAX):
        while not fulfilled():
            await asyncio.sleep(0.01)


async def serve(port: int) -> None:
    """The workspace of everybody."""
    server = await asyncio.get_running_loop().create_server(Workspace, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Measure; with ``--write``, keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy.crowd", description=__doc__)
    parser.add_argument("--sockets", type=int, default=5_000)
    parser.add_argument("--slow", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each of the four measurements")
    parser.add_argument("--write", action="store_true", help="keep the results in bench/results")
    parser.add_argument("--serve", type=int, help="be the workspace, on this port")
    parser.add_argument("--crowd", type=int, help="be the crowd, at this port")
    chosen = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if chosen.serve:
        uvloop.run(serve(chosen.serve))
        return
    if chosen.crowd:
        uvloop.run(crowd(chosen.crowd, chosen.sockets, chosen.slow))
        return
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **uvloop.run(measure(chosen.sockets, chosen.slow, chosen.seconds)),
    }
    print(json.dumps(found, indent=2))
    if chosen.write:
        (RESULTS / "crowd.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
