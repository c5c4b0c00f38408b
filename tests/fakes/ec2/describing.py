"""Listings of instances, of their status, and of volumes: late, filtered and paged as EC2's are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.fakes.ec2.catalog import ACCOUNT, VPC
from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.listing import matching, page
from tests.fakes.ec2.model import Instance, Principal, State, Volume
from tests.fakes.ec2.views import groups_of, instance_view, volume_view
from tests.fakes.ec2.wire import Params

_CHECKS_S = 60.0  # how long the status checks of a booted machine say "initializing"


def describe_instances(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Instances by id or by filter, grouped by the request that made them."""
    shown, token = _chosen(cloud, params)
    reservations: dict[str, Params] = {}
    for instance in shown:
        reservation = reservations.setdefault(
            instance.reservation,
            {"ReservationId": instance.reservation, "OwnerId": ACCOUNT, "Groups": [], "Instances": []},
        )
        reservation["Instances"].append(instance_view(cloud, instance, cloud.listed_state(instance)))
    return {"Reservations": list(reservations.values()), "NextToken": token}


def describe_instance_status(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Checks and scheduled events; of running instances, unless all are asked for."""
    shown, token = _chosen(cloud, params, only_running=not params.get("IncludeAllInstances", False))
    return {"InstanceStatuses": [_status(cloud, instance) for instance in shown], "NextToken": token}


def _chosen(cloud: Cloud, params: Params, *, only_running: bool = False) -> tuple[Sequence[Instance], str | None]:
    ids = params.get("InstanceIds")
    if ids and "MaxResults" in params:
        raise ApiError(
            "InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults"
        )
    everything = list(filter(cloud.listed, cloud.instances.values()))
    chosen = [cloud.find(one) for one in ids] if ids else everything
    if only_running:
        chosen = [instance for instance in chosen if cloud.listed_state(instance) is State.RUNNING]
    chosen = matching(chosen, params, lambda instance: _facts(cloud, instance), lambda instance: instance.tags)
    return page(chosen, params, cloud.settings.page_size, lambda instance: instance.number)


def _facts(cloud: Cloud, instance: Instance) -> Mapping[str, Sequence[str]]:
    state = cloud.listed_state(instance)
    there = state is not State.TERMINATED
    return {
        "instance-id": [instance.id],
        "instance-state-name": [state.word],
        "instance-state-code": [str(state.code)],
        "instance-type": [instance.offer.name],
        "instance-lifecycle": ["spot"] if instance.spot else [],
        "availability-zone": [instance.subnet.zone],
        "client-token": [instance.token],
        "image-id": [instance.made["ImageId"]],
        "private-ip-address": [instance.address] if there else [],
        "subnet-id": [instance.subnet.id] if there else [],
        "vpc-id": [VPC] if there else [],
        "instance.group-id": groups_of(instance) if there else [],
        "spot-instance-request-id": [instance.spot_request] if instance.spot_request else [],
        "event.code": [event.code for event in instance.maintenance],
    }


def _status(cloud: Cloud, instance: Instance) -> Params:
    state = cloud.listed_state(instance)
    check = "not-applicable"
    if state is State.RUNNING:
        check = "initializing" if cloud.now - instance.history[-1][0] < _CHECKS_S else "ok"
    return {
        "InstanceId": instance.id,
        "AvailabilityZone": instance.subnet.zone,
        "InstanceState": {"Name": state.word, "Code": state.code},
        "InstanceStatus": {"Status": check},
        "SystemStatus": {"Status": check},
        "Events": [
            {
                "InstanceEventId": event.id,
                "Code": event.code,
                "Description": event.description,
                "NotBefore": cloud.date(event.not_before),
            }
            for event in instance.maintenance
        ],
    }


def describe_volumes(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Volumes by id or by filter."""
    chosen = list(cloud.volumes.values())
    if "VolumeIds" in params:
        missing = [name for name in params["VolumeIds"] if name not in cloud.volumes]
        if missing:
            raise ApiError("InvalidVolume.NotFound", f"The volume '{missing[0]}' does not exist.")
        chosen = [cloud.volumes[name] for name in params["VolumeIds"]]
    chosen = matching(chosen, params, _volume_facts, lambda volume: volume.tags)
    shown, token = page(chosen, params, cloud.settings.page_size, lambda volume: volume.number)
    return {"Volumes": [volume_view(cloud, volume) for volume in shown], "NextToken": token}


def _volume_facts(volume: Volume) -> Mapping[str, Sequence[str]]:
    return {
        "volume-id": [volume.id],
        "volume-type": [volume.kind],
        "status": ["available" if volume.available else "in-use"],
        "encrypted": [str(volume.encrypted).lower()],
        "availability-zone": [volume.zone],
        "attachment.instance-id": [] if volume.available else [volume.instance],
    }
