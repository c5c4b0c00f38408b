"""WebSockets for measuring: an echo that answers the handshake and then returns every byte, and its clients. The same
server takes uploads.

After the handshake both ends speak in raw bytes of the frames' size: a proxy that passes frames on does not look at
them, and one that does would be told so by its own answer.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
import resource
import ssl
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop

KEY = base64.b64encode(b"0123456789abcdef")


def switch(key: bytes) -> bytes:
    """The answer to a handshake with this key."""
    accepted = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(accepted)
        + b"\r\n\r\n"
    )


SWITCH = switch(KEY)
MASK_BYTES = 4
"""What a frame is shorter by that comes back unmasked."""


class Echo(asyncio.Protocol):
    """The workspace's end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.head = b""

    def data_received(self, data: bytes) -> None:
        self.head += data
        head, found, rest = self.head.partition(b"\r\n\r\n")
        if found and head.startswith(b"POST "):
            self.head = b""
            sink = Sink(self, int(_field(head, b"content-length")))
            self.transport.set_protocol(sink)
            sink.data_received(rest)
        elif found:
            self.transport.write(switch(_field(head, b"sec-websocket-key")))
            self.transport.set_protocol(Back(self.transport))


def _field(head: bytes, name: bytes) -> bytes:
    """Value of a field of a head; empty where it is missing."""
    at = head.lower().find(b"\r\n" + name + b":")
    return head[at:].partition(b":")[2].partition(b"\r\n")[0].strip() if at >= 0 else b""


class Sink(asyncio.Protocol):
    """The workspace's end while it is sent a body: it takes all of it before it answers."""

    def __init__(self, echo: Echo, length: int) -> None:
        self.echo, self.missing = echo, length

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if not self.missing:
            self.echo.transport.set_protocol(self.echo)
            self.echo.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")


class Back(asyncio.Protocol):
    """The workspace's end after the handshake."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.data_received = transport.write  # type: ignore[method-assign]


def masked_frame(size: int) -> bytes:
    """A binary frame of a client with ``size`` bytes of payload, all of it zeros under a zero mask."""
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return b"\x82" + length + bytes(4) + bytes(size)


class Client(asyncio.Protocol):
    """The browser's end: sends a frame when the last one is back, whole: ``returned`` bytes of it."""

    def __init__(self, head: bytes, frame: bytes, returned: int, opened: asyncio.Future[None]) -> None:
        self.head, self.frame, self.returned, self.opened = head, frame, returned, opened
        self.answer = b""
        self.missing = 0
        self.rounds = 0
        self.sent = 0.0
        self.times: list[float] = []
        self.running = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.head)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"no handshake: {self.answer[:200]!r}"))

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self.answer += data
            if b"\r\n\r\n" in self.answer:
                if not self.answer.startswith(b"HTTP/1.1 101"):
                    self.transport.abort()
                    return
                self.opened.set_result(None)
            return
        self.missing -= len(data)
        if self.missing <= 0:
            self.rounds += 1
            if self.running:
                self.times.append(time.perf_counter() - self.sent)
                self.send()

    def send(self) -> None:
        self.missing = self.returned
        self.sent = time.perf_counter()
        self.transport.write(self.frame)


async def serve(port: int) -> None:
    """Echo until the end."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=8192)
    await server.serve_forever()


async def load(
    address: str, cookies: list[str], *, connections: int, size: int, seconds: float, reframed: bool
) -> None:
    """Open connections; with ``seconds``, send to and fro. Prints JSON when they are open, and again at the end.

    With 0 seconds the connections stay open until standard input ends. Frames come back with their masks, or, if they
    are ``reframed`` on the way, without. The cookies are used in turn.
    """
    loop = asyncio.get_running_loop()
    parts = urlsplit(address)
    port = parts.port
    tls = trusting_anybody() if parts.scheme == "https" else None
    head = (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY.decode()}\r\n"
        f"Origin: {parts.scheme}://{parts.netloc}\r\nCookie: mux_session="
    )
    heads = [f"{head}{cookie}\r\n\r\n".encode() for cookie in cookies]
    frame = masked_frame(size)
    returned = len(frame) - MASK_BYTES * reframed
    clients: list[Client] = []
    for first in range(0, connections, 100):
        batch = []
        for number in range(first, min(connections, first + 100)):
            opened: asyncio.Future[None] = loop.create_future()
            asked = heads[number % len(heads)]
            source = (f"127.{1 + os.getpid() % 250}.{1 + number // 10_000}.1", 0)
            _, client = await loop.create_connection(
                lambda opened=opened, head=asked: Client(head, frame, returned, opened),
                "127.0.0.1",
                port,
                local_addr=source,
                ssl=tls,
            )
            clients.append(client)
            batch.append(opened)
        await asyncio.gather(*batch)
    print(json.dumps({"open": len(clients)}), flush=True)
    if not seconds:
        await loop.run_in_executor(None, os.read, 0, 1)
        return
    began = time.perf_counter()
    for client in clients:
        client.running = True
        client.send()
    await asyncio.sleep(seconds)
    for client in clients:
        client.running = False
    took = time.perf_counter() - began
    times = sorted(one for client in clients for one in client.times) or [0.0]
    found = {
        "messages": sum(client.rounds for client in clients),
        "seconds": took,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[len(times) * 99 // 100] * 1e3,
    }
    print(json.dumps(found), flush=True)


def trusting_anybody() -> ssl.SSLContext:
    """A client's context that looks at no certificate: what is measured is on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main() -> None:
    """``serve PORT``, or ``load ADDRESS COOKIE,… CONNECTIONS SIZE SECONDS [reframed]``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["serve", "load"])
    parser.add_argument("rest", nargs="*")
    chosen = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if chosen.what == "serve":
        uvloop.run(serve(int(chosen.rest[0])))
    else:
        address, cookies, connections, size, seconds, *reframed = chosen.rest
        numbers = {"connections": int(connections), "size": int(size), "seconds": float(seconds)}
        uvloop.run(load(address, cookies.split(","), **numbers, reframed=bool(reframed)))


if __name__ == "__main__":
    main()
