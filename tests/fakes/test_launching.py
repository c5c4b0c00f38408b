"""RunInstances: what it takes, what it refuses, and what it does once only."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.fakes.rig import SUBNET_A, Rig, machine


async def test_a_machine_boots_in_time(rig: Rig) -> None:
    [ship] = await rig.run()
    assert await rig.seen(ship) == {ship: "pending"}
    rig.cloud.advance(2)
    assert await rig.seen(ship) == {ship: "running"}


async def test_everything_that_was_asked_for_is_in_the_listing(rig: Rig) -> None:
    [ship] = await rig.run(
        UserData="#!/bin/sh\n",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {"VolumeSize": 100, "VolumeType": "gp3", "Encrypted": True, "VolumeInitializationRate": 200},
            }
        ],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "mux:ship", "Value": "ship-7"}]},
            {"ResourceType": "volume", "Tags": [{"Key": "mux:event", "Value": "camp"}]},
        ],
    )
    answer = await rig.ec2.describe_instances(Filters=[{"Name": "tag:mux:ship", "Values": ["ship-*"]}])
    [instance] = answer["Reservations"][0]["Instances"]
    assert instance["InstanceId"] == ship
    assert instance["SubnetId"] == SUBNET_A
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert "PublicIpAddress" not in instance
    [volume] = (await rig.ec2.describe_volumes(Filters=[{"Name": "tag:mux:event", "Values": ["camp"]}]))["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (100, "gp3", True)
    assert volume["VolumeInitializationRate"] == 200
    assert rig.cloud.instances[ship].user_data == b"#!/bin/sh\n"


async def test_a_client_token_launches_once(rig: Rig) -> None:
    once = await rig.run(2, ClientToken="camp/ship-1/1")
    rig.cloud.advance(2)
    again = await rig.ec2.run_instances(**machine(MinCount=2, MaxCount=2, ClientToken="camp/ship-1/1"))
    assert [instance["InstanceId"] for instance in again["Instances"]] == once
    assert again["Instances"][0]["State"]["Name"] == "running"
    assert len(rig.cloud.instances) == 2


async def test_a_client_token_cannot_be_used_for_something_else(rig: Rig) -> None:
    await rig.run(ClientToken="one")
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        await rig.run(ClientToken="one", InstanceType="m6i.xlarge")


async def test_any_text_comes_back_as_it_went(rig: Rig) -> None:
    text = "<ship> & 'Schiff' \"Ünï\" ]]> 1+1=2 %20"
    tags = [{"ResourceType": "instance", "Tags": [{"Key": text, "Value": text}]}]
    [ship] = await rig.run(TagSpecifications=tags)
    answer = await rig.ec2.describe_instances(InstanceIds=[ship])
    assert answer["Reservations"][0]["Instances"][0]["Tags"] == [{"Key": text, "Value": text}]
