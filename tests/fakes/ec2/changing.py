"""Start, stop and end instances; cancel spot requests. Each call does all of what it names, or nothing."""

from __future__ import annotations

from collections.abc import Callable

from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.launching import no_capacity
from tests.fakes.ec2.model import Instance, Principal, State
from tests.fakes.ec2.permissions import end_dry_run
from tests.fakes.ec2.wire import Params

_BY_USER = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")


def start_instances(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Start stopped instances; running ones are fine."""
    chosen = _chosen(cloud, params)
    cloud.buckets.take_instances("launch", len(chosen), cloud.now)
    _check_states(chosen, {State.STOPPED, State.PENDING, State.RUNNING}, "started")
    stopped = [instance for instance in chosen if instance.state is State.STOPPED]
    for instance in stopped:
        left = cloud.pool_left((instance.offer.name, instance.subnet.zone, instance.spot))
        if left is not None and left < 1:
            raise no_capacity(instance.offer.name, instance.subnet.zone)
    quota = cloud.settings.quotas.on_demand_vcpu
    wanted = sum(instance.offer.vcpu for instance in stopped if instance.offer.standard)
    if wanted and cloud.vcpu_in_use(spot=False) + wanted > quota:
        raise ApiError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {quota} allows.",
        )
    return {"StartingInstances": _changed(chosen, stopped, cloud.start)}


def stop_instances(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Stop running instances; stopped ones are fine, one-time spot instances cannot be."""
    chosen = _chosen(cloud, params)
    cloud.buckets.take_instances("stop", len(chosen), cloud.now)
    for instance in chosen:
        if instance.spot:
            raise ApiError(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot "
                "Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )
    _check_states(chosen, {State.RUNNING, State.STOPPING, State.STOPPED}, "stopped")
    running = [instance for instance in chosen if instance.state is State.RUNNING]
    return {"StoppingInstances": _changed(chosen, running, lambda instance: cloud.stop(instance, _BY_USER))}


def terminate_instances(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """End instances; ended ones are fine. None is ended while one of them is protected (in one zone)."""
    chosen = _chosen(cloud, params)
    for instance in chosen:
        if instance.protected:
            raise ApiError(
                "OperationNotPermitted",
                f"The instance '{instance.id}' may not be terminated. Modify its 'disableApiTermination' instance "
                "attribute and try again.",
            )
    cloud.buckets.take_instances("terminate", len(chosen), cloud.now)
    ending = _changed(chosen, chosen, lambda instance: cloud.terminate(instance, _BY_USER))
    return {"TerminatingInstances": ending}


def delete_volume(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Delete a disk that no machine has."""
    name = params["VolumeId"]
    if name not in cloud.volumes:
        raise ApiError("InvalidVolume.NotFound", f"The volume '{name}' does not exist.")
    if not cloud.volumes[name].available:
        raise ApiError("VolumeInUse", f"Volume {name} is currently attached to an instance.")
    del cloud.volumes[name]
    return {}


def cancel_spot_instance_requests(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Cancel requests; their instances live on."""
    known = {instance.spot_request for instance in cloud.instances.values()}
    for one in params["SpotInstanceRequestIds"]:
        if one not in known:
            raise ApiError(
                "InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{one}' does not exist"
            )
    cancelled = [{"SpotInstanceRequestId": one, "State": "cancelled"} for one in params["SpotInstanceRequestIds"]]
    return {"CancelledSpotInstanceRequests": cancelled}


def _chosen(cloud: Cloud, params: Params) -> list[Instance]:
    """The instances of a request; a dry run ends here. EC2 does not document what a dry run says of an instance that
    does not exist: here it is the stricter ``InvalidInstanceID.NotFound``.
    """
    chosen = [cloud.find(one) for one in dict.fromkeys(params["InstanceIds"])]
    end_dry_run(params)
    return chosen


def _check_states(chosen: list[Instance], allowed: set[State], done: str) -> None:
    for instance in chosen:
        if instance.state not in allowed:
            raise ApiError(
                "IncorrectInstanceState",
                f"The instance '{instance.id}' is not in a state from which it can be {done}.",
            )


def _changed(chosen: list[Instance], affected: list[Instance], act: Callable[[Instance], None]) -> list[Params]:
    before = {instance.id: instance.state for instance in chosen}
    for instance in affected:
        act(instance)
    return [
        {
            "InstanceId": instance.id,
            "PreviousState": {"Name": before[instance.id].word, "Code": before[instance.id].code},
            "CurrentState": {"Name": instance.state.word, "Code": instance.state.code},
        }
        for instance in chosen
    ]
