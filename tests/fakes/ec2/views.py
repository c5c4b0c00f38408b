"""How an instance and its volumes look in an answer."""

from __future__ import annotations

from tests.fakes.ec2.catalog import VPC
from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.model import Instance, State, Volume
from tests.fakes.ec2.tagging import as_list
from tests.fakes.ec2.wire import Params

_GONE = State.TERMINATED


def instance_view(cloud: Cloud, instance: Instance, state: State) -> Params:
    """An instance in that state. A terminated one has lost its addresses, its network and its volumes."""
    made = instance.made
    view: Params = {
        "InstanceId": instance.id,
        "ImageId": made["ImageId"],
        "State": {"Name": state.word, "Code": state.code},
        "InstanceType": instance.offer.name,
        "Architecture": instance.offer.architecture,
        "LaunchTime": cloud.date(instance.launched_at),
        "Placement": {"AvailabilityZone": instance.subnet.zone, "Tenancy": "default"},
        "AmiLaunchIndex": 0,
        "ClientToken": instance.token,
        "EbsOptimized": made.get("EbsOptimized", False),
        "RootDeviceType": "ebs",
        "Tags": as_list(instance.tags),
        "InstanceLifecycle": "spot" if instance.spot else None,
        "SpotInstanceRequestId": instance.spot_request,
        "MetadataOptions": {
            "State": "applied",
            "HttpTokens": instance.option("MetadataOptions", "HttpTokens", "optional"),
            "HttpPutResponseHopLimit": instance.option("MetadataOptions", "HttpPutResponseHopLimit", 1),
            "HttpEndpoint": instance.option("MetadataOptions", "HttpEndpoint", "enabled"),
            "InstanceMetadataTags": instance.option("MetadataOptions", "InstanceMetadataTags", "disabled"),
        },
    }
    if instance.reason and state in (State.STOPPING, State.STOPPED, State.SHUTTING_DOWN, State.TERMINATED):
        code, message = instance.reason
        view["StateReason"] = {"Code": code, "Message": message}
        view["StateTransitionReason"] = message.partition(": ")[2]
    if state is not _GONE:
        view |= {
            "SubnetId": instance.subnet.id,
            "VpcId": VPC,
            "PrivateIpAddress": instance.address,
            "PublicIpAddress": instance.public_address,
            "SecurityGroups": [_group(cloud, group) for group in groups_of(instance)],
            "RootDeviceName": _root(cloud, instance),
            "BlockDeviceMappings": [_mapping(volume) for volume in instance.volumes],
        }
    return view


def groups_of(instance: Instance) -> list[str]:
    """The security groups of an instance."""
    interfaces = instance.made.get("NetworkInterfaces") or [{}]
    groups: list[str] = instance.made.get("SecurityGroupIds") or interfaces[0].get("Groups", [])
    return groups


def _group(cloud: Cloud, group_id: str) -> Params:
    group = cloud.catalog.group(group_id)
    return {"GroupId": group_id, "GroupName": group.name if group else group_id}


def _root(cloud: Cloud, instance: Instance) -> str | None:
    image = cloud.catalog.image(instance.made["ImageId"])
    return image.root_device if image else None


def _mapping(volume: Volume) -> Params:
    return {
        "DeviceName": volume.device,
        "Ebs": {
            "VolumeId": volume.id,
            "Status": "attached",
            "DeleteOnTermination": volume.delete_on_termination,
        },
    }


def volume_view(cloud: Cloud, volume: Volume) -> Params:
    """A volume."""
    attached = {
        "VolumeId": volume.id,
        "InstanceId": volume.instance,
        "Device": volume.device,
        "State": "attached",
        "DeleteOnTermination": volume.delete_on_termination,
    }
    return {
        "VolumeId": volume.id,
        "Size": volume.size_gib,
        "VolumeType": volume.kind,
        "Encrypted": volume.encrypted,
        "SnapshotId": volume.snapshot,
        "VolumeInitializationRate": volume.initialization_rate,
        "AvailabilityZone": volume.zone,
        "State": "available" if volume.available else "in-use",
        "CreateTime": cloud.date(volume.created_at),
        "Attachments": [] if volume.available else [attached],
        "Tags": as_list(volume.tags),
    }
