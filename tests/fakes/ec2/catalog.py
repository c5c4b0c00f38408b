"""What the fake region has to offer: zones, subnets, security groups, machine images, types and their prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from types import MappingProxyType

REGION = "eu-central-1"
ACCOUNT = "123456789012"
VPC = "vpc-0a1b2c3d4e5f60718"
SHIPS_GROUP = "sg-0123456789abcdef0"
STANDARD_FAMILIES = "acdhimrtz"


@dataclass(frozen=True)
class TypeOffer:
    """An instance type.

    Args:
        price: on-demand, dollars an hour. Spot costs ``spot_share`` of it.
        zones: where it is offered; empty is everywhere.
    """

    name: str
    vcpu: int
    memory_mib: int
    price: float
    architecture: str = "x86_64"
    spot_share: float = 0.35
    zones: tuple[str, ...] = ()

    @property
    def standard(self) -> bool:
        """Whether it counts against the quotas of standard instances."""
        return self.name[0] in STANDARD_FAMILIES and self.name[1].isdigit()


@dataclass(frozen=True)
class Subnet:
    """A subnet of the one VPC. EC2 keeps five addresses of each to itself."""

    id: str
    zone: str
    cidr: str
    public_by_default: bool = False
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def addresses(self) -> list[str]:
        """What machines may get."""
        every = [str(address) for address in IPv4Network(self.cidr)]
        return every[4:-1]


@dataclass(frozen=True)
class IngressRule:
    """Who may reach which ports: another group, or a range of addresses."""

    first_port: int
    last_port: int
    from_group: str = ""
    from_cidr: str = ""


@dataclass(frozen=True)
class SecurityGroup:
    """A security group of the one VPC."""

    id: str
    name: str
    ingress: tuple[IngressRule, ...] = ()


@dataclass(frozen=True)
class MachineImage:
    """A machine image with one root volume."""

    id: str
    name: str
    architecture: str = "x86_64"
    root_device: str = "/dev/xvda"
    root_gib: int = 8
    snapshot: str = "snap-00aa11bb22cc33dd4"
    state: str = "available"
    imds_v2: bool = True


@dataclass(frozen=True)
class Catalog:
    """All of it. A test that needs another region makes another catalog."""

    zones: tuple[str, ...] = ("eu-central-1a", "eu-central-1b", "eu-central-1c")
    types: tuple[TypeOffer, ...] = (
        TypeOffer("m6i.large", 2, 8192, 0.115),
        TypeOffer("m6i.xlarge", 4, 16384, 0.23),
        TypeOffer("m6i.2xlarge", 8, 32768, 0.46),
        TypeOffer("m6a.2xlarge", 8, 32768, 0.414),
        TypeOffer("m5.2xlarge", 8, 32768, 0.46),
        TypeOffer("m7i.2xlarge", 8, 32768, 0.483, zones=("eu-central-1a", "eu-central-1b")),
        TypeOffer("m7g.2xlarge", 8, 32768, 0.389, architecture="arm64"),
        TypeOffer("c6i.4xlarge", 16, 32768, 0.776),
        TypeOffer("r6i.2xlarge", 8, 65536, 0.608),
        TypeOffer("t3.medium", 2, 4096, 0.048),
        TypeOffer("g5.xlarge", 4, 16384, 1.258),
    )
    subnets: tuple[Subnet, ...] = (
        Subnet("subnet-0aaaaaaaaaaaaaaaa", "eu-central-1a", "10.0.0.0/20"),
        Subnet("subnet-0bbbbbbbbbbbbbbbb", "eu-central-1b", "10.0.16.0/20"),
        Subnet("subnet-0cccccccccccccccc", "eu-central-1c", "10.0.32.0/20"),
        Subnet("subnet-0ddddddddddddddd0", "eu-central-1a", "10.0.48.0/28", public_by_default=True),
    )
    groups: tuple[SecurityGroup, ...] = (
        SecurityGroup(SHIPS_GROUP, "ships", (IngressRule(20000, 29999, from_group="sg-0fedcba9876543210"),)),
        SecurityGroup(
            "sg-0fedcba9876543210",
            "mux",
            (IngressRule(443, 443, from_cidr="0.0.0.0/0"), IngressRule(8443, 8443, SHIPS_GROUP)),
        ),
    )
    images: tuple[MachineImage, ...] = (
        MachineImage("ami-0123456789abcdef0", "ship-x86_64"),
        MachineImage("ami-0aaaaaaaaaaaaaaaa", "ship-arm64", architecture="arm64"),
        MachineImage("ami-0bbbbbbbbbbbbbbbb", "ship-old", imds_v2=False),
    )

    def type(self, name: str) -> TypeOffer | None:
        """A type by name."""
        return next((offer for offer in self.types if offer.name == name), None)

    def subnet(self, subnet_id: str) -> Subnet | None:
        """A subnet by id."""
        return next((subnet for subnet in self.subnets if subnet.id == subnet_id), None)

    def group(self, group_id: str) -> SecurityGroup | None:
        """A security group by id."""
        return next((group for group in self.groups if group.id == group_id), None)

    def image(self, image_id: str) -> MachineImage | None:
        """A machine image by id."""
        return next((image for image in self.images if image.id == image_id), None)

    def offered(self, offer: TypeOffer, zone: str) -> bool:
        """Whether a zone has a type at all."""
        return zone in self.zones and (not offer.zones or zone in offer.zones)
