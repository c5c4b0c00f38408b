"""The kinds of values that are about TLS: addresses of ACME directories, networks of proxies in front.

A kind reads as those of `mux.config.kinds` do.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from mux.config.faults import Part, Refused, kind_of, shown
from mux.config.kinds import PATH_CHARS_MAX, Kind, is_host_name

NETWORKS_MAX = 64
"""Proxies in front: a cloud publishes a few dozen networks of its load balancers."""


def https_url() -> Kind:
    """Where a service is found, over TLS."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or " " in value or len(value) > PATH_CHARS_MAX:
            raise Refused
        try:
            parts = urlsplit(value)
            port_ok = parts.port is None or parts.port > 0
        except ValueError:
            raise Refused from None
        host = parts.hostname or ""
        if parts.scheme != "https" or not port_ok or parts.username is not None or parts.fragment:
            raise Refused
        if not is_host_name(f"[{host}]" if ":" in host else host):
            raise Refused
        return value

    return Kind("address", "an address that begins with https://, without user and password", read)


def proxies() -> Kind:
    """Networks, or single addresses."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > NETWORKS_MAX:
            raise Refused(Part(found=kind_of(value) if not isinstance(value, list) else None))
        wrong, found = [], []
        for index, part in enumerate(value):
            try:
                network = ipaddress.ip_network(part if isinstance(part, str) else "")
            except ValueError:
                wrong.append(Part(found=shown(part), below=f"[{index}]"))
                continue
            if network.prefixlen == 0:
                wrong.append(Part(found=f"{shown(part)}, which is everybody", below=f"[{index}]"))
            found.append(str(network))
        if wrong:
            raise Refused(*wrong)
        return tuple(dict.fromkeys(found))

    allowed = f'a list of at most {NETWORKS_MAX} networks or addresses, written as ["10.0.0.0/16", "192.0.2.7"]'
    return Kind("list of networks", allowed, read)
