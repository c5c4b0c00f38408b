"""The table ``[ec2]``: where machines of the provider `ec2` come from, and what they are.

Owns its keys, their kinds, and the rules between them. Credentials are none of them: they come from where the AWS tools
look for them too (environment, profile, the role of the machine that the mux runs on).
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from mux.config import kinds
from mux.config.faults import Part, Refused, kind_of
from mux.config.kinds import Kind
from mux.config.tables import Key, Table

RATES_MIB_S = (100, 300)
"""What the API takes as VolumeInitializationRate."""


def _names(pattern: str, allowed: str, names_max: int) -> Kind:
    """A list of different names that each match ``pattern``."""
    compiled = re.compile(pattern)

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= names_max:
            raise Refused(Part(found=kind_of(value) if not isinstance(value, list) else None))
        for name in value:
            if not isinstance(name, str) or not compiled.fullmatch(name):
                raise Refused
        if len(set(value)) != len(value):
            raise Refused
        return tuple(value)

    return Kind("list of texts", f"a list of 1 to {names_max} different {allowed}", read)


def _rate() -> Kind:
    low, high = RATES_MIB_S

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or (value != 0 and not low <= value <= high):
            raise Refused
        return value

    return Kind("whole number", f"0, or a whole number of MiB/s from {low} to {high}", read)


def _text(pattern: str, allowed: str, chars_max: int) -> Kind:
    return kinds.text(chars_max, pattern=pattern, allowed=allowed)


class Ec2Table(Table):
    """What machines of the provider ec2 are."""

    doc: ClassVar[str] = "Machines of Amazon EC2, for provider ec2. Credentials never stand here."

    region: Annotated[
        str | None,
        Key(
            _text(r"[a-z]{2}(-[a-z]+)+-[0-9]", 'a region as AWS writes it, such as "eu-central-1"', 32),
            "Where machines are made.",
            "eu-central-1",
        ),
    ] = None
    image: Annotated[
        str | None,
        Key(
            _text(r"ami-[0-9a-f]{8,17}", 'a machine image, such as "ami-0123456789abcdef0"', 32),
            "The machine image that ships boot from.",
            "ami-0123456789abcdef0",
        ),
    ] = None
    instance_types: Annotated[
        tuple[str, ...] | None,
        Key(
            _names(r"[a-z0-9-]{2,20}\.[a-z0-9-]{2,20}", "instance types", 32),
            "Instance types, the one to be tried first first.",
            ["m6i.2xlarge", "m5.2xlarge"],
        ),
    ] = None
    subnets: Annotated[
        tuple[str, ...] | None,
        Key(
            _names(r"subnet-[0-9a-f]{8,17}", "ids of subnets", 16),
            "Subnets of the ships, best one in each zone. Ships are spread over them.",
            ["subnet-0123456789abcdef0"],
        ),
    ] = None
    security_groups: Annotated[
        tuple[str, ...] | None,
        Key(
            _names(r"sg-[0-9a-f]{8,17}", "ids of security groups", 5),
            "Security groups of the ships.",
            ["sg-0123456789abcdef0"],
        ),
    ] = None
    market: Annotated[
        str,
        Key(
            kinds.choice("on_demand", "spot", "spot_first"),
            "on_demand: machines stay. spot: cheaper, and EC2 may take them back with two minutes' notice. "
            "spot_first: spot, and on demand while EC2 has no spot machine, the account's quota of them is used up or "
            "it lacks their role.",
            "on_demand",
        ),
    ] = "on_demand"
    disk_gib: Annotated[
        int, Key(kinds.whole(8, 16384, unit="GiB"), "Disk of a ship: gp3, encrypted, ended with it.", 50)
    ] = 50
    disk_initialization_mib_s: Annotated[
        int,
        Key(
            _rate(),
            "How fast a new disk is filled from the image, which costs extra; 0: as its blocks are first read.",
            300,
        ),
    ] = 300
    instance_profile: Annotated[
        str | None,
        Key(
            _text(r"[A-Za-z0-9+=,.@_-]{1,128}", "the name of an instance profile", 128),
            "Instance profile of the ships. Best none: a ship needs no rights.",
            "mux-ship",
        ),
    ] = None
    control_host: Annotated[
        str | None,
        Key(
            kinds.host(),
            "Where ships find the mux: its private address. Default: the host of listen.control.",
            "10.0.0.10",
        ),
    ] = None
    endpoint: Annotated[
        str | None,
        Key(
            _text(r"https?://[A-Za-z0-9.:\[\]-]+", "http:// or https://, a host and perhaps a port", 256),
            "Address of the EC2 API, for an endpoint of one's own. Default: the region's.",
            "https://vpce-0123.ec2.eu-central-1.vpce.amazonaws.com",
        ),
    ] = None


MARKETS: dict[str, tuple[bool, ...]] = {"on_demand": (False,), "spot": (True,), "spot_first": (True, False)}
"""Where machines come from by ``market``, True for spot; with several the next is tried where one has none."""
NEEDED: tuple[str, ...] = ("region", "image", "instance_types", "subnets", "security_groups")
"""What must be given for provider ec2."""


def missing(table: Ec2Table) -> list[tuple[str, str]]:
    """Keys that provider ec2 needs and that are not given, each with what it allows."""
    return [
        (entry.name, entry.said.kind.allowed)
        for entry in table.entries()
        if entry.name in NEEDED and not table.value(entry)
    ]
