"""The way to a registry: it counts what passes, holds answers in the middle and pulls at their start, can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from tests.e2e.harness import free_ports

CHUNK_BYTES = 16 << 10
ENGINE = b"\r\nUser-Agent: docker/"
"""A line in each request of an engine, and in none of the mux's."""


class Gate:
    """Forwards connections from a port of this machine to a registry.

    Args:
        target: the registry's port.
    """

    def __init__(self, target: int) -> None:
        (self.port,) = free_ports(1)
        self.bytes = 0
        """That the registry sent and that got through."""
        self.reached = asyncio.Event()
        """Something is being held."""
        self._target = target
        self._room: int | None = None
        self._holds_pulls = False
        self._goes_on = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def host(self) -> str:
        """As image references write it."""
        return f"127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Let connections through, and what is held go on."""
        self._hold_nothing()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def hold_after(self, bytes_more: int) -> None:
        """Let so many bytes of answers through, and hold what follows."""
        self._will_hold()
        self._room = bytes_more

    def hold_pulls(self) -> None:
        """Hold the requests of engines before they come to the registry; the mux's get through."""
        self._will_hold()
        self._holds_pulls = True

    async def cut(self) -> None:
        """As if the registry had died: whatever is under way is reset, and new connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        self._hold_nothing()

    def _will_hold(self) -> None:
        self.reached.clear()
        self._goes_on.clear()

    def _hold_nothing(self) -> None:
        self._room, self._holds_pulls = None, False
        self._goes_on.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, up_writer}
            try:
                await asyncio.gather(_pump(reader, up_writer, self._asks), _pump(up_reader, writer, self._answers))
            finally:
                self._writers -= {writer, up_writer}
                up_writer.transport.abort()
        writer.transport.abort()

    async def _asks(self, data: bytes) -> None:
        if self._holds_pulls and ENGINE in data:
            await self._hold()

    async def _answers(self, data: bytes) -> None:
        if self._room is not None:
            self._room -= len(data)
            if self._room < 0:
                await self._hold()
        self.bytes += len(data)

    async def _hold(self) -> None:
        self.reached.set()
        await self._goes_on.wait()


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, may_pass: Callable[[bytes], Awaitable[None]]
) -> None:
    while data := await source.read(CHUNK_BYTES):
        await may_pass(data)
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
