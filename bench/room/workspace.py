"""The workspace of the rehearsal: a small web server, so that three hundred of them fit one machine.

``python workspace.py PORT``, in an attendee's home: ``work`` is what was saved last, PUT of it saves, ``version`` says
which image this is, and a WebSocket echoes. Every answer bears what was saved last, so that whose it is can be told.
Python's standard library alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from pathlib import Path

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
CLOSE, PING, PONG = 8, 9, 10


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, to its end."""
    try:
        while True:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ", 2)
            split = (line.partition(":") for line in lines[1:])
            fields = {name.strip().lower(): value.strip() for name, _, value in split if name}
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            if key := fields.get("sec-websocket-key"):
                await echo(reader, writer, key)
                return
            said = answer(method, path.rpartition("/")[2], body)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Work: %b\r\nContent-Length: %d\r\n\r\n%b"
                % (held(), len(said), said)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def held() -> bytes:
    """What was saved last."""
    work = Path("work")
    return work.read_bytes() if work.exists() else b""


def answer(method: str, name: str, body: bytes) -> bytes:
    """What a request is answered with."""
    work = Path("work")
    if name != "work":
        return Path("version").read_bytes()
    if method == "PUT":
        aside = Path("work.new")
        aside.write_bytes(body)
        aside.replace(work)
    return held()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
    """A WebSocket that sends back what comes, in messages of up to 125 bytes (RFC 6455, section 5.2)."""
    accept = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )
    while True:
        first, second = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        data = bytes(each ^ mask[at % 4] for at, each in enumerate(await reader.readexactly(second & 0x7F)))
        kind = first & 0x0F
        writer.write(bytes([0x80 | (PONG if kind == PING else kind), len(data)]) + data)
        await writer.drain()
        if kind == CLOSE:
            return


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
