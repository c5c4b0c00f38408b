"""Bodies of 2 GB both ways through a proxy process, and downloads that stall: what its memory says."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proxy.rig import Upstream, Wire
from tests.proxy.test_process import dial

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SIZE = 2 << 30
STALLED = 8
STALLED_SIZE = 1 << 30
MEMORY_BYTES_MAX = 4 << 20
CHUNK = bytes(1 << 20)
LARGE_S_MAX = 400.0


class Proxy:
    """A proxy process, and the workspace behind it."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self._pid = port, pid

    def memory_bytes(self) -> int:
        """What is its own, and in memory."""
        lines = Path(f"/proc/{self._pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))

    def head(self, line: str, *fields: str) -> bytes:
        """A request."""
        return "\r\n".join([f"{line} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *fields, "", ""]).encode()


async def workspace(wire: Wire) -> None:
    """Gives as many bytes as are asked for, and counts those that it gets."""
    while True:
        head = await wire.reader.readuntil(b"\r\n\r\n")
        chunked = b"chunked" in head
        if head.startswith(b"PUT"):
            got = 0
            while got < SIZE:
                got += len(await wire.reader.read(1 << 20))
            await wire.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
        size = int(head.split(b" ", 2)[1].rpartition(b"/")[2])
        await wire.send(b"HTTP/1.1 200 OK\r\n" + (CHUNKED if chunked else b"Content-Length: %d\r\n\r\n" % size))
        for _ in range(size // len(CHUNK)):
            await wire.send(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK) if chunked else CHUNK)
        await wire.send(b"0\r\n\r\n" if chunked else b"")


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=[[], ["--no-memo", "--no-splice"]], ids=["short", "strict"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Proxy]:
    """A proxy process that is warm."""
    upstream = Upstream("large")
    upstream.script = workspace
    await upstream.start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    file = tmp_path / "routes.json"
    routes = [{"prefix": "/", "upstream": f"127.0.0.1:{upstream.port}"}]
    file.write_text(json.dumps({"sessions": False, "routes": routes}))
    words = ["-m", "mux.proxy", "--static", str(file), "--listen", f"127.0.0.1:{port}", *request.param]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stderr=asyncio.subprocess.DEVNULL)
    proxy = Proxy(port, process.pid)
    wire = await dial(port)
    await wire.ask(proxy.head(f"GET /{len(CHUNK)}"))
    wire.close()
    yield proxy
    process.kill()
    await process.wait()
    await upstream.stop()


async def take(wire: Wire, size: int) -> None:
    while size > 0:
        data = await wire.reader.read(1 << 20)
        assert data
        size -= len(data)


async def test_two_gigabytes_pass_both_ways_in_flat_memory(served: Proxy) -> None:
    before = served.memory_bytes()
    async with asyncio.timeout(LARGE_S_MAX):
        for fields in ([], ["Accept: chunked"]):
            wire = await dial(served.port)
            await wire.send(served.head(f"GET /{SIZE}", *fields))
            await wire.head()
            await take(wire, SIZE)
            assert served.memory_bytes() - before < MEMORY_BYTES_MAX
            wire.close()
        wire = await dial(served.port)
        await wire.send(served.head("PUT /x", f"Content-Length: {SIZE}"))
        for _ in range(SIZE // len(CHUNK)):
            await wire.send(CHUNK)
        assert (await wire.response()).status == 200
        assert served.memory_bytes() - before < MEMORY_BYTES_MAX


async def test_eight_stalled_downloads_hold_little(served: Proxy) -> None:
    before = served.memory_bytes()
    stalled = []
    for _ in range(STALLED):
        wire = Wire(*await asyncio.open_connection("127.0.0.1", served.port, limit=1 << 12))
        await wire.send(served.head(f"GET /{STALLED_SIZE}"))
        await wire.head()
        stalled.append(wire)
    held = -1
    async with asyncio.timeout(LARGE_S_MAX):
        while held != (held := served.memory_bytes() - before):  # until nothing moves any more
            await asyncio.sleep(1)
    assert held < MEMORY_BYTES_MAX
    for wire in stalled:
        wire.close()
