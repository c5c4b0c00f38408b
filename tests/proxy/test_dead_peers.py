"""Peers that vanish without a word, in a network namespace of their own: both legs of a tunnel notice in time.

`make test-long` writes ``dead_peers.json``: the seconds after which each tunnel was gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mux.core.routes import Delta
from mux.proxy import limits
from mux.proxy.tunnel import Tunnel
from tests.parts import missing, require
from tests.proxy.rig import ALICE, INTRO, PATIENCE_S, Rig, Upstream, Wire
from tests.proxy.test_tunnels import HANDSHAKE, SWITCH

BOTH_WAYS = True

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

RESULTS = Path(__file__).parent / "dead_peers.json"
HERE, THERE = "198.51.100.1", "198.51.100.2"
"""RFC 5737: documentation."""
FOUND_S_MAX = 45.0
"""What is promised of the kernel's clocks: a load balancer's idle timeout is 60 s."""
CLONE_NEWNET = 0x40000000
T = TypeVar("T")


class Namespace:
    """A network namespace at the other end of a cable."""

    def __init__(self) -> None:
        self.name = f"mux-{secrets.token_hex(4)}"
        self._inside = ThreadPoolExecutor(1, initializer=self._enter)

    def open(self) -> None:
        """Make it."""
        far = f"{self.name[-8:]}-f"
        near = f"{self.name[-8:]}-n"
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", self.name)
        _run("ip", "address", "add", f"{HERE}/30", "dev", near)
        _run("ip", "link", "set", near, "up")
        _run("ip", "-n", self.name, "address", "add", f"{THERE}/30", "dev", far)
        _run("ip", "-n", self.name, "link", "set", far, "up")

    def vanish(self) -> None:
        """Nothing goes in or out any more."""
        for chain in ("INPUT", "OUTPUT"):
            _run("ip", "netns", "exec", self.name, "iptables", "-I", chain, "-j", "DROP")

    def close(self) -> None:
        """Remove it, its cable first: that goes with the namespace too, but later than the next one may come."""
        self._inside.shutdown()
        subprocess.run(["ip", "link", "delete", f"{self.name[-8:]}-n"], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)

    async def run(self, work: Callable[[], T]) -> T:
        """Do something inside: a socket that is made there stays there."""
        return await asyncio.get_running_loop().run_in_executor(self._inside, work)

    def _enter(self) -> None:
        handle = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(handle)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Another machine, as far as the network is concerned."""
    for program in ("ip", "iptables"):
        require(program, "run `make docker` as root")
    if os.geteuid() != 0 or not Path("/run").is_dir():
        missing("root", "network namespaces are made by root alone")
    made = Namespace()
    try:
        made.open()
        yield made
    finally:
        made.close()


async def tunnel(rig: Rig, client: Wire, upstream: Upstream) -> Wire:
    """Open one; the workspace's end."""
    ends: asyncio.Queue[Wire] = asyncio.Queue()
    over = asyncio.Event()

    async def script(wire: Wire) -> None:
        await upstream.request(wire)
        await wire.send(SWITCH)
        ends.put_nowait(wire)
        await over.wait()

    upstream.script = script
    await client.send(HANDSHAKE)
    assert (await client.head()).startswith(b"HTTP/1.1 101")
    return await asyncio.wait_for(ends.get(), PATIENCE_S)


def test_the_kernels_clocks_are_no_longer_than_promised() -> None:
    silent_s = limits.KEEPALIVE_IDLE_S + limits.KEEPALIVE_INTERVAL_S * limits.KEEPALIVE_PROBES
    assert max(silent_s, limits.TUNNEL_USER_TIMEOUT_MS / 1000) < FOUND_S_MAX


async def found_s(tunnels: dict[str, Tunnel]) -> dict[str, float]:
    """Wait until all are gone; the seconds that each took, by name."""
    began, found = time.monotonic(), dict[str, float]()
    async with asyncio.timeout(4 * FOUND_S_MAX):  # without those clocks it is a quarter of an hour
        while len(found) < len(tunnels):
            await asyncio.sleep(0.1)
            for name in [name for name, one in tunnels.items() if one.gone and name not in found]:
                found[name] = round(time.monotonic() - began, 1)
    return found


def write(way: str, found: dict[str, float]) -> None:
    """Put the figures of one way beside those of the other."""
    table = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(table | {way: found}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


async def test_a_tunnel_ends_when_a_peer_vanishes(rig: Rig, namespace: Namespace, way: dict[str, Any]) -> None:
    """Either peer, of a tunnel that is silent and of one on whose other leg somebody speaks."""
    listener = socket.create_server((HERE, 0))
    address = listener.getsockname()
    await rig.plane.listen(listener)

    async def from_there() -> Wire:
        sock = await namespace.run(lambda: socket.create_connection(address, PATIENCE_S))
        sock.setblocking(False)
        return Wire(*await asyncio.open_connection(sock=sock))

    clients_there = [await from_there(), await from_there()]
    tunnels = dict[str, Tunnel]()

    async def opened(name: str, client: Wire, upstream: Upstream) -> Wire:
        end = await tunnel(rig, client, upstream)
        (tunnels[name],) = rig.plane._tunnels - set(tunnels.values())
        return end

    workspaces = [
        await opened("client, written to", clients_there[0], rig.alice),
        await opened("client, silent", clients_there[1], rig.alice),
    ]
    far = Upstream("far")
    sock = await namespace.run(lambda: socket.create_server((THERE, 0)))
    server = await asyncio.start_server(far._serve, sock=sock)
    far.port = sock.getsockname()[1]
    route = rig.route(far)
    moved = type(route)(route.workspace, THERE, far.port, route.token)
    await rig.publish(rig.table.apply(Delta(routes={(ALICE, INTRO): moved})))
    clients_here = [await rig.client(), await rig.client()]
    await opened("workspace, written to", clients_here[0], far)
    await opened("workspace, silent", clients_here[1], far)

    namespace.vanish()
    await workspaces[0].send(b"is anybody there?")
    await clients_here[0].send(b"is anybody there?")
    write("short" if way["memo"] else "strict", await found_s(tunnels))
    assert not rig.plane._tunnels
    for wire in (*workspaces, *clients_here):
        assert await wire.closed() == b""
    server.close()
    for wire in clients_there:
        with contextlib.suppress(OSError):
            wire.writer.transport.abort()
