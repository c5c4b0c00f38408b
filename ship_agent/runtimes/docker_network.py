"""Networks of seats, addresses in them, and where a project may connect to.

Owns one bridge network for each seat that holds a container, in a subnet of its own out of `docker_firewall.POOL`, and
the translation of a project's ``egress`` into addresses. Knows nothing of containers beyond their addresses.

Rules: a network is made when its seat gets a first container and goes with the last. The bridge's name says whose it
is, so that the firewall can tell. Names are looked up once, at the start: the container gets the addresses that the
rules were made of, and can look up no others.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import aiodocker
from aiodocker.exceptions import DockerError

from ship_agent.protocol.messages import Project
from ship_agent.runtimes.base import RuntimeFailure
from ship_agent.runtimes.docker_errors import is_missing, translated
from ship_agent.runtimes.docker_firewall import POOL, Allowed, Policy
from ship_agent.runtimes.docker_spec import LABEL_ROLE, LABEL_SCOPE, LABEL_SEAT

SUBNET_BITS = 26
"""62 addresses for each seat: 16 projects, twice while they are replaced, and the bridge; 2,048 seats in the pool."""
OVERLAP_TRIES = 8
"""Another ship on the same engine may take the subnet that was free a moment ago."""
ADDRESSES_MAX = 16
"""Addresses of one name that are let through; a name with more is a content network's, and some are enough."""
LOOKUP_MAX_S = 10.0
RESOLVERS_MAX = 3
"""As many as the C library asks (resolv.conf(5), MAXNS)."""
RESOLV_CONFS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second holds the real name servers where the first names systemd-resolved on loopback."""


@dataclass(frozen=True, slots=True)
class Egress:
    """A project's ``egress``, looked up.

    Args:
        rules: ``open``, ``none``, or destinations, each ``network`` or ``network:port``; kept on disk.
        hosts: names and addresses for the container's hosts file.
    """

    rules: tuple[str, ...]
    hosts: tuple[tuple[str, str], ...] = ()

    @property
    def dns(self) -> bool:
        """Whether names may be looked up."""
        return self.rules == ("open",)


class Networks:
    """The seats' networks of one ship.

    Args:
        engine: the client.
        scope: marks what belongs to this ship.
    """

    def __init__(self, engine: aiodocker.Docker, scope: str) -> None:
        self._engine = engine
        self._scope = scope
        self._subnets: dict[int, ipaddress.IPv4Network] = {}
        self._turn = asyncio.Lock()

    def name(self, seat: int) -> str:
        """The name of a seat's network."""
        return f"mux-{self._scope}-{seat}"

    async def open(self, seats: Iterable[int]) -> None:
        """Find the networks of an earlier agent; those of other seats than ``seats`` go. Raises RuntimeFailure."""
        kept = set(seats)
        with translated("the seats' networks"):
            for network in await self._listed():
                labels = network.get("Labels") or {}
                if labels.get(LABEL_SCOPE) != self._scope:
                    continue
                seat = int(labels.get(LABEL_SEAT, "-1"))
                if seat in kept:
                    self._subnets[seat] = ipaddress.IPv4Network(network["IPAM"]["Config"][0]["Subnet"])
                else:
                    await self._delete(network["Id"])

    async def address(self, seat: int, used: Iterable[str]) -> str:
        """An address that is free in a seat's network, which is made if need be. Raises RuntimeFailure."""
        async with self._turn:
            if seat not in self._subnets:
                with translated(f"the network of seat {seat}"):
                    self._subnets[seat] = await self._create(seat)
            taken = set(used)
            for address in list(self._subnets[seat].hosts())[1:]:
                if str(address) not in taken:
                    return str(address)
        raise RuntimeFailure("network_full", f"seat {seat} has no address left", retryable=True)

    async def release(self, seat: int) -> None:
        """Remove a seat's network. Raises RuntimeFailure."""
        async with self._turn:
            with translated(f"the network of seat {seat}"):
                await self._delete(self.name(seat))
            self._subnets.pop(seat, None)

    async def _create(self, seat: int) -> ipaddress.IPv4Network:
        with_name = await self._find(seat)
        if with_name is not None:
            return with_name
        overlap: DockerError | None = None
        for subnet in await self._free_subnets():
            try:
                await self._engine.networks.create(self._configuration(seat, subnet))
            except DockerError as error:
                if "overlap" not in error.message.lower():
                    raise
                overlap = error
            else:
                return subnet
        raise RuntimeFailure(
            "network_full", "no subnet is left for another seat; end some workspaces", retryable=True
        ) from overlap

    def _configuration(self, seat: int, subnet: ipaddress.IPv4Network) -> dict[str, Any]:
        return {
            "Name": self.name(seat),
            "CheckDuplicate": True,
            "Driver": "bridge",
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]},
            "Options": {
                "com.docker.network.bridge.name": f"mx{self._scope}-{seat}",
                "com.docker.network.bridge.enable_icc": "false",
            },
            "Labels": {LABEL_SCOPE: self._scope, LABEL_ROLE: "seat", LABEL_SEAT: str(seat)},
        }

    async def _find(self, seat: int) -> ipaddress.IPv4Network | None:
        """The subnet of a network that is there although it is not known here."""
        for network in await self._listed():
            if network["Name"] == self.name(seat):
                return ipaddress.IPv4Network(network["IPAM"]["Config"][0]["Subnet"])
        return None

    async def _free_subnets(self) -> list[ipaddress.IPv4Network]:
        """The first free ones, beginning at a place of this ship's own, so that ships on one engine seldom meet."""
        taken = []
        for network in await self._listed():
            for part in (network.get("IPAM") or {}).get("Config") or ():
                subnet = ipaddress.ip_network(part.get("Subnet", "0.0.0.0/32"), strict=False)
                if isinstance(subnet, ipaddress.IPv4Network):
                    taken.append(subnet)
        every = list(ipaddress.IPv4Network(POOL).subnets(new_prefix=SUBNET_BITS))
        first = int(self._scope, 16) % len(every)
        free = (each for each in every[first:] + every[:first] if not any(each.overlaps(other) for other in taken))
        return list(islice(free, OVERLAP_TRIES))

    async def _listed(self) -> list[dict[str, Any]]:
        networks: list[dict[str, Any]] = await self._engine.networks.list()
        return networks

    async def _delete(self, name: str) -> None:
        try:
            await aiodocker.networks.DockerNetwork(self._engine, name).delete()
        except DockerError as error:
            if not is_missing(error):
                raise


async def look_up(project: Project) -> Egress:
    """A project's egress with every name looked up. Raises RuntimeFailure."""
    if isinstance(project.egress, str):
        return Egress((project.egress,))
    rules: list[str] = []
    hosts: list[tuple[str, str]] = []
    for destination in project.egress:
        host, separator, port = destination.rpartition(":")
        if not separator:
            rules.append(_network(destination, project))
            continue
        if _is_network(host):
            rules.append(f"{_network(host, project)}:{port}")
            continue
        for address in await _addresses(host, project):
            rules.append(f"{address}/32:{port}")
            hosts.append((host, address))
    return Egress(tuple(dict.fromkeys(rules)), tuple(dict.fromkeys(hosts)))


async def _addresses(host: str, project: Project) -> list[str]:
    try:
        async with asyncio.timeout(LOOKUP_MAX_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, None, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
    except (OSError, TimeoutError, UnicodeError) as error:
        raise RuntimeFailure(
            "egress_unknown",
            f"{project.name} may connect to {host[:100]}, which cannot be looked up on this ship; mend the name",
            retryable=True,
        ) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:ADDRESSES_MAX]


def _is_network(text: str) -> bool:
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return True


def _network(text: str, project: Project) -> str:
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError as error:
        raise RuntimeFailure(
            "egress_refused", f"{project.name}: {text[:100]!r} is neither host:port nor an IPv4 network"
        ) from error


def policy(address: str, rules: Sequence[str], resolvers: Sequence[str]) -> Policy:
    """The firewall's policy of an address.

    Args:
        address: of the container.
        rules: of `Egress`.
        resolvers: the ship's name servers.
    """
    if tuple(rules) == ("open",):
        return Policy(address, public=True, resolvers=tuple(resolvers))
    allowed = []
    for rule in rules:
        if rule != "none":
            network, _, port = rule.partition(":")
            allowed.append(Allowed(network, int(port) if port else None))
    return Policy(address, public=False, allowed=tuple(allowed))


def resolvers() -> tuple[str, ...]:
    """The ship's name servers that a container could ask; blocking, for files only."""
    found: list[str] = []
    for path in RESOLV_CONFS:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            words = line.split()
            is_one = len(words) >= 2 and words[0] == "nameserver" and _is_network(words[1])
            if is_one and not ipaddress.IPv4Address(words[1]).is_loopback:
                found.append(words[1])
    return tuple(dict.fromkeys(found))[:RESOLVERS_MAX]
