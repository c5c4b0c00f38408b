"""``make bench``: the data plane against the same upstream without it, on this machine.

Client, proxy and upstream share the machine's cores, so the numbers compare two runs here and say nothing about
another machine. Each figure is the best of three, since everything else that runs only ever makes it worse.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvloop

CONNECTIONS = 32
REQUESTS = 20_000
BODY_BYTES = 64 << 20
TRIES = 3
RUN_S_MAX = 300.0
"""Bound of one run, far above what any machine needs."""
HEAD_BYTES = 741
"""Of a browser's request head for a small file of JupyterLab."""
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, camp!\n"


class Upstream(asyncio.Protocol):
    """Answers ``/`` with a few bytes and ``/large`` with many; knows just enough of HTTP for that."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head, self.received = self.received[:end], self.received[end + 4 :]
            if head.startswith(b"GET /large "):
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BODY_BYTES)
                self.transport.write(bytes(BODY_BYTES))
            else:
                self.transport.write(SMALL)


class Client(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, request: bytes, answer_bytes: int, requests: int) -> None:
        self.request = request
        self.answer_bytes = answer_bytes
        self.left = requests
        self.missing = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        if self.left == 0:
            self.transport.close()
            self.done.set_result(None)
            return
        self.left -= 1
        self.head = b""
        self.missing = -1
        self.sent_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.missing < 0:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            self.missing = self.answer_bytes - (len(self.head) - end - 4)
        else:
            self.missing -= len(data)
        if self.missing == 0:
            self.latencies_s.append(time.perf_counter() - self.sent_at)
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the other side closed the connection"))


def request(path: str, port: int) -> bytes:
    """A request head of a browser's size."""
    lines = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nCookie: padding="
    return (lines + "x" * (HEAD_BYTES - len(lines) - 4) + "\r\n\r\n").encode()


async def drive(port: int, path: str, answer_bytes: int, connections: int, requests: int) -> tuple[float, list[float]]:
    """Seconds for everything, and the latency of each request in seconds."""
    loop = asyncio.get_running_loop()
    head = request(path, port)
    started = time.perf_counter()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: Client(head, answer_bytes, requests // connections), "127.0.0.1", port
        )
        clients.append(client)
    async with asyncio.timeout(RUN_S_MAX):
        await asyncio.gather(*(client.done for client in clients))
    return time.perf_counter() - started, sorted(latency for client in clients for latency in client.latencies_s)


def measure(port: int) -> dict[str, float]:
    """The figures of one address: the best of several tries."""
    tries = []
    for _ in range(TRIES):
        small_s, latencies_s = uvloop.run(drive(port, "/", 13, CONNECTIONS, REQUESTS))
        large_s, _ = uvloop.run(drive(port, "/large", BODY_BYTES, 1, 4))
        tries.append((small_s, latencies_s, large_s))
    small_s, latencies_s, _ = min(tries, key=lambda one: one[0])
    return {
        "requests_per_s": round(REQUESTS / small_s),
        "p50_ms": round(1000 * latencies_s[len(latencies_s) // 2], 2),
        "p99_ms": round(1000 * latencies_s[len(latencies_s) * 99 // 100], 2),
        "body_mib_per_s": round(4 * (BODY_BYTES >> 20) / min(one[2] for one in tries)),
    }


def serve_upstream(listener: socket.socket) -> None:
    """Runs in a process of its own."""

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Upstream, sock=listener)
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(forever())


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """An upstream in a process of its own; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(target=serve_upstream, args=[listener])
    process.start()
    try:
        yield listener.getsockname()[1]
    finally:
        process.terminate()
        process.join()


@contextlib.contextmanager
def proxy(upstream_port: int) -> Iterator[int]:
    """A proxy process in static mode before the upstream; its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "static.json"
        routes = [{"prefix": "/", "upstream": f"127.0.0.1:{upstream_port}"}]
        file.write_text(json.dumps({"sessions": False, "routes": routes}))
        command = [sys.executable, "-m", "mux.proxy", "--static", str(file), "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the data plane on this machine.")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    options = parser.parse_args()
    with upstream() as upstream_port, proxy(upstream_port) as proxy_port:
        figures = {"direct": measure(upstream_port), "through the proxy": measure(proxy_port)}
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{CONNECTIONS} connections, heads of {HEAD_BYTES} bytes, bodies of {BODY_BYTES >> 20} MiB")
    for name, found in figures.items():
        print(f"{name:<18}" + "  ".join(f"{figure} {value:>8}" for figure, value in found.items()))


if __name__ == "__main__":
    main()
