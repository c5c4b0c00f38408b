"""A supervisor with real sockets and proxies, and a control process that does nothing but feed them and answer.

``python -m tests.supervisor.small_mux DATA PORT``. Its next version cannot start while DATA has a file ``broken``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import mux.supervisor as subject
from mux.child import Child
from mux.core.feed import FeedSettings
from mux.publisher import Publisher

ROOT = Path(__file__).parents[2]


class SmallSupervisor(subject.Supervisor):
    """The real one, but for its control process."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        fds = [self._sockets[name].fileno() for name in ("feed.sock", "web.sock")]
        port = self._sockets["public"].getsockname()[1]
        words = [sys.executable, "-m", "tests.supervisor.small_mux", "control", *map(str, [*fds, port])]
        self.control = Child("the control process", words, fds, 10.0)


async def control(feed: int, web: int, port: int) -> None:
    """Feed whoever dials, and answer each request with this process's id; end in order."""
    answering: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(writer)
        body = str(os.getpid()).encode()
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        answering.discard(writer)

    publisher = Publisher(lambda _: "", FeedSettings(f"http://127.0.0.1:{port}", "mux_session", "small"))
    await publisher.serve(socket.socket(fileno=feed))
    server = await asyncio.start_unix_server(answer, sock=socket.socket(fileno=web))
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    server.close()
    while answering:
        await asyncio.sleep(0.05)
    await publisher.close()


async def supervise(data: Path, port: int) -> int:
    """As `mux serve` does it."""

    async def prepare(*_: object, **__: object) -> subject.Settings:
        if (data / "broken").exists():
            raise subject.SupervisorError("broken")
        anywhere = ("127.0.0.1", 0)
        return subject.Settings(("127.0.0.1", port), anywhere, anywhere, data, 2)

    subject.prepare = prepare
    subject.Supervisor = SmallSupervisor  # type: ignore[misc]
    return await subject.supervise(data / "event.toml", park_on_exit=False)


if __name__ == "__main__":
    if sys.argv[1] == "control":
        asyncio.run(control(*map(int, sys.argv[2:])))
    else:
        sys.exit(asyncio.run(supervise(Path(sys.argv[1]), int(sys.argv[2]))))
