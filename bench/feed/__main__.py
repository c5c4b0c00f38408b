"""``python -m bench.feed``: how soon a change is in force in a proxy, against the number of routes and sessions.

Both ends are the real ones: a `Publisher` in this process, and one proxy process. A proxy acknowledges a change when it
is in force and what it revokes is gone, so what is measured is longer than what attendees feel. Open client
connections are held meanwhile, since a change looks for those that it cuts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import platform
import random
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from bench.machine import commit
from mux.core.commands import Placement, Publish
from mux.core.feed import FeedSettings
from mux.core.model import ProjectName, SessionHash, UserId, WorkspaceId
from mux.core.routes import SessionEntry
from mux.publisher import Publisher

RESULTS = Path(__file__).parents[1] / "results"
SIZES = (100, 1_000, 10_000, 50_000)
CHANGES = 2_000
CONNECTIONS = 1_000
PROJECT = ProjectName("intro")
SETTLED_S_MAX = 60.0
SETTINGS = FeedSettings("http://camp.test:8000", "mux_session", "Bench Camp", (PROJECT,))


def session(number: int) -> SessionHash:
    """The login of one attendee."""
    return SessionHash(hashlib.sha256(b"%d" % number).hexdigest())


def user(number: int) -> UserId:
    """One attendee."""
    return UserId(f"u{number}")


def entry(number: int) -> SessionEntry:
    """A login that outlives the run."""
    return SessionEntry(user(number), time.time() + 86_400)


def place(number: int, turn: int) -> Placement:
    """A workspace of one attendee; another one with each turn."""
    return Placement(WorkspaceId(f"ws-{number}-{turn}"), "192.0.2.1", 20_000 + number % 10_000)


def whole(size: int) -> Publish:
    """Everything that an event of so many attendees has."""
    return Publish(
        sessions={session(number): entry(number) for number in range(size)},
        routes={(user(number), PROJECT): place(number, 0) for number in range(size)},
    )


def change(dice: random.Random, size: int, turn: int) -> Publish:
    """What happens all day: a login, a logout, a workspace that moves."""
    number = dice.randrange(size)
    kind = turn % 3
    if kind == 0:
        return Publish(sessions={session(size + turn): entry(number)})
    if kind == 1:
        return Publish(sessions={session(size + turn - 1): None})
    return Publish(routes={(user(number), PROJECT): place(number, turn)})


@contextlib.asynccontextmanager
async def proxy(directory: Path, publisher: Publisher) -> AsyncIterator[tuple[int, int]]:
    """A proxy process that is fed: the port of its listener, and its pid."""
    feed = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    feed.bind(str(directory / "feed"))
    feed.listen()
    await publisher.serve(feed)
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    words = [f"--listen-fd={listener.fileno()}", f"--feed={directory / 'feed'}", f"--web={directory / 'web'}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mux.proxy", *words, pass_fds=[listener.fileno()], stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield listener.getsockname()[1], process.pid
    finally:
        process.kill()
        await process.wait()
        await publisher.close()
        listener.close()


async def measure(size: int, changes: int, connections: int) -> dict[str, float]:
    """One size: the first table, then changes one after the other."""
    publisher = Publisher(lambda workspace: f"secret-of-{workspace}", SETTINGS)
    publisher.publish(whole(size))
    with tempfile.TemporaryDirectory() as folder:
        async with proxy(Path(folder), publisher) as (port, pid):
            while not publisher.proxies:
                await asyncio.sleep(0.0005)
            began = time.perf_counter()
            await settled(publisher, publisher.seq)
            snapshot_ms = (time.perf_counter() - began) * 1000
            clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
            dice, took, cpu_s = random.Random(size), [], proxy_cpu_s(pid)
            for turn in range(changes):
                what = change(dice, size, turn)
                began = time.perf_counter()
                await settled(publisher, publisher.publish(what))
                took.append((time.perf_counter() - began) * 1000)
            cpu_s = proxy_cpu_s(pid) - cpu_s
            for _, writer in clients:
                writer.transport.abort()
    took.sort()
    return {
        "snapshot_ms": round(snapshot_ms, 1),
        "change_p50_ms": round(statistics.median(took), 3),
        "change_p99_ms": round(took[int(len(took) * 0.99)], 3),
        "change_max_ms": round(took[-1], 3),
        "proxy_cpu_us": round(cpu_s / changes * 1e6),
    }


def proxy_cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def settled(publisher: Publisher, seq: int) -> None:
    """Until the proxy serves from a publication. Raises SystemExit if it does not."""
    if not await publisher.settled(seq, SETTLED_S_MAX):
        raise SystemExit(f"publication {seq} was not acknowledged within {SETTLED_S_MAX:g} s")


def main() -> None:
    """Measure; with ``--write``, keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.feed", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help="routes, and as many sessions")
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help="client connections that are open")
    parser.add_argument("--write", action="store_true", help="keep the results in bench/results")
    chosen = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = {}
    for size in chosen.sizes:
        rows[str(size)] = asyncio.run(measure(size, chosen.changes, chosen.connections))
        print(f"{size:7} {rows[str(size)]}", flush=True)
    if chosen.write:
        found = {
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(),
            "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "changes": chosen.changes,
            "connections": chosen.connections,
            "by_routes_and_sessions": rows,
        }
        (RESULTS / "feed.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
