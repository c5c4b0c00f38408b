"""What the conformance suite needs of each backend: providers on one and the same world, and a way to look at it."""

from __future__ import annotations

import asyncio
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import psutil

from mux.core.model import ShipId
from mux.providers.base import LaunchOrder, Provider
from mux.providers.local import LocalProvider

FAKE_AGENT = (sys.executable, "-P", str(Path(__file__).with_name("fake_agent.py")))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does and that has no event here; the test's own timeout bounds it."""
    while not condition():
        await asyncio.sleep(0.01)


def order(ship: str, event: str = "camp") -> LaunchOrder:
    """An order that nobody needs to carry out to the end."""
    return LaunchOrder(
        ship=ShipId(ship),
        event=event,
        control_url="wss://127.0.0.1:8443/control",
        ca_pem="-----BEGIN CERTIFICATE-----\n",
        join_token=f"join-token-of-{ship}",
        runtime="process",
    )


class Backend(ABC):
    """One backend's world."""

    @abstractmethod
    def provider(self, event: str = "camp") -> Provider:
        """A provider that is not opened yet; each is another run of the mux."""

    @abstractmethod
    async def clean_up(self) -> None:
        """End whatever tests left."""


class LocalBackend(Backend):
    """Ships in a directory, with the fake agent."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: list[LocalProvider] = []

    def provider(self, event: str = "camp") -> LocalProvider:
        made = LocalProvider(self.root, event, port_first=30_000, ports_per_ship=8, command=FAKE_AGENT, watch_s=0.02)
        self._made.append(made)
        return made

    def agents(self) -> list[psutil.Process]:
        """Agents of this root that run, in whatever event."""
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                ours = line[-3:-1] == ["run", "--dir"] and Path(line[-1]).parent == self.root
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def agent(self, ship: str) -> psutil.Process | None:
        """The agent of a ship. There is one at most: it holds the directory's lock."""
        try:
            pid = json.loads((self.root / ship / "agent.json").read_text())["pid"]
        except FileNotFoundError:
            return None
        return next((process for process in self.agents() if process.pid == pid), None)

    async def running(self, ship: str) -> psutil.Process:
        """The agent of a ship, once it has said that it is up."""
        await until(lambda: self.agent(ship) is not None)
        agent = self.agent(ship)
        assert agent is not None
        return agent

    async def clean_up(self) -> None:
        for provider in self._made:
            await provider.close()
        for agent in self.agents():
            agent.kill()
