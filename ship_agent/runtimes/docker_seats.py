"""Who has which address in which seat's network, and the rules that follow.

Owns the table of reservations; networks are `docker_network`'s, rules `docker_firewall`'s. Knows nothing of containers.

Rules: one change at a time. An address is reserved, and its rules are in force, before a container gets it; they go
after the container. With a seat's last address its network goes, with the ship's last the chains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ship_agent.runtimes.docker_firewall import Firewall
from ship_agent.runtimes.docker_network import Networks, policy


@dataclass(frozen=True, slots=True)
class Reservation:
    """One workspace's address.

    Args:
        seat: whose network it is in.
        address: in it.
        rules: of `docker_network.Egress`.
    """

    seat: int
    address: str
    rules: tuple[str, ...]


class Seats:
    """Addresses and rules of one ship's workspaces.

    Args:
        networks: the seats' networks.
        firewall: the ship's chains.
        resolvers: the ship's name servers.
    """

    def __init__(self, networks: Networks, firewall: Firewall, resolvers: tuple[str, ...]) -> None:
        self._networks = networks
        self._firewall = firewall
        self._resolvers = resolvers
        self._table: dict[str, Reservation] = {}
        self._turn = asyncio.Lock()

    async def open(self, found: Mapping[str, Reservation]) -> None:
        """Take over what an earlier agent left, by workspace; networks of other seats go. Raises RuntimeFailure."""
        async with self._turn:
            self._table = dict(found)
            await self._networks.open(each.seat for each in found.values())
            await self._apply()

    async def reserve(self, workspace: str, seat: int, rules: tuple[str, ...]) -> str:
        """An address with its rules in force. Raises RuntimeFailure; `release` is due in any case."""
        async with self._turn:
            used = [each.address for each in self._table.values() if each.seat == seat]
            address = await self._networks.address(seat, used)
            self._table[workspace] = Reservation(seat, address, rules)
            await self._apply()
        return address

    async def release(self, workspace: str, seat: int) -> None:
        """The container is gone, or never was. Can be repeated. Raises RuntimeFailure."""
        async with self._turn:
            self._table.pop(workspace, None)
            if all(each.seat != seat for each in self._table.values()):
                await self._networks.release(seat)
            await self._apply()

    async def refresh(self) -> None:
        """Have the rules in force again: an engine that starts may have made its chains anew. Raises RuntimeFailure."""
        async with self._turn:
            if self._table:
                await self._apply()

    async def _apply(self) -> None:
        if self._table:
            await self._firewall.sync(
                policy(each.address, each.rules, self._resolvers) for each in self._table.values()
            )
        else:
            await self._firewall.clear()
