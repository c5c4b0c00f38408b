"""RunInstances, and what it shares with CreateFleet: what machines are made from, room for them, making them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from tests.fakes.ec2.catalog import ACCOUNT, MachineImage, Subnet, TypeOffer
from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.model import Instance, Principal, Volume
from tests.fakes.ec2.permissions import allow, end_dry_run
from tests.fakes.ec2.tagging import check_tags, tags_for
from tests.fakes.ec2.templates import template_data
from tests.fakes.ec2.views import instance_view
from tests.fakes.ec2.wire import Params

USER_DATA_BYTES_MAX = 16_384  # before base64
INITIALIZATION_RATE = (100, 300)  # MiB/s
DEFAULT_TYPE = "m1.small"


@dataclass(frozen=True)
class Plan:
    """One kind of machine in one place, checked: everything but whether there is room for it."""

    made: Params
    image: MachineImage
    offer: TypeOffer
    subnet: Subnet
    spot: bool
    user_data: bytes
    volumes: tuple[Params, ...]

    @property
    def pool(self) -> tuple[str, str, bool]:
        """Where its capacity comes from."""
        return self.offer.name, self.subnet.zone, self.spot


def run_instances(cloud: Cloud, params: Params, caller: Principal) -> Params:
    """Make up to MaxCount machines, or none if it cannot be MinCount."""
    allow(caller, "ec2:RunInstances")
    least, most = params["MinCount"], params["MaxCount"]
    if not 1 <= least <= most:
        raise ApiError("InvalidParameterValue", f"Invalid value '{least}' for instanceCount. Must be in 1..{most}.")
    made = merged(cloud, params.get("LaunchTemplate"), params)
    plan = planned(cloud, made, caller)
    end_dry_run(params)
    cloud.buckets.take_instances("launch", most, cloud.now)
    room, limit = room_for(cloud, plan, most)
    if room < least:
        assert limit is not None
        raise limit
    instances = launch(cloud, plan, min(most, room), token=params.get("ClientToken", ""))
    return reservation(cloud, instances)


def reservation(cloud: Cloud, instances: list[Instance]) -> Params:
    """The answer for instances of one request, as they are now."""
    return {
        "ReservationId": instances[0].reservation,
        "OwnerId": ACCOUNT,
        "Groups": [],
        "Instances": [instance_view(cloud, instance, instance.state) for instance in instances],
    }


def merged(cloud: Cloud, template: Params | None, params: Params) -> Params:
    """A launch template's data with a request's on top. Tags and devices are merged one by one."""
    made: Params = dict(template_data(cloud, template)) if template else {}
    for name, value in params.items():
        if name in {"LaunchTemplate", "ClientToken", "MinCount", "MaxCount", "DryRun"}:
            continue
        if name == "TagSpecifications":
            made[name] = made.get(name, []) + value  # later ones win
        elif name == "BlockDeviceMappings":
            own = {mapping["DeviceName"] for mapping in value}
            kept = [mapping for mapping in made.get(name, []) if mapping["DeviceName"] not in own]
            made[name] = kept + value
        else:
            made[name] = value
    return made


def planned(cloud: Cloud, made: Params, caller: Principal) -> Plan:
    """Check what a machine is to be made from. Raises what EC2 would say."""
    if "ImageId" not in made:
        raise ApiError("MissingParameter", "The request must contain the parameter ImageId")
    image = cloud.catalog.image(made["ImageId"])
    if image is None:
        raise ApiError("InvalidAMIID.NotFound", f"The image id '[{made['ImageId']}]' does not exist")
    type_name = made.get("InstanceType", DEFAULT_TYPE)
    offer = cloud.catalog.type(type_name)
    if offer is None:
        raise ApiError("InvalidParameterValue", f"Invalid value '{type_name}' for InstanceType.")
    if image.architecture != offer.architecture:
        raise ApiError(
            "InvalidParameterValue",
            f"The architecture '{offer.architecture}' of the specified instance type does not match the architecture "
            f"'{image.architecture}' of the specified AMI.",
        )
    subnet = _subnet(cloud, made)
    if not cloud.catalog.offered(offer, subnet.zone):
        raise ApiError(
            "Unsupported",
            f"Your requested instance type ({offer.name}) is not supported in your requested Availability Zone "
            f"({subnet.zone}).",
        )
    _check_metadata_options(made.get("MetadataOptions", {}))
    check_tags(made.get("TagSpecifications", []), {"instance", "volume", "network-interface", "spot-instances-request"})
    if made.get("TagSpecifications"):
        allow(caller, "ec2:CreateTags")
    if made.get("IamInstanceProfile"):
        allow(caller, "iam:PassRole")
    market = made.get("InstanceMarketOptions", {})
    options = market.get("SpotOptions", {})
    spot = market.get("MarketType") == "spot"
    if spot and not cloud.settings.spot_role:
        raise ApiError(
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.",
        )
    if spot:
        check_spot(cloud, offer, options.get("MaxPrice"))
        if options.get("InstanceInterruptionBehavior", "terminate") != "terminate":
            raise ApiError("InvalidParameterCombination", "A one-time request can be terminated only.")
    return Plan(made, image, offer, subnet, spot, decoded_user_data(made.get("UserData")), _volumes(image, made))


def check_spot(cloud: Cloud, offer: TypeOffer, max_price: str | None) -> None:
    """Refuse a price below the market's."""
    price = offer.price * offer.spot_share
    if max_price is not None and float(max_price) < price:
        raise ApiError(
            "SpotMaxPriceTooLow",
            f"Your Spot request price of {max_price} is lower than the minimum required Spot request fulfillment "
            f"price of {price:.4f}.",
        )


def decoded_user_data(encoded: str | None) -> bytes:
    """User-data before base64. Raises for what EC2 would not take."""
    try:
        data = base64.b64decode(encoded or "", validate=True)
    except binascii.Error:
        raise ApiError("InvalidParameterValue", "Invalid BASE64 encoding of user data.") from None
    if len(data) > USER_DATA_BYTES_MAX:
        raise ApiError("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES_MAX} bytes")
    return data


def _subnet(cloud: Cloud, made: Params) -> Subnet:
    interfaces = made.get("NetworkInterfaces", [])
    if interfaces and ("SubnetId" in made or "SecurityGroupIds" in made):
        raise ApiError(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID or security groups may not be specified on the same "
            "request",
        )
    groups = made.get("SecurityGroupIds", [])
    subnet_id = made.get("SubnetId")
    if interfaces:
        groups = interfaces[0].get("Groups", [])
        subnet_id = interfaces[0].get("SubnetId")
    for group in groups:
        if cloud.catalog.group(group) is None:
            raise ApiError("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
    if subnet_id is None:
        raise ApiError("MissingInput", "No subnets found for the default VPC. Please specify a subnet.")
    subnet = cloud.catalog.subnet(subnet_id)
    if subnet is None:
        raise ApiError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
    return subnet


def _check_metadata_options(options: Params) -> None:
    hops = options.get("HttpPutResponseHopLimit", 1)
    if not 1 <= hops <= 64:
        raise ApiError(
            "InvalidParameterValue", f"Invalid value '{hops}' for httpPutResponseHopLimit. Must be in 1..64."
        )


def _volumes(image: MachineImage, made: Params) -> tuple[Params, ...]:
    """The volumes of a machine: the image's root with what the request says about it, and what comes beside it."""
    devices: dict[str, Params] = {
        image.root_device: {
            "VolumeSize": image.root_gib,
            "VolumeType": "gp2",
            "SnapshotId": image.snapshot,
            "DeleteOnTermination": True,
        }
    }
    for mapping in made.get("BlockDeviceMappings", []):
        ebs = mapping.get("Ebs", {})
        devices[mapping["DeviceName"]] = devices.get(mapping["DeviceName"], {}) | ebs
    for device, ebs in devices.items():
        least = image.root_gib if ebs.get("SnapshotId") == image.snapshot else 1
        if ebs.get("VolumeSize", 0) < least:
            raise ApiError(
                "InvalidBlockDeviceMapping",
                f"Volume of size {ebs.get('VolumeSize', 0)}GB is smaller than snapshot '{image.snapshot}', expect "
                f"size >= {least}GB",
            )
        rate = ebs.get("VolumeInitializationRate")
        if rate is not None and not INITIALIZATION_RATE[0] <= rate <= INITIALIZATION_RATE[1]:
            raise ApiError("InvalidParameterValue", f"Invalid value '{rate}' for VolumeInitializationRate.")
        if rate is not None and "SnapshotId" not in ebs:
            raise ApiError("InvalidParameterCombination", f"VolumeInitializationRate of {device} needs a snapshot.")
    return tuple({"Device": device, **ebs} for device, ebs in devices.items())


def room_for(cloud: Cloud, plan: Plan, wanted: int) -> tuple[int, ApiError | None]:
    """How many such machines there is room for, and what says so if it is fewer than wanted."""
    limits: list[tuple[int, ApiError]] = []
    quotas = cloud.settings.quotas
    quota = (quotas.spot_vcpu if plan.spot else quotas.on_demand_vcpu) if plan.offer.standard else 0
    left = quota - (cloud.vcpu_in_use(spot=plan.spot) if plan.offer.standard else 0)
    if plan.spot:
        over_quota = ApiError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    else:
        over_quota = ApiError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {quota} allows for the instance "
            "bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
        )
    limits.append((max(0, left) // plan.offer.vcpu, over_quota))
    addresses = ApiError(
        "InsufficientFreeAddressesInSubnet",
        f"There are not enough free addresses in subnet '{plan.subnet.id}' to satisfy the requested number of "
        "instances.",
    )
    limits.append((cloud.free_addresses(plan.subnet.id), addresses))
    in_pool = cloud.pool_left(plan.pool)
    if in_pool is not None:
        limits.append((max(0, in_pool), no_capacity(plan.offer.name, plan.subnet.zone)))
    least, why = min(limits, key=lambda limit: limit[0])
    return (wanted, None) if least >= wanted else (least, why)


def no_capacity(type_name: str, zone: str) -> ApiError:
    """The pool is empty."""
    return ApiError(
        "InsufficientInstanceCapacity",
        f"We currently do not have sufficient {type_name} capacity in the Availability Zone you requested ({zone}). "
        "Our system will be working on provisioning additional capacity.",
    )


def launch(
    cloud: Cloud, plan: Plan, count: int, *, token: str = "", tags: dict[str, str] | None = None
) -> list[Instance]:
    """Make machines. There must be room."""
    reservation_id = cloud.new_id("r")
    return [_launch_one(cloud, plan, reservation_id, token, tags or {}) for _ in range(count)]


def _launch_one(cloud: Cloud, plan: Plan, reservation_id: str, token: str, tags: dict[str, str]) -> Instance:
    settings, dice, made = cloud.settings, cloud.dice, plan.made
    number = cloud.next_number()
    specifications = made.get("TagSpecifications", [])
    interface = (made.get("NetworkInterfaces") or [{}])[0]
    public = interface.get("AssociatePublicIpAddress", plan.subnet.public_by_default)
    instance = Instance(
        id=cloud.new_id("i"),
        number=number,
        reservation=reservation_id,
        made=made,
        offer=plan.offer,
        subnet=plan.subnet,
        address=cloud.take_address(plan.subnet.id),
        spot=plan.spot,
        token=token,
        launched_at=cloud.now,
        listed_from=cloud.now + dice.between(*settings.unlisted_s, "unlisted", number),
        lag=dice.between(*settings.lag_s, "lag", number),
        tags=tags_for(specifications, "instance") | tags,
        user_data=plan.user_data,
        public_address=f"198.51.100.{number % 250 + 1}" if public else None,
        spot_request=cloud.new_id("sir", 8) if plan.spot else None,
    )
    volumes = [_volume(cloud, instance, ebs, tags_for(specifications, "volume")) for ebs in plan.volumes]
    cloud.add(instance, volumes, refused=_storage_refusal(cloud, volumes))
    return instance


def _volume(cloud: Cloud, instance: Instance, ebs: Params, tags: dict[str, str]) -> Volume:
    def get(name: str, default: Any) -> Any:
        return ebs.get(name, default)

    return Volume(
        id=cloud.new_id("vol"),
        number=cloud.next_number(),
        instance=instance.id,
        device=ebs["Device"],
        zone=instance.subnet.zone,
        size_gib=ebs["VolumeSize"],
        kind=get("VolumeType", "gp2"),
        encrypted=get("Encrypted", False),
        snapshot=get("SnapshotId", ""),
        initialization_rate=get("VolumeInitializationRate", None),
        delete_on_termination=get("DeleteOnTermination", True),
        created_at=cloud.now,
        tags=tags,
    )


def _storage_refusal(cloud: Cloud, volumes: list[Volume]) -> str:
    """Storage is checked after the answer: the machine then ends at once, and says why."""
    quotas = cloud.settings.quotas
    for kind, tib in (("gp3", quotas.gp3_tib), ("gp2", quotas.gp2_tib)):
        new = sum(volume.size_gib for volume in volumes if volume.kind == kind)
        if new and cloud.storage_gib(kind) + new > tib * 1024:
            return (
                "Client.VolumeLimitExceeded: Volume limit exceeded. You have exceeded the maximum storage of "
                f"{tib:g} TiB for {kind} volumes in this region."
            )
    return ""
