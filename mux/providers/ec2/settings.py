"""What machines of one event are, as the provider is told. Pure data; no credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Market = Literal["on_demand", "spot", "spot_first"]


@dataclass(frozen=True, slots=True)
class Ec2Settings:
    """What is launched, and whose it is.

    Args:
        event: name of the event; stands in a tag.
        store: identity of the mux's store; stands in a tag. Machines of the same event with another one are foreign.
        region: of every call.
        image: machine image.
        instance_types: the one to be tried first first.
        subnets: one in each zone.
        security_groups: of the machines.
        port_first: first TCP port of the workspaces of each ship.
        port_count: how many.
        market: whether EC2 may take machines back; ``spot_first``: it may, and others are taken while it has none such.
        disk_gib: size of the root disk.
        disk_initialization_mib_s: VolumeInitializationRate; 0 for none.
        instance_profile: name; empty for none.
        endpoint: address of the API; empty for the region's.
    """

    event: str
    store: str
    region: str
    image: str
    instance_types: tuple[str, ...]
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    port_first: int
    port_count: int
    market: Market = "on_demand"
    disk_gib: int = 50
    disk_initialization_mib_s: int = 300
    instance_profile: str = ""
    endpoint: str = ""
