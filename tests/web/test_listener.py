"""Bounds of a listener that hold before anybody has sent a request."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mux.web.listener import serve
from mux.web.organizer import organizer_app
from tests.web.page_parts import ADMIN, House

PATIENCE_S = 20.0
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Served:
    """An app on a port, and connections to it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.go_on = asyncio.Event()

    async def connect(self) -> Connection:
        return await asyncio.open_connection("127.0.0.1", self._port)


@asynccontextmanager
async def served(*, connections_max: int | None = None, keep_alive_s: float = 60.0) -> AsyncIterator[Served]:
    async def answer(_request: web.Request) -> web.Response:
        await built.go_on.wait()
        return web.Response(text="hello")

    app = web.Application()

    async def size(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app.router.add_get("/", answer)
    app.router.add_post("/", size)
    listening = socket.create_server(("127.0.0.1", 0))
    built = Served(listening.getsockname()[1])
    async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:
        await serve(app, listening, stack, shutdown_s=0.1, connections_max=connections_max, keep_alive_s=keep_alive_s)
        yield built


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x", b"\r\n"])
async def test_a_connection_without_a_request_is_closed(said: bytes) -> None:
    async with served(keep_alive_s=0.05) as app:
        reader, writer = await app.connect()
        writer.write(said)
        assert await reader.read() == b""
        writer.close()


async def test_a_request_that_takes_longer_than_a_silent_connection_may_last_is_answered() -> None:
    async with served(keep_alive_s=0.3) as app:
        reader, writer = await app.connect()
        writer.write(REQUEST)
        silent, other = await app.connect()
        assert await silent.read() == b""  # accepted later, so the first one's time has passed as well
        app.go_on.set()
        assert (await reader.read()).endswith(b"hello")
        assert await reader.read() == b""
        writer.close()
        other.close()


async def test_one_connection_too_many_is_closed_and_room_is_made_by_those_that_end() -> None:
    async with served(connections_max=1) as app:
        app.go_on.set()
        reader, writer = await app.connect()
        writer.write(REQUEST)
        assert await reader.readuntil(b"hello")
        refused, other = await app.connect()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await refused.readexactly(1)
        other.close()
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        reader, writer = await app.connect()
        writer.write(REQUEST)
        assert await reader.readuntil(b"hello")
        writer.close()


async def test_a_form_that_breaks_off_is_no_defect_of_ours(home: House) -> None:
    """Anybody can do it as often as they like, so it must not fill the log. Over a real listener: aiohttp's test server
    cancels what it should let fail."""
    listening = socket.create_server(("127.0.0.1", 0))
    head = f"POST /login HTTP/1.1\r\nHost: {ADMIN.partition('//')[2]}\r\nExpect: 100-continue\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\n\r\nlogin="
    with capture_logs() as logs:
        async with asyncio.timeout(PATIENCE_S), AsyncExitStack() as stack:
            await serve(organizer_app(home.deps), listening, stack, shutdown_s=PATIENCE_S)
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(head.encode())
            await reader.readuntil(b"100 Continue\r\n\r\n")  # so the page is reading
            writer.close()
            await writer.wait_closed()
    assert logs == []


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_body_is_taken_as_it_is(coding: str) -> None:
    body = (gzip.compress if coding == "gzip" else zlib.compress)(bytes(1 << 20))
    head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: {coding}\r\n"
    async with served() as app:
        reader, writer = await app.connect()
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.read()
        assert answer.endswith(b"\r\n\r\n" + str(len(body)).encode())
        writer.close()
