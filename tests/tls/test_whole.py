"""A whole mux that fetches its certificates from a real authority, and serves both names with them."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.harness import MuxUnderTest, kill
from tests.tls.pebble import Pebble, pebble

PUBLIC, ADMIN = "camp.localhost", "crew.localhost"
SERVED_S_MAX = 120.0
LOOK_S = 0.1


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[tuple[MuxUnderTest, Pebble]]:
    """A mux whose names are certified by a pebble; its ships have nothing to run."""
    # Not below pytest's own directory: a Unix socket's path is short.
    directory = Path(tempfile.mkdtemp(prefix="mux-tls-"))
    with pebble(tmp_path / "pebble") as authority:
        mux = MuxUnderTest(directory)
        text = re.sub(r'"http://localhost:(\d+)"', rf'"https://{PUBLIC}:\1"', mux.config.read_text())
        text = re.sub(r'"http://127.0.0.1:(\d+)"', rf'"https://{ADMIN}:\1"', text)
        text = re.sub(r"\[\[project\]\].*?(?=\n\[fleet\])", PROJECT, text, flags=re.DOTALL)
        text = text.replace("[listen]\n", f'[listen]\nhttp = "127.0.0.1:{authority.http_port}"\n')
        (directory / "image" / "home").mkdir(parents=True)
        mux.config.write_text(
            text + f'\n[tls]\ncertificates = "acme"\nacme_directory = "{authority.directory}"\n'
            f'acme_trust = "{authority.trust}"\n'
        )
        try:
            await mux.start()
            yield mux, authority
            await mux.stop()
        finally:
            if left := mux.processes():
                await kill(left)
            shutil.rmtree(directory, ignore_errors=True)


PROJECT = """[[project]]
name = "page"
kind = "http"
image = "image"
start = "on_use"
command = ["python3", "-m", "http.server", "{port}"]
"""


@pytest.mark.timeout(400)  # as every test that starts a whole mux
async def test_both_names_get_a_certificate_and_plain_http_leads_there(secure: tuple[MuxUnderTest, Pebble]) -> None:
    mux, authority = secure
    trusted = await asyncio.to_thread(authority.root)
    for host, address in ((PUBLIC, mux.public), (ADMIN, mux.admin)):
        port = int(address.rpartition(":")[2])
        await served(host, port, trusted)
        found = await asyncio.to_thread(get, Tls(host, port, trusted), "/")
        assert found.status in (200, 302, 303), (host, found.status)
        assert all("Secure" in value for value in found.headers.get_all("Set-Cookie") or [])
    plain = http.client.HTTPConnection("127.0.0.1", authority.http_port, timeout=30)
    led = await asyncio.to_thread(get, plain, "/camp/?x=1", PUBLIC)
    assert (led.status, led.headers["Location"]) == (
        308,
        f"https://{PUBLIC}:{mux.public.rpartition(':')[2]}/camp/?x=1",
    )

    sites = json.loads(await mux.run("tls", "status", "--json"))["sites"]
    assert {site["name"]: site["fault"] for site in sites} == {"public": "", "admin": ""}
    assert all(set(site["names"]) == {PUBLIC, ADMIN} for site in sites)
    shown = await mux.run("tls", "status")
    assert PUBLIC in shown
    assert "Pebble" in shown
    files = {path.name for path in (mux.directory / "data" / "tls").iterdir()}
    assert files == {"account.key", "authority", "public.pem", "admin.pem"}

    # A proxy that starts again serves TLS at once, whatever the control process does.
    for process in mux.processes_of("mux.proxy"):
        process.kill()
    await served(PUBLIC, int(mux.public.rpartition(":")[2]), trusted)


class Tls(http.client.HTTPSConnection):
    """To a name that leads here, whatever this machine's resolver says."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=30, context=context)
        self._tls = context

    def connect(self) -> None:
        self.sock = self._tls.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=30), server_hostname=self.host
        )


def get(connection: http.client.HTTPConnection, path: str, host: str = "") -> http.client.HTTPResponse:
    connection.request("GET", path, headers={"Host": host} if host else {})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


async def served(host: str, port: int, trusted: ssl.SSLContext) -> None:
    """Until a name is served with a certificate that is trusted."""
    async with asyncio.timeout(SERVED_S_MAX):
        while True:
            try:
                await asyncio.to_thread(get, Tls(host, port, trusted), "/")
                return
            except (OSError, http.client.HTTPException):
                await asyncio.sleep(LOOK_S)
