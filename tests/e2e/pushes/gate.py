"""The way to a registry: it counts what passes, holds an answer in the middle, and can be cut."""

from __future__ import annotations

import asyncio
import contextlib

from tests.e2e.harness import free_ports

CHUNK_BYTES = 16 << 10


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
        """An answer is being held."""
        self._target = target
        self._room: int | None = None
        self._goes_on = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def host(self) -> str:
        """As image references write it."""
        return f"127.0.0.1:{self.port}"

    async def open(self) -> None:
        """Let connections through, and what is held go on."""
        self._room = None
        self._goes_on.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def hold_after(self, bytes_more: int) -> None:
        """Let so many bytes of answers through, and hold what follows."""
        self.reached.clear()
        self._goes_on.clear()
        self._room = bytes_more

    async def cut(self) -> None:
        """As if the registry had died: whatever is under way is reset, and new connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        self._room = None
        self._goes_on.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, up_writer}
            try:
                await asyncio.gather(
                    self._pump(reader, up_writer, counted=False), self._pump(up_reader, writer, counted=True)
                )
            finally:
                self._writers -= {writer, up_writer}
                up_writer.transport.abort()
        writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool) -> None:
        while data := await source.read(CHUNK_BYTES):
            if counted:
                await self._let_pass(len(data))
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    async def _let_pass(self, size: int) -> None:
        if self._room is not None:
            self._room -= size
            if self._room < 0:
                self.reached.set()
                await self._goes_on.wait()
        self.bytes += size
