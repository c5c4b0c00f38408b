"""Who a request really comes from, where proxies that are trusted stand in front.

Pure. Rules: what a client says of its own address counts for nothing; only a proxy whose address is listed is believed,
and of what it says only what it added itself or another listed proxy handed on: from the right, up to the first
address that is not listed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

HOPS_MAX = 16
"""Proxies in a row that are looked through; two are usual."""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks (or single addresses) as the event file writes them. Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def address_of(text: str) -> Address | None:
    """An address as a socket or X-Forwarded-For has it, or None. IPv4-mapped IPv6 is IPv4; a port is passed over."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def is_trusted(address: Address | None, trusted: Sequence[Network]) -> bool:
    """Whether an address is one of the listed proxies'."""
    return address is not None and any(address in network for network in trusted)


def client_address(direct: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The client's address.

    Args:
        direct: who the connection comes from.
        forwarded_for: every value of X-Forwarded-For, in order.
        trusted: proxies that are believed.

    Returns:
        An address, or ``direct`` where nothing better is known.
    """
    if not trusted or not is_trusted(address_of(direct), trusted):
        return direct
    known = direct
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    for hop in reversed(hops[-HOPS_MAX:]):
        address = address_of(hop)
        if address is None:
            break
        known = str(address)
        if not is_trusted(address, trusted):
            break
    return known


def address_key(peer: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one, which is one subscriber's network."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
