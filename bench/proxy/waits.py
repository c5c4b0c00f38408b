"""``python -m bench.proxy.waits``: who waits longest for a proxy, of thousands that ask at once.

What 99 of 100 stay below says how long the slowest wait, and not who they are. Here each connection's first answer,
for which a proxy takes a connection and makes one to the upstream, is told from the later ones, for which it has both;
and of the later ones, those in the first half second, while others are still being taken, from those after it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.proxy.targets import SESSIONS, Target

SETTLED_S = 0.5
"""After which a proxy has had the time to take all that came at the start."""
LENGTH = b"content-length: "
Waits = dict[str, list[float]]


class Asker(asyncio.Protocol):
    """A browser that asks again when it is answered."""

    def __init__(self, request: bytes, began: float, found: Waits) -> None:
        self.request, self.began, self.found = request, began, found
        self.length = self.missing = 0
        self.first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.ask()

    def ask(self) -> None:
        self.missing = self.length
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self.length:  # heads of one proxy are alike: the first tells how long each answer is
            head, _, _ = data.partition(b"\r\n\r\n")
            size = head.lower().partition(LENGTH)[2].split(b"\r\n", 1)[0]
            self.length = self.missing = len(head) + 4 + int(size)
        self.missing -= len(data)
        if self.missing > 0:
            return
        now = time.perf_counter()
        kind = "first" if self.first else "early" if now - self.began < SETTLED_S else "later"
        self.found[kind].append(now - self.sent)
        self.first = False
        self.ask()


async def ask(address: str, cookies: list[str], connections: int, seconds: float) -> Waits:
    """Ask for some seconds: how long each answer took, in seconds, by whose it was."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(address)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nCookie: mux_session="
    requests = [f"{request}{cookie}\r\n\r\n".encode() for cookie in cookies]
    found: Waits = {"first": [], "early": [], "later": []}
    began = time.perf_counter()
    opening = [
        loop.create_connection(lambda request=request: Asker(request, began, found), parts.hostname, parts.port)
        for request in itertools.islice(itertools.cycle(requests), connections)
    ]
    opened = await asyncio.gather(*opening)
    await asyncio.sleep(max(0.0, began + seconds - time.perf_counter()))
    for transport, _ in opened:
        transport.abort()
    return found


def summary(found: Waits) -> dict[str, dict[str, float]]:
    """Of all and of each kind: how many, and what half, 99 of 100 and all stayed below, in milliseconds; and the share
    of each kind among the slowest hundredth of all."""
    every = sorted((wait, kind) for kind, waits in found.items() for wait in waits)
    slowest = [kind for _, kind in every[len(every) * 99 // 100 :]]
    kinds = {"all": [wait for wait, _ in every], **found}
    return {
        kind: {
            "count": len(waits),
            "p50_ms": round(_at(waits, 0.5) * 1e3, 1),
            "p99_ms": round(_at(waits, 0.99) * 1e3, 1),
            "max_ms": round(_at(waits, 1.0) * 1e3, 1),
            "of_slowest": 1.0 if kind == "all" else round(slowest.count(kind) / max(1, len(slowest)), 3),
        }
        for kind, waits in kinds.items()
    }


def _at(waits: list[float], share: float) -> float:
    ordered = sorted(waits) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def look(target: Target, path: str, core: int, connections: int, seconds: float) -> dict[str, dict[str, float]]:
    """The same of a target, from a process on a core."""
    words = [
        "taskset",
        "-c",
        str(core),
        sys.executable,
        "-m",
        "bench.proxy.waits",
        target.origin + path,
        ",".join(SESSIONS),
    ]
    words += [str(connections), str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return cast(dict[str, dict[str, float]], json.loads(done.stdout))


def main() -> None:
    """ADDRESS COOKIE,… CONNECTIONS SECONDS; prints JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.proxy.waits", description=__doc__)
    parser.add_argument("address")
    parser.add_argument("cookies")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    chosen = parser.parse_args()
    found = uvloop.run(ask(chosen.address, chosen.cookies.split(","), chosen.connections, chosen.seconds))
    print(json.dumps(summary(found)))


if __name__ == "__main__":
    main()
