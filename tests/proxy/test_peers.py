"""Where the data plane answers otherwise than nginx and HAProxy: as the page says, both ways, and the peers too."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mux.proxy.plane import Plane
from mux.proxy.routing import Address
from mux.proxy.static import StaticRoute, StaticRouter
from tests.parts import require
from tests.proxy.peers import CASES, HOST, row
from tests.proxy.rig import PATIENCE_S, Upstream, Wire, answering

BOTH_WAYS = True
PAGE = Path(__file__).parents[2] / "docs/reference/proxy-peers.md"

NGINX = """user root; daemon off; pid {dir}/pid; error_log {dir}/log;
events {{ }}
http {{ access_log off; client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;
uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5;
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_http_version 1.1;
proxy_set_header Host $http_host; proxy_request_buffering off; }} }} }}
"""
HAPROXY = """defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend all
  bind 127.0.0.1:{port}
  default_backend web
backend web
  server web 127.0.0.1:{upstream}
"""


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A server that says yes to everything."""
    upstream = await Upstream("web").start()
    upstream.script = answering(upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    yield upstream
    await upstream.stop()


async def status(port: int, raw: bytes, wait_s: float = PATIENCE_S) -> int:
    """Of the answer to a request; 0 for none."""
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    try:
        await wire.send(raw)
        async with asyncio.timeout(wait_s):
            while (found := int((await wire.head()).split(b" ", 2)[1])) == 100:
                pass
        return found
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return 0
    finally:
        wire.writer.transport.abort()


async def test_requests_are_answered_as_the_page_says(upstream: Upstream, way: dict[str, Any]) -> None:
    plane = Plane(memo=way["memo"], splice=way["splice"], lone=True)
    await plane.put_in_force(StaticRouter([StaticRoute(b"", Address("127.0.0.1", upstream.port))]), "mux", (), {})
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    await plane.listen(sock)
    try:
        for _ in range(3):  # by then a plain head is known
            assert await status(port, b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n") == 200
        found = {case.what: await status(port, case.raw) for case in CASES}
    finally:
        await plane.close()
    assert found == {case.what: case.mux for case in CASES}


@pytest.mark.long
@pytest.mark.parametrize(("peer", "text"), [("nginx", NGINX), ("haproxy", HAPROXY)])
async def test_the_peers_answer_as_the_page_says(upstream: Upstream, tmp_path: Path, peer: str, text: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    (tmp_path / "conf").write_text(text.format(dir=tmp_path, port=port, upstream=upstream.port))
    flag = {"nginx": "-c", "haproxy": "-f"}[peer]
    process = await asyncio.create_subprocess_exec(require(peer), flag, str(tmp_path / "conf"))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError):
                    if await status(port, b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n"):
                        break
                await asyncio.sleep(0.05)
        found = {case.what: await status(port, case.raw, 2.0) for case in CASES}
    finally:
        process.terminate()
        await process.wait()
    assert found == {case.what: getattr(case, peer) for case in CASES}


def test_the_page_lists_every_difference() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| .* \| [0-9]{3} \|", line)]
    assert rows == [row(case) for case in CASES]
