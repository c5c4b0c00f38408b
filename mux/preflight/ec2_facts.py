"""What a preflight of the provider `ec2` asks for, and what it finds: plain values, no calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STANDARD_FAMILIES = frozenset("acdhimrtz")
"""First letters of the families that share the quotas of standard instances (EC2 user guide, vCPU limits)."""
QUOTA_ON_DEMAND = ("ec2", "L-1216C47A")
"""Running on-demand standard instances, in vCPUs."""
QUOTA_SPOT = ("ec2", "L-34B43A08")
"""All standard spot instance requests, in vCPUs."""
QUOTA_GP3 = ("ebs", "L-7A658B76")
"""Storage of gp3 volumes, in TiB."""

Quota = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Ec2Wanted:
    """What the event asks of EC2.

    Args:
        event: its name, which machines are tagged with.
        region: where.
        image: machine image.
        instance_types: the one to be tried first first.
        subnets, security_groups: of the ships.
        markets: where machines come from, True for spot; with several the next is tried where one has none.
        disk_gib: of each ship.
        ships: in all, those that exist included.
        seats_per_ship: on each.
        control_port: where ships dial in.
        workspace_ports: first and last, on each ship.
        endpoint: address of the API; empty for the region's.
    """

    event: str
    region: str
    image: str
    instance_types: tuple[str, ...]
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    markets: tuple[bool, ...]
    disk_gib: int
    ships: int
    seats_per_ship: int
    control_port: int
    workspace_ports: tuple[int, int]
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """An instance type. ``zones``: where it is offered."""

    name: str
    vcpus: int
    memory_mib: int
    architectures: frozenset[str]
    zones: frozenset[str] = frozenset()

    @property
    def standard(self) -> bool:
        """Whether it counts against the quotas of standard instances."""
        family = self.name.partition(".")[0]
        return family[0] in STANDARD_FAMILIES and len(family) > 1 and family[1].isdigit()


@dataclass(frozen=True, slots=True)
class SubnetFacts:
    """A subnet."""

    id: str
    zone: str
    free_addresses: int


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """Who may reach which TCP ports of a group's machines: one other group, or one network."""

    group: str
    first: int
    last: int
    from_group: str = ""
    from_network: str = ""

    @property
    def everybody(self) -> bool:
        """Whether it is open to the world."""
        return self.from_network in ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class MachineImageFacts:
    """A machine image."""

    id: str
    state: str
    architecture: str
    root_gib: int
    imds_v2: bool


@dataclass(frozen=True, slots=True)
class Ec2Facts:
    """What was found. What could not be asked is in ``faults``, by action, with the cloud's code.

    Args:
        account: number and caller; empty without credentials.
        permissions: action to the code that a dry run of it was answered with.
        types, subnets: those that the event names and that exist.
        rules: of every security group that was seen.
        machine_image: None if there is no such image.
        quotas: values.
        vcpus: of standard instances that run now, by ``spot`` or not.
        gp3_gib: of all volumes that exist.
        ships: machines of this event that exist.
        ship_instance: id of one of them, which dry runs were about; empty for none.
        skew_s: this machine's clock ahead of the cloud's; None for unknown.
        faults: actions that failed.
    """

    account: str = ""
    permissions: Mapping[str, str] = field(default_factory=dict)
    types: tuple[TypeFacts, ...] = ()
    subnets: tuple[SubnetFacts, ...] = ()
    rules: tuple[RuleFacts, ...] = ()
    machine_image: MachineImageFacts | None = None
    quotas: Mapping[Quota, float] = field(default_factory=dict)
    vcpus: Mapping[bool, int] = field(default_factory=dict)
    gp3_gib: int = 0
    ships: int = 0
    ship_instance: str = ""
    skew_s: float | None = None
    faults: Mapping[str, str] = field(default_factory=dict)
