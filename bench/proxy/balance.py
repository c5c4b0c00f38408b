"""``python -m bench.proxy.balance``: how connections spread over two workers, and what closing a socket loses.

Two real proxy processes, once on one listening socket that both have, once each with a socket of its own
(``SO_REUSEPORT``). Connections stay open; who has them is counted from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import tempfile
from pathlib import Path

from bench.feed.__main__ import SETTINGS, whole
from mux.publisher import Publisher

CONNECTIONS = 1_000


def listener(port: int, *, own: bool) -> socket.socket:
    """A listening socket of loopback; ``own``: others may have the same address."""
    sock = socket.socket()
    if own:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(4096)
    return sock


def sockets_of(pid: int) -> int:
    """Descriptors that a process has."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def spread(*, own: bool, at_once: int) -> list[int]:
    """Connections of each of two workers, when so many are opened at a time."""
    with tempfile.TemporaryDirectory() as folder:
        publisher = Publisher(lambda _: "", SETTINGS)
        publisher.publish(whole(10))
        feed = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        feed.bind(str(Path(folder) / "feed"))
        feed.listen()
        await publisher.serve(feed)
        first = listener(0, own=own)
        port = first.getsockname()[1]
        listeners = [first, listener(port, own=True) if own else first]
        workers = []
        for sock in listeners:
            words = [f"--listen-fd={sock.fileno()}", f"--feed={folder}/feed", f"--web={folder}/web"]
            workers.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "mux.proxy",
                    *words,
                    pass_fds=[sock.fileno()],
                    stderr=asyncio.subprocess.DEVNULL,
                )
            )
        while publisher.proxies < 2:
            await asyncio.sleep(0.05)
        await publisher.settled(publisher.seq, 30)
        await asyncio.sleep(0.5)
        before = [sockets_of(worker.pid) for worker in workers]
        open_now = []
        for _ in range(0, CONNECTIONS, at_once):
            open_now += await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(at_once)))
        while sum(sockets_of(worker.pid) for worker in workers) < sum(before) + CONNECTIONS:
            await asyncio.sleep(0.05)
        counts = [sockets_of(worker.pid) - start for worker, start in zip(workers, before, strict=True)]
        for _, writer in open_now:
            writer.transport.abort()
        for worker in workers:
            worker.kill()
            await worker.wait()
        await publisher.close()
    return counts


def lost_with_a_socket(*, own: bool) -> int:
    """Connections that wait to be accepted and are reset when one of two workers closes its listening socket."""
    first = listener(0, own=own)
    second = listener(first.getsockname()[1], own=True) if own else first.dup()
    clients = [socket.create_connection(first.getsockname()) for _ in range(CONNECTIONS)]
    first.close()
    lost = 0
    for client in clients:
        client.setblocking(False)
        try:
            client.recv(1)
        except BlockingIOError:
            continue
        except ConnectionResetError:
            pass
        lost += 1
    for client in clients:
        client.close()
    second.close()
    return lost


def main() -> None:
    """Measure, and print JSON."""
    argparse.ArgumentParser(prog="python -m bench.proxy.balance", description=__doc__).parse_args()
    found: dict[str, object] = {}
    for name, own in (("one socket", False), ("SO_REUSEPORT", True)):
        found[name] = {
            "one at a time": asyncio.run(spread(own=own, at_once=1)),
            "100 at a time": asyncio.run(spread(own=own, at_once=100)),
            "1000 at once": asyncio.run(spread(own=own, at_once=1000)),
            "reset by closing one": lost_with_a_socket(own=own),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
