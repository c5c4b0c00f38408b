"""What EC2 is asked for, as pure data: tags, tokens, the launch template's version of a ship, the fleet of one machine.

Rules: what is asked for twice under one client token is the same to the letter. Tags and client tokens hold nothing
secret; user-data holds the ship's join token and no other secret. Source: Amazon EC2 API reference, CreateFleet,
CreateLaunchTemplateVersion, RunInstances.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from mux.core.model import ShipId
from mux.providers.ec2.settings import Ec2Settings

TAG_EVENT = "mux:event"
TAG_STORE = "mux:store"
TAG_SHIP = "mux:ship"
USER_DATA_BYTES_MAX = 16 * 1024
"""Of user-data before base64 (Amazon EC2 user guide, "Run commands at launch")."""

Pool = tuple[str, str]
"""An instance type and a subnet."""
Request = dict[str, Any]


def token(settings: Ec2Settings, *parts: str) -> str:
    """A client token: at most 64 ASCII characters, the same for the same parts of the same store's event."""
    text = "\0".join((settings.store, settings.event, *parts))
    return f"mux-{sha256(text.encode()).hexdigest()[:56]}"


def template_name(settings: Ec2Settings) -> str:
    """The launch template of an event: 3 to 128 characters; an event's name fits its alphabet."""
    return f"mux-{settings.event}-{settings.store}"


def tags(settings: Ec2Settings, ship: ShipId | None = None) -> list[dict[str, str]]:
    """What a ship's machine and disk are found by; without ``ship``, what the event's other things are."""
    found = {TAG_EVENT: settings.event, TAG_STORE: settings.store}
    if ship is not None:
        found |= {TAG_SHIP: ship, "Name": f"{settings.event} {ship}"}
    return [{"Key": key, "Value": value} for key, value in found.items()]


def pools(settings: Ec2Settings, ship: ShipId) -> list[Pool]:
    """Where to try, in order: type by type, and for each type every subnet, beginning at another one for each ship."""
    first = int(sha256(ship.encode()).hexdigest(), 16) % len(settings.subnets)
    subnets = settings.subnets[first:] + settings.subnets[:first]
    return [(kind, subnet) for kind in settings.instance_types for subnet in subnets]


def of_one_fleet(where: Sequence[Pool], zones: Mapping[str, str]) -> tuple[list[Pool], list[Pool]]:
    """The pools that one fleet may be asked for, and those that another one has to be.

    EC2 refuses a fleet with several subnets of one zone (EC2 user guide, "EC2 Fleet limitations"): of each zone, the
    subnet that comes first counts.

    Args:
        where: pools, in order.
        zones: of each subnet; one that is not there is taken for the only one of its zone.
    """
    chosen: dict[str, str] = {}
    for _, subnet in where:
        chosen.setdefault(zones.get(subnet, subnet), subnet)
    kept = set(chosen.values())
    return [pool for pool in where if pool[1] in kept], [pool for pool in where if pool[1] not in kept]


def machine(settings: Ec2Settings, user_data: bytes, root_device: str) -> Request:
    """What a ship's machine is, as RunInstances and launch templates both take it; where it is comes beside it.

    Args:
        settings: what machines are.
        user_data: at most `USER_DATA_BYTES_MAX` bytes.
        root_device: name of the machine image's root device.
    """
    disk: Request = {
        "VolumeSize": settings.disk_gib,
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    if settings.disk_initialization_mib_s:
        disk["VolumeInitializationRate"] = settings.disk_initialization_mib_s
    request: Request = {
        "ImageId": settings.image,
        "UserData": user_data,
        "BlockDeviceMappings": [{"DeviceName": root_device, "Ebs": disk}],
        # Explicit, since some images say otherwise: a workspace must not reach the metadata service.
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        # A ship that shuts itself down is over: parking is done from outside.
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    if settings.instance_profile:
        request["IamInstanceProfile"] = {"Name": settings.instance_profile}
    return request


def interface(settings: Ec2Settings, subnet: str = "") -> Request:
    """The machine's one network interface: no public address, whatever the subnet gives by default."""
    request: Request = {
        "DeviceIndex": 0,
        "AssociatePublicIpAddress": False,
        "DeleteOnTermination": True,
        "Groups": list(settings.security_groups),
    }
    return request | ({"SubnetId": subnet} if subnet else {})


def template(settings: Ec2Settings) -> Request:
    """CreateLaunchTemplate: the event's template, whose versions are ships."""
    return {
        "LaunchTemplateName": template_name(settings),
        "ClientToken": token(settings, "template"),
        "LaunchTemplateData": {"ImageId": settings.image},
        "TagSpecifications": [{"ResourceType": "launch-template", "Tags": tags(settings)}],
    }


def version(settings: Ec2Settings, ship: ShipId, data: Request) -> Request:
    """CreateLaunchTemplateVersion: a ship's machine. Only a template can hold the user-data that a fleet launches with.

    Args:
        settings: what machines are.
        ship: whose machine.
        data: see `machine`.
    """
    marked = [{"ResourceType": kind, "Tags": tags(settings, ship)} for kind in ("instance", "volume")]
    return {
        "LaunchTemplateName": template_name(settings),
        "ClientToken": token(settings, "version", ship, _digest(data)),
        "VersionDescription": ship,
        "LaunchTemplateData": data
        | {
            # botocore encodes it for RunInstances alone.
            "UserData": base64.b64encode(data["UserData"]).decode(),
            "NetworkInterfaces": [interface(settings)],
            "TagSpecifications": marked,
        },
    }


def fleet(
    settings: Ec2Settings, ship: ShipId, number: int, attempt: int, where: Sequence[Pool], *, spot: bool
) -> Request:
    """CreateFleet: one machine, at once, in the first pool that has one.

    Args:
        settings: what machines are.
        ship: whose machine.
        number: of the ship's version of the template.
        attempt: tries of this ship that EC2 has answered with a refusal.
        where: pools, in order, of one subnet in each zone: see `of_one_fleet`.
        spot: EC2 may take the machine back.
    """
    options: Request = (
        {
            "SpotOptions": {
                "AllocationStrategy": "capacity-optimized-prioritized",
                "InstanceInterruptionBehavior": "terminate",
            }
        }
        if spot
        else {"OnDemandOptions": {"AllocationStrategy": "prioritized"}}
    )
    overrides = [
        {"InstanceType": kind, "SubnetId": subnet, "Priority": float(priority)}
        for priority, (kind, subnet) in enumerate(where)
    ]
    specification = {"LaunchTemplateName": template_name(settings), "Version": str(number)}
    return {
        "Type": "instant",
        "ClientToken": token(settings, "fleet", ship, str(attempt)),
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": specification, "Overrides": overrides}],
        "TargetCapacitySpecification": {
            "TotalTargetCapacity": 1,
            "DefaultTargetCapacityType": "spot" if spot else "on-demand",
        },
        "TagSpecifications": [
            {"ResourceType": "fleet", "Tags": tags(settings, ship)},
            {"ResourceType": "instance", "Tags": tags(settings, ship)},
        ],
        **options,
    }


def runs(settings: Ec2Settings, ship: ShipId, data: Request, attempt: int, *, spot: bool) -> Iterator[Request]:
    """RunInstances, pool after pool: for accounts and endpoints without CreateFleet."""
    marked = [{"ResourceType": kind, "Tags": tags(settings, ship)} for kind in ("instance", "volume")]
    options: Request = (
        {
            "InstanceMarketOptions": {
                "MarketType": "spot",
                "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
            }
        }
        if spot
        else {}
    )
    for kind, subnet in pools(settings, ship):
        yield {
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceType": kind,
            "NetworkInterfaces": [interface(settings, subnet)],
            "TagSpecifications": marked,
            "ClientToken": token(settings, "run", ship, str(attempt), kind, subnet),
            **data,
            **options,
        }


def _digest(data: Mapping[str, Any]) -> str:
    """Of what a version holds: after an upgrade of the mux the same ship's version may be another."""
    return sha256(repr(sorted(data.items())).encode()).hexdigest()
