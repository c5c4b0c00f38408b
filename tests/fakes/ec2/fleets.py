"""CreateFleet of type ``instant``: one try over many pools, with an error for each pool that gave less than was asked.

As observed of the real one: pools of a type that the zone does not have come back as ``InvalidFleetConfiguration``;
no more than three pools are tried, and the rest come back as ``UnfulfillableCapacity``; a permission that is missing
for the launch itself is such an error too, in an answer with status 200. Several subnets of one zone, or the same pool
twice, are refused as a whole (EC2 user guide, "EC2 Fleet limitations"; code and words as users report them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError, not_in_fake
from tests.fakes.ec2.launching import Plan, launch, merged, planned, room_for
from tests.fakes.ec2.model import Instance, Principal
from tests.fakes.ec2.permissions import allow, end_dry_run
from tests.fakes.ec2.tagging import check_tags
from tests.fakes.ec2.templates import find_template
from tests.fakes.ec2.wire import Params

FLEET_TAG = "aws:ec2:fleet-id"


@dataclass(frozen=True)
class _Pool:
    """One type in one subnet, as the request names it."""

    template: Params
    override: Params
    price: float
    left: float


# What goes first. All sorts are stable: what is equal stays in the order of the request.
_ORDERS: Mapping[tuple[bool, str], Callable[[_Pool], Any]] = {
    (False, "lowest-price"): lambda pool: pool.price,
    (False, "prioritized"): lambda pool: pool.override.get("Priority", math.inf),
    (True, "lowest-price"): lambda pool: pool.price,
    (True, "capacity-optimized"): lambda pool: -pool.left,
    (True, "capacity-optimized-prioritized"): lambda pool: (pool.left <= 0, pool.override.get("Priority", math.inf)),
    (True, "price-capacity-optimized"): lambda pool: (pool.left <= 0, pool.price),
}


def create_fleet(cloud: Cloud, params: Params, caller: Principal) -> Params:
    """Try the pools in order of their strategy until there are enough machines."""
    allow(caller, "ec2:CreateFleet")
    if params.get("Type", "maintain") != "instant":
        raise not_in_fake("A fleet of another type than instant")
    if params.get("SpotOptions", {}).get("InstanceInterruptionBehavior", "terminate") != "terminate":
        raise ApiError(
            "InvalidParameterValue",
            'SpotOptions.InstanceInterruptionBehavior must be null or "terminate" for given fleet type.',
        )
    check_tags(params.get("TagSpecifications", []), {"fleet", "instance", "volume", "spot-instances-request"})
    wanted = _wanted(params["TargetCapacitySpecification"])
    for config in params["LaunchTemplateConfigs"]:
        find_template(cloud, config["LaunchTemplateSpecification"])
    _refuse_doubled_pools(cloud, params)
    end_dry_run(params)
    fleet = cloud.new_id("fleet", 36)
    answer: Params = {"FleetId": fleet, "Errors": [], "Instances": []}
    for spot, count in wanted.items():
        _fill(cloud, params, caller, spot=spot, count=count, answer=answer)
    return answer


def _refuse_doubled_pools(cloud: Cloud, params: Params) -> None:
    subnets: dict[str, str] = {}
    pools = set()
    for config in params["LaunchTemplateConfigs"]:
        for override in config.get("Overrides", []):
            subnet = cloud.catalog.subnet(override.get("SubnetId", ""))
            if subnet is None:
                continue
            pool = override.get("InstanceType"), subnet.id, override.get("ImageId")
            if subnets.setdefault(subnet.zone, subnet.id) != subnet.id or pool in pools:
                raise ApiError("InvalidFleetConfig", "The fleet configuration contains duplicate instance pools.")
            pools.add(pool)


def _wanted(target: Params) -> dict[bool, int]:
    """How many, by whether they are spot."""
    total = target["TotalTargetCapacity"]
    spot, on_demand = target.get("SpotTargetCapacity", 0), target.get("OnDemandTargetCapacity", 0)
    rest = total - spot - on_demand
    if total < 1 or rest < 0:
        raise ApiError("InvalidTargetCapacitySpecification", "The target capacities do not add up.")
    if target.get("DefaultTargetCapacityType", "on-demand") == "spot":
        return {False: on_demand, True: spot + rest}
    return {False: on_demand + rest, True: spot}


def _pools(cloud: Cloud, params: Params, *, spot: bool) -> list[_Pool]:
    options = params.get("SpotOptions" if spot else "OnDemandOptions", {})
    strategy = options.get("AllocationStrategy", "lowest-price")
    if (spot, strategy) not in _ORDERS:
        raise not_in_fake(f"The allocation strategy {strategy}")
    pools = []
    for config in params["LaunchTemplateConfigs"]:
        for override in config.get("Overrides", [{}]):
            offer = cloud.catalog.type(override.get("InstanceType", ""))
            subnet = cloud.catalog.subnet(override.get("SubnetId", ""))
            left = cloud.pool_left((offer.name, subnet.zone, spot)) if offer and subnet else 0
            pools.append(
                _Pool(
                    config["LaunchTemplateSpecification"],
                    override,
                    price=offer.price * (offer.spot_share if spot else 1) if offer else math.inf,
                    left=math.inf if left is None else left,
                )
            )
    return sorted(pools, key=_ORDERS[spot, strategy])


def _fill(cloud: Cloud, params: Params, caller: Principal, *, spot: bool, count: int, answer: Params) -> None:
    """Launch as many of one lifecycle as the pools give."""
    tried = 0
    for pool in _pools(cloud, params, spot=spot) if count else ():
        if count == 0:
            break
        tried += 1
        if tried > cloud.settings.fleet_pools_tried:
            error = ApiError("UnfulfillableCapacity", "Unable to fulfill capacity due to your request configuration.")
            answer["Errors"].append(_told(pool, error, spot=spot))
            continue
        try:
            instances, shortage = _launched(
                cloud, params, caller, pool, spot=spot, count=count, fleet=answer["FleetId"]
            )
        except ApiError as refused:
            instances, shortage = [], refused
        count -= len(instances)
        if instances:
            answer["Instances"].append(
                {
                    "LaunchTemplateAndOverrides": _where(pool),
                    "Lifecycle": _lifecycle(spot),
                    "InstanceIds": [instance.id for instance in instances],
                    "InstanceType": instances[0].offer.name,
                }
            )
        if shortage:
            answer["Errors"].append(_told(pool, shortage, spot=spot))


def _launched(
    cloud: Cloud, params: Params, caller: Principal, pool: _Pool, *, spot: bool, count: int, fleet: str
) -> tuple[list[Instance], ApiError | None]:
    allow(caller, "ec2:RunInstances")
    plan = _plan(cloud, params, caller, pool, spot=spot)
    room, shortage = room_for(cloud, plan, count)
    if room:
        cloud.buckets.take_instances("launch", min(count, room), cloud.now)
        token = params.get("ClientToken", "")
        return launch(cloud, plan, min(count, room), token=token, tags={FLEET_TAG: fleet}), shortage
    return [], shortage


def _plan(cloud: Cloud, params: Params, caller: Principal, pool: _Pool, *, spot: bool) -> Plan:
    own = [one for one in params.get("TagSpecifications", []) if one["ResourceType"] != "fleet"]
    made = merged(cloud, pool.template, {"TagSpecifications": own} if own else {})
    if "InstanceMarketOptions" in made:
        raise not_in_fake("A launch template of a fleet with market options")
    made |= {name: pool.override[name] for name in ("InstanceType", "ImageId") if name in pool.override}
    if "SubnetId" in pool.override:
        if made.get("NetworkInterfaces"):
            first, *others = made["NetworkInterfaces"]
            made["NetworkInterfaces"] = [first | {"SubnetId": pool.override["SubnetId"]}, *others]
        else:
            made["SubnetId"] = pool.override["SubnetId"]
    if spot:
        prices = {"MaxPrice": pool.override["MaxPrice"]} if "MaxPrice" in pool.override else {}
        made["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": prices}
    try:
        return planned(cloud, made, caller)
    except ApiError as refused:
        if refused.code == "Unsupported" or refused.message.endswith("for InstanceType."):
            raise ApiError("InvalidFleetConfiguration", refused.message) from refused
        raise


def _told(pool: _Pool, error: ApiError, *, spot: bool) -> Params:
    return {
        "LaunchTemplateAndOverrides": _where(pool),
        "Lifecycle": _lifecycle(spot),
        "ErrorCode": error.code,
        "ErrorMessage": error.message,
    }


def _where(pool: _Pool) -> Params:
    return {"LaunchTemplateSpecification": pool.template, "Overrides": pool.override}


def _lifecycle(spot: bool) -> str:
    return "spot" if spot else "on-demand"
