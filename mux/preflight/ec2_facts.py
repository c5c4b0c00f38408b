"""What a preflight of the provider `ec2` asks for, and what it finds: plain values, no calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from types import MappingProxyType

QUOTA_GP3 = ("ebs", "L-7A658B76")
"""Storage of gp3 volumes, in TiB."""
SPOT_ROLE = "AWSServiceRoleForEC2Spot"
"""What spot orders need, and AWS makes by itself for its console alone (EC2 user guide, "Service-linked role for Spot
Instance requests")."""

REFUSED_CODES = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthFailure"})
ON_MACHINES = frozenset({"ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"})
ON_OTHERS = frozenset(
    {"ec2:CreateFleet", "ec2:CreateLaunchTemplateVersion", "ec2:DeleteLaunchTemplate", "ec2:DeleteVolume"}
)
"""Permissions on what exists: a policy that gives them by tag denies them for what does not."""


def doubtful(ship_instance: str) -> frozenset[str]:
    """Permissions of which a dry run's denial says little; ``ship_instance``: of a ship, empty for none."""
    return ON_OTHERS if ship_instance else ON_OTHERS | ON_MACHINES


Quota = tuple[str, str]
"""Service and code, as Service Quotas names it."""


@dataclass(frozen=True, slots=True)
class Families:
    """Families of instance types that share quotas of vCPUs.

    Args:
        name: AWS's; empty for the standard ones.
        on_demand: quota of what runs.
        spot: quota of spot requests; None where none is known.
    """

    name: str
    on_demand: Quota
    spot: Quota | None

    def quota(self, spot: bool) -> Quota | None:
        """The quota of a market."""
        return self.spot if spot else self.on_demand


STANDARD = Families("", ("ec2", "L-1216C47A"), ("ec2", "L-34B43A08"))
_G = Families("G and VT", ("ec2", "L-DB2E81BA"), ("ec2", "L-3819A6DF"))
FAMILIES: Mapping[str, Families] = MappingProxyType(
    {
        **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), STANDARD),
        **dict.fromkeys(("g", "gr", "vt"), _G),
        "dl": Families("DL", ("ec2", "L-6E869C2A"), ("ec2", "L-85EED4F7")),
        "f": Families("F", ("ec2", "L-74FC7D96"), ("ec2", "L-88CF9481")),
        "hpc": Families("HPC", ("ec2", "L-F7808C92"), None),
        "inf": Families("Inf", ("ec2", "L-1945791B"), ("ec2", "L-B5D1601B")),
        "p": Families("P", ("ec2", "L-417A185B"), ("ec2", "L-7212CCBC")),
        "trn": Families("Trn", ("ec2", "L-2C3B7624"), ("ec2", "L-6B0D517C")),
        "x": Families("X", ("ec2", "L-7295265B"), ("ec2", "L-E3A00192")),
    }
)
"""By the letters that a type's name begins with. Source: EC2 user guide, "On-Demand Instance quotas" and "Spot Instance
quotas"; the codes are those of the pages of Service Quotas that both link to."""


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
        instance_profile: of ships; empty for none.
        control_host: the mux's address, or a name of it, as ships dial it.
        spot_prices: what the event file says that a ship on a spot machine costs for an hour, by type; empty without.
        currency: of those.
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
    instance_profile: str = ""
    control_host: str = ""
    spot_prices: Mapping[str, float] = field(default_factory=dict)
    currency: str = ""


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """An instance type. ``zones``: where it is offered."""

    name: str
    vcpus: int
    memory_mib: int
    architectures: frozenset[str]
    zones: frozenset[str] = frozenset()

    @property
    def families(self) -> Families | None:
        """Which share its quotas; None where that is not known."""
        return FAMILIES.get("".join(takewhile(str.isalpha, self.name)))

    def quota(self, spot: bool) -> Quota | None:
        """What it counts against in a market; None where that is not known."""
        return self.families.quota(spot) if self.families else None


@dataclass(frozen=True, slots=True)
class SubnetFacts:
    """A subnet. ``network``: its addresses, e.g. ``10.0.0.0/20``; empty for unknown."""

    id: str
    zone: str
    free_addresses: int
    network: str = ""


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
        permissions: permission to the code that a dry run was answered with.
        spot_role: whether the account has the role that spot orders need; None for not asked, or no answer.
        spot_prices: what EC2 asks for an hour, in dollars, by type, in the dearest zone; empty for not asked or told.
        simulated: what IAM says of those that were denied for what does not exist; fewer where it does not say.
        types, subnets: those that the event names and that exist.
        rules: of every security group that was seen.
        machine_image: None if there is no such image.
        quotas: values.
        vcpus: of instances that run now, by the quota that they count against.
        gp3_gib: of all volumes that exist.
        ships: machines of this event that exist, parked ones included.
        parked: vCPUs of each parked ship, by the quota that they count against as soon as it is started.
        ship_instance: id of one of them, which dry runs were about; empty for none.
        skew_s: this machine's clock ahead of the cloud's; None for unknown.
        faults: actions that failed.
    """

    account: str = ""
    permissions: Mapping[str, str] = field(default_factory=dict)
    simulated: Mapping[str, bool] = field(default_factory=dict)
    types: tuple[TypeFacts, ...] = ()
    subnets: tuple[SubnetFacts, ...] = ()
    rules: tuple[RuleFacts, ...] = ()
    machine_image: MachineImageFacts | None = None
    quotas: Mapping[Quota, float] = field(default_factory=dict)
    vcpus: Mapping[Quota, int] = field(default_factory=dict)
    gp3_gib: int = 0
    ships: int = 0
    parked: Mapping[Quota, tuple[int, ...]] = field(default_factory=dict)
    ship_instance: str = ""
    skew_s: float | None = None
    spot_role: bool | None = None
    spot_prices: Mapping[str, float] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
