"""Which provider makes the ships of an event, and where ships find the mux.

Owns the way from the event file's words to a provider's settings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from mux.config import EventFile, ports_per_ship
from mux.core.events import Event
from mux.providers.base import Provider
from mux.providers.ec2 import Ec2Api, Ec2Provider, Ec2Settings, Market, connected
from mux.providers.local import LocalProvider
from mux.providers.user_data import user_data

HERE = ("0.0.0.0", "::", "127.0.0.1", "localhost")  # noqa: S104 - compared with, not bound


def control_names(file: EventFile) -> list[str]:
    """Names of the control endpoint, which its certificate bears; ships dial the first."""
    host = file.listen.control.host
    if file.fleet.provider == "ec2":
        return [file.ec2.control_host or host]
    return ["127.0.0.1", "localhost"] if host in HERE else [host]


def provider_of(file: EventFile, data: Path, store: str, post: Callable[[Event], None]) -> Provider:
    """The provider that an event file asks for.

    Args:
        file: the event file in force.
        data: the data directory.
        store: identity of the store.
        post: takes what a provider notices between calls.
    """
    if file.fleet.provider == "ec2":
        settings = ec2_settings(file, store)
        return Ec2Provider(
            settings, user_data, post, api=Ec2Api(partial(connected, settings.region, settings.endpoint))
        )
    return LocalProvider(
        data / "ships",
        file.event.name,
        port_first=file.fleet.ports.first,
        ports_per_ship=ports_per_ship(file),
    )


def ec2_settings(file: EventFile, store: str) -> Ec2Settings:
    """What the provider `ec2` is told. The file has been checked: whatever it needs is there."""
    table = file.ec2
    return Ec2Settings(
        event=file.event.name,
        store=store,
        region=table.region or "",
        image=table.image or "",
        instance_types=table.instance_types or (),
        subnets=table.subnets or (),
        security_groups=table.security_groups or (),
        port_first=file.fleet.ports.first,
        port_count=ports_per_ship(file),
        market=cast(Market, table.market),
        disk_gib=table.disk_gib,
        disk_initialization_mib_s=table.disk_initialization_mib_s,
        instance_profile=table.instance_profile or "",
        endpoint=table.endpoint or "",
    )
