"""CreateFleet of type instant: pools in order, partial success, an error for each pool that gave too little."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes.ec2 import KEY_ID, SHIPS_GROUP, Principal
from tests.fakes.rig import IMAGE, SUBNET_A, SUBNET_B, Rig, refused

TYPES = ("m6i.2xlarge", "m6a.2xlarge")
SUBNET_A2 = "subnet-0ddddddddddddddd0"
"""In the zone of SUBNET_A."""


async def template(rig: Rig, **more: Any) -> None:
    await rig.ec2.create_launch_template(
        LaunchTemplateName="camp",
        LaunchTemplateData={
            "ImageId": IMAGE,
            "SecurityGroupIds": [SHIPS_GROUP],
            "UserData": base64.b64encode(b"#!/bin/sh\n").decode(),
            **more,
        },
    )


def fleet(count: int = 1, *, kind: str = "on-demand", pools: list[dict[str, Any]] | None = None, **more: Any) -> Any:
    return {
        "Type": "instant",
        "TargetCapacitySpecification": {"TotalTargetCapacity": count, "DefaultTargetCapacityType": kind},
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "camp", "Version": "$Latest"},
                "Overrides": pools or [{"InstanceType": "m6i.2xlarge", "SubnetId": SUBNET_A}],
            }
        ],
        **more,
    }


def pools(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"InstanceType": kind, "SubnetId": subnet, "Priority": n} for n, (kind, subnet) in enumerate(pairs)]


def told(answer: Any) -> list[tuple[str, str]]:
    """Which pools gave too little, and why."""
    return [
        (error["LaunchTemplateAndOverrides"]["Overrides"]["InstanceType"], error["ErrorCode"])
        for error in answer["Errors"]
    ]


async def test_a_fleet_launches_from_its_template_with_tags(rig: Rig) -> None:
    await template(rig)
    answer = await rig.ec2.create_fleet(
        **fleet(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "mux:ship", "Value": "ship-1"}]}])
    )
    [ship] = answer["Instances"][0]["InstanceIds"]
    assert answer["Errors"] == []
    assert rig.cloud.instances[ship].user_data == b"#!/bin/sh\n"
    assert rig.cloud.instances[ship].tags["mux:ship"] == "ship-1"
    assert rig.cloud.instances[ship].tags["aws:ec2:fleet-id"] == answer["FleetId"]


async def test_pools_without_room_are_told_and_the_next_one_gives_the_rest(rig: Rig) -> None:
    await template(rig)
    rig.cloud.capacity["m6i.2xlarge", "eu-central-1a", False] = 2
    strategy = {"AllocationStrategy": "prioritized"}
    chosen = pools((TYPES[0], SUBNET_A), (TYPES[1], SUBNET_A))
    answer = await rig.ec2.create_fleet(**fleet(5, pools=chosen, OnDemandOptions=strategy))
    assert [(one["InstanceType"], len(one["InstanceIds"])) for one in answer["Instances"]] == [
        (TYPES[0], 2),
        (TYPES[1], 3),
    ]
    assert told(answer) == [(TYPES[0], "InsufficientInstanceCapacity")]


@pytest.mark.parametrize(
    ("kind", "strategy", "first"),
    [
        ("on-demand", "prioritized", "m6i.2xlarge"),
        ("on-demand", "lowest-price", "m6a.2xlarge"),
        ("spot", "lowest-price", "m6a.2xlarge"),
        ("spot", "capacity-optimized", "m6i.2xlarge"),
        ("spot", "price-capacity-optimized", "m6i.2xlarge"),
    ],
)
async def test_the_strategy_decides_which_pool_is_first(rig: Rig, kind: str, strategy: str, first: str) -> None:
    await template(rig)
    rig.cloud.capacity["m6a.2xlarge", "eu-central-1a", True] = 0 if strategy.startswith("price-") else 3
    options: dict[str, Any] = {"SpotOptions" if kind == "spot" else "OnDemandOptions": {"AllocationStrategy": strategy}}
    chosen = pools((TYPES[0], SUBNET_A), (TYPES[1], SUBNET_A))
    answer = await rig.ec2.create_fleet(**fleet(kind=kind, pools=chosen, **options))
    assert [one["InstanceType"] for one in answer["Instances"]] == [first]
    assert answer["Instances"][0]["Lifecycle"] == kind


async def test_no_more_than_three_pools_are_tried(rig: Rig) -> None:
    await template(rig)
    for kind in (*TYPES, "m5.2xlarge"):
        rig.cloud.capacity[kind, "eu-central-1a", False] = 0
    chosen = pools((TYPES[0], SUBNET_A), (TYPES[1], SUBNET_A), ("m5.2xlarge", SUBNET_A), (TYPES[0], SUBNET_B))
    answer = await rig.ec2.create_fleet(**fleet(pools=chosen, OnDemandOptions={"AllocationStrategy": "prioritized"}))
    assert [code for _type, code in told(answer)] == [*["InsufficientInstanceCapacity"] * 3, "UnfulfillableCapacity"]
    assert answer["Instances"] == []


@pytest.mark.parametrize(
    "chosen",
    [
        pools((TYPES[0], SUBNET_A), (TYPES[0], SUBNET_A2)),
        pools((TYPES[0], SUBNET_A), (TYPES[1], SUBNET_A2)),
        pools((TYPES[0], SUBNET_A), (TYPES[0], SUBNET_A)),
    ],
)
async def test_two_subnets_of_one_zone_and_a_pool_twice_are_refused(rig: Rig, chosen: list[dict[str, Any]]) -> None:
    await template(rig)
    assert await refused(rig.ec2.create_fleet(**fleet(pools=chosen))) == "InvalidFleetConfig"
    assert rig.cloud.instances == {}


async def test_what_is_wrong_with_a_pool_is_told_of_that_pool(rig: Rig) -> None:
    await template(rig)
    rig.cloud.keys[KEY_ID] = Principal("arn:aws:iam::123456789012:user/organizer", frozenset({"ec2:RunInstances"}))
    answer = await rig.ec2.create_fleet(**fleet())
    assert told(answer) == [("m6i.2xlarge", "UnauthorizedOperation")]
    rig.cloud.keys[KEY_ID] = Principal("arn:aws:iam::123456789012:user/organizer")
    chosen = pools(("m7i.2xlarge", "subnet-0cccccccccccccccc"), ("m6i.2xlarge", SUBNET_A))
    answer = await rig.ec2.create_fleet(**fleet(pools=chosen, OnDemandOptions={"AllocationStrategy": "prioritized"}))
    assert told(answer) == [("m7i.2xlarge", "InvalidFleetConfiguration")]
    assert len(answer["Instances"]) == 1


async def test_a_client_token_answers_the_same_again_even_when_nothing_came(rig: Rig) -> None:
    await template(rig)
    pool = ("m6i.2xlarge", "eu-central-1a", False)
    rig.cloud.capacity[pool] = 0
    first = await rig.ec2.create_fleet(**fleet(ClientToken="camp/ship-1/1"))
    rig.cloud.capacity[pool] = 9
    again = await rig.ec2.create_fleet(**fleet(ClientToken="camp/ship-1/1"))
    assert (again["FleetId"], told(again)) == (first["FleetId"], told(first))
    other = await rig.ec2.create_fleet(**fleet(ClientToken="camp/ship-1/2"))
    assert len(other["Instances"]) == 1
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        await rig.ec2.create_fleet(**fleet(2, ClientToken="camp/ship-1/2"))
