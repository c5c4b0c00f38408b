"""Listings of what there is to launch from and into: subnets, security groups, types, offerings, images, prices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from tests.fakes.ec2.catalog import ACCOUNT, VPC, IngressRule, MachineImage, SecurityGroup, Subnet, TypeOffer
from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError, not_in_fake
from tests.fakes.ec2.listing import matching, page
from tests.fakes.ec2.model import Principal
from tests.fakes.ec2.tagging import as_list
from tests.fakes.ec2.wire import Params

_T = TypeVar("_T")


def _by_id(ids: Iterable[str], find: Callable[[str], _T | None], code: str, message: str) -> list[_T]:
    found = []
    for name in ids:
        thing = find(name)
        if thing is None:
            raise ApiError(code, message.format(name))
        found.append(thing)
    return found


def describe_subnets(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Subnets with the addresses that they have left."""
    catalog = cloud.catalog
    chosen = list(catalog.subnets)
    if "SubnetIds" in params:
        message = "The subnet ID '{}' does not exist"
        chosen = _by_id(params["SubnetIds"], catalog.subnet, "InvalidSubnetID.NotFound", message)
    chosen = matching(
        chosen,
        params,
        lambda subnet: {"subnet-id": [subnet.id], "vpc-id": [VPC], "availability-zone": [subnet.zone]},
        lambda subnet: subnet.tags,
    )
    shown, token = page(chosen, params, cloud.settings.page_size, catalog.subnets.index)
    return {"Subnets": [_subnet(cloud, subnet) for subnet in shown], "NextToken": token}


def _subnet(cloud: Cloud, subnet: Subnet) -> Params:
    return {
        "SubnetId": subnet.id,
        "VpcId": VPC,
        "State": "available",
        "CidrBlock": subnet.cidr,
        "AvailabilityZone": subnet.zone,
        "AvailableIpAddressCount": cloud.free_addresses(subnet.id),
        "MapPublicIpOnLaunch": subnet.public_by_default,
        "OwnerId": ACCOUNT,
        "Tags": as_list(dict(subnet.tags)),
    }


def describe_security_groups(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Security groups with what they let in."""
    catalog = cloud.catalog
    chosen = list(catalog.groups)
    if "GroupIds" in params:
        message = "The security group '{}' does not exist"
        chosen = _by_id(params["GroupIds"], catalog.group, "InvalidGroup.NotFound", message)
    facts = matching(
        chosen, params, lambda group: {"group-id": [group.id], "group-name": [group.name], "vpc-id": [VPC]}
    )
    shown, token = page(facts, params, cloud.settings.page_size, catalog.groups.index)
    return {"SecurityGroups": [_group(group) for group in shown], "NextToken": token}


def _group(group: SecurityGroup) -> Params:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.name,
        "VpcId": VPC,
        "OwnerId": ACCOUNT,
        "IpPermissions": [_rule(rule) for rule in group.ingress],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }


def _rule(rule: IngressRule) -> Params:
    return {
        "IpProtocol": "tcp",
        "FromPort": rule.first_port,
        "ToPort": rule.last_port,
        "UserIdGroupPairs": [{"GroupId": rule.from_group, "UserId": ACCOUNT}] if rule.from_group else [],
        "IpRanges": [{"CidrIp": rule.from_cidr}] if rule.from_cidr else [],
    }


def describe_instance_types(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Types with their vCPUs and memory."""
    chosen = list(cloud.catalog.types)
    if "InstanceTypes" in params:
        missing = [name for name in params["InstanceTypes"] if cloud.catalog.type(name) is None]
        if missing:
            raise ApiError(
                "InvalidInstanceType", f"The following supplied instance types do not exist: [{', '.join(missing)}]"
            )
        chosen = [offer for offer in chosen if offer.name in params["InstanceTypes"]]
    chosen = matching(chosen, params, lambda offer: {"instance-type": [offer.name]})
    shown, token = page(chosen, params, 100, cloud.catalog.types.index)
    return {"InstanceTypes": [_type(offer) for offer in shown], "NextToken": token}


def _type(offer: TypeOffer) -> Params:
    return {
        "InstanceType": offer.name,
        "CurrentGeneration": True,
        "SupportedUsageClasses": ["on-demand", "spot"],
        "SupportedRootDeviceTypes": ["ebs"],
        "ProcessorInfo": {"SupportedArchitectures": [offer.architecture]},
        "VCpuInfo": {"DefaultVCpus": offer.vcpu},
        "MemoryInfo": {"SizeInMiB": offer.memory_mib},
        "HibernationSupported": False,
        "BurstablePerformanceSupported": offer.name.startswith("t"),
    }


def describe_instance_type_offerings(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Which zone has which type."""
    if params.get("LocationType", "region") != "availability-zone":
        raise not_in_fake("A LocationType other than availability-zone")
    catalog = cloud.catalog
    pairs = [(offer.name, zone) for offer in catalog.types for zone in catalog.zones if catalog.offered(offer, zone)]
    chosen = matching(pairs, params, lambda pair: {"instance-type": [pair[0]], "location": [pair[1]]})
    shown, token = page(chosen, params, cloud.settings.page_size, pairs.index)
    offerings = [{"InstanceType": name, "LocationType": "availability-zone", "Location": zone} for name, zone in shown]
    return {"InstanceTypeOfferings": offerings, "NextToken": token}


def describe_images(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Machine images."""
    catalog = cloud.catalog
    chosen = list(catalog.images)
    if "ImageIds" in params:
        message = "The image id '[{}]' does not exist"
        chosen = _by_id(params["ImageIds"], catalog.image, "InvalidAMIID.NotFound", message)
    chosen = matching(
        chosen, params, lambda image: {"image-id": [image.id], "name": [image.name], "state": [image.state]}
    )
    shown, token = page(chosen, params, cloud.settings.page_size, catalog.images.index)
    return {"Images": [_image(image) for image in shown], "NextToken": token}


def _image(image: MachineImage) -> Params:
    return {
        "ImageId": image.id,
        "Name": image.name,
        "State": image.state,
        "OwnerId": ACCOUNT,
        "Architecture": image.architecture,
        "RootDeviceType": "ebs",
        "RootDeviceName": image.root_device,
        "ImdsSupport": "v2.0" if image.imds_v2 else None,
        "BlockDeviceMappings": [
            {
                "DeviceName": image.root_device,
                "Ebs": {
                    "SnapshotId": image.snapshot,
                    "VolumeSize": image.root_gib,
                    "VolumeType": "gp2",
                    "DeleteOnTermination": True,
                    "Encrypted": False,
                },
            }
        ],
    }


def describe_spot_price_history(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """The spot price of every type and zone: one entry each, as of the beginning."""
    catalog = cloud.catalog
    pairs = [
        (offer, zone)
        for offer in catalog.types
        for zone in catalog.zones
        if catalog.offered(offer, zone)
        and offer.name in params.get("InstanceTypes", [offer.name])
        and zone == params.get("AvailabilityZone", zone)
    ]
    chosen = matching(pairs, params, lambda pair: {"instance-type": [pair[0].name], "availability-zone": [pair[1]]})
    shown, token = page(chosen, params, cloud.settings.page_size, pairs.index)
    prices = [
        {
            "InstanceType": offer.name,
            "AvailabilityZone": zone,
            "ProductDescription": "Linux/UNIX",
            "SpotPrice": f"{offer.price * offer.spot_share:.6f}",
            "Timestamp": cloud.date(0),
        }
        for offer, zone in shown
    ]
    return {"SpotPriceHistory": prices, "NextToken": token or ""}
