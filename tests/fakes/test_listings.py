"""Listings are late, filtered and paged; what a request says that the fake does not know is refused."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.ec2 import PROMPT
from tests.fakes.rig import SUBNET_A, Rig, machine, refused

LATE = pytest.mark.parametrize("settings", [replace(PROMPT, unlisted_s=(4, 4), lag_s=(3, 3))])


async def listed(rig: Rig, **params: Any) -> list[str]:
    """The ids that a listing of instances has."""
    answer = await rig.ec2.describe_instances(**params)
    return [instance["InstanceId"] for one in answer["Reservations"] for instance in one["Instances"]]


@LATE
async def test_a_new_instance_is_unknown_for_a_while(rig: Rig) -> None:
    [ship] = await rig.run()
    assert await refused(rig.seen(ship)) == "InvalidInstanceID.NotFound"
    assert await refused(rig.ec2.terminate_instances(InstanceIds=[ship])) == "InvalidInstanceID.NotFound"
    assert await listed(rig, MaxResults=5) == []
    rig.cloud.advance(4)
    assert await listed(rig, MaxResults=5) == [ship]


@LATE
async def test_a_change_of_state_is_listed_late(rig: Rig) -> None:
    [ship] = await rig.run()
    rig.cloud.advance(6)
    await rig.ec2.terminate_instances(InstanceIds=[ship])
    assert await rig.seen(ship) == {ship: "running"}
    rig.cloud.advance(3)
    assert await rig.seen(ship) == {ship: "shutting-down"}


async def test_a_terminated_instance_stays_listed_for_an_hour(rig: Rig) -> None:
    [ship] = await rig.run()
    rig.cloud.advance(2)
    await rig.ec2.terminate_instances(InstanceIds=[ship])
    rig.cloud.advance(3600)
    assert await rig.seen(ship) == {ship: "terminated"}
    assert await listed(rig, Filters=[{"Name": "subnet-id", "Values": [SUBNET_A]}]) == []
    rig.cloud.advance(2)
    assert await refused(rig.seen(ship)) == "InvalidInstanceID.NotFound"


async def test_filters_are_all_of_any_with_wildcards(rig: Rig) -> None:
    def tags(ship: str, event: str) -> list[Any]:
        pairs = [{"Key": "mux:ship", "Value": ship}, {"Key": "mux:event", "Value": event}]
        return [{"ResourceType": "instance", "Tags": pairs}]

    [first] = await rig.run(TagSpecifications=tags("ship-1", "camp"))
    [second] = await rig.run(TagSpecifications=tags("ship-2", "camp"))
    [_other] = await rig.run(TagSpecifications=tags("ship-1", "other"))
    camp = {"Name": "tag:mux:event", "Values": ["camp"]}
    assert await listed(rig, Filters=[camp]) == [first, second]
    assert await listed(rig, Filters=[camp, {"Name": "tag:mux:ship", "Values": ["ship-2", "ship-3"]}]) == [second]
    assert await listed(rig, Filters=[camp, {"Name": "instance-type", "Values": ["m6?.*"]}]) == [first, second]
    assert await listed(rig, Filters=[{"Name": "instance-state-name", "Values": ["running"]}]) == []
    assert await refused(listed(rig, Filters=[{"Name": "colour", "Values": ["red"]}])) == "InvalidParameterValue"
    many = [{"Name": "instance-id", "Values": [f"i-{n}" for n in range(201)]}]
    assert await refused(listed(rig, Filters=many)) == "FilterLimitExceeded"


async def test_pages_hold_each_instance_once_even_while_instances_come_and_go(rig: Rig) -> None:
    ships = await rig.run(12)
    first = await rig.ec2.describe_instances(MaxResults=5)
    rig.cloud.advance(2)
    await rig.ec2.terminate_instances(InstanceIds=ships[:2])
    [late] = await rig.run()
    found = [instance["InstanceId"] for one in first["Reservations"] for instance in one["Instances"]]
    token = first["NextToken"]
    while token:
        answer = await rig.ec2.describe_instances(MaxResults=5, NextToken=token)
        found += [instance["InstanceId"] for one in answer["Reservations"] for instance in one["Instances"]]
        token = answer.get("NextToken")
    assert found == [*ships, late]
    assert await refused(rig.ec2.describe_instances(MaxResults=5, NextToken="bm8=")) == "InvalidNextToken"
    assert await refused(rig.ec2.describe_instances(MaxResults=4)) == "InvalidParameterValue"
    both = rig.ec2.describe_instances(InstanceIds=ships[:1], MaxResults=5)
    assert await refused(both) == "InvalidParameterCombination"


async def test_scheduled_events_are_in_the_status(rig: Rig) -> None:
    ship, other = await rig.run(2)
    assert (await rig.ec2.describe_instance_status(InstanceIds=[ship]))["InstanceStatuses"] == []
    everything = await rig.ec2.describe_instance_status(InstanceIds=[ship, other], IncludeAllInstances=True)
    assert len(everything["InstanceStatuses"]) == 2
    rig.cloud.advance(2)
    rig.cloud.schedule_retirement(ship, in_s=60)
    codes = [{"Name": "event.code", "Values": ["instance-retirement"]}]
    [status] = (await rig.ec2.describe_instance_status(Filters=codes))["InstanceStatuses"]
    assert status["InstanceId"] == ship
    assert status["Events"][0]["Code"] == "instance-retirement"
    rig.cloud.advance(62)
    assert await rig.seen(ship, other) == {ship: "stopped", other: "running"}


async def test_tags_are_added_to_all_or_to_none(rig: Rig) -> None:
    ship, other = await rig.run(2)
    tag = [{"Key": "mux:ship", "Value": "9"}]
    unknown = rig.ec2.create_tags(Resources=[ship, "i-0123456789abcdef0"], Tags=tag)
    assert await refused(unknown) == "InvalidInstanceID.NotFound"
    assert rig.cloud.instances[ship].tags == {}
    await rig.ec2.create_tags(Resources=[ship, other], Tags=tag)
    assert rig.cloud.instances[other].tags == {"mux:ship": "9"}
    reserved = rig.ec2.create_tags(Resources=[ship], Tags=[{"Key": "aws:mine", "Value": ""}])
    assert await refused(reserved) == "InvalidParameterValue"


async def test_places_to_launch_into_are_listed(rig: Rig) -> None:
    zone = [{"Name": "location", "Values": ["eu-central-1c"]}]
    offered = await rig.ec2.describe_instance_type_offerings(LocationType="availability-zone", Filters=zone)
    names = {one["InstanceType"] for one in offered["InstanceTypeOfferings"]}
    assert "m6i.2xlarge" in names
    assert "m7i.2xlarge" not in names
    [kind] = (await rig.ec2.describe_instance_types(InstanceTypes=["m6i.2xlarge"]))["InstanceTypes"]
    assert (kind["VCpuInfo"]["DefaultVCpus"], kind["MemoryInfo"]["SizeInMiB"]) == (8, 32768)
    assert await refused(rig.ec2.describe_instance_types(InstanceTypes=["m1.small"])) == "InvalidInstanceType"
    [image] = (await rig.ec2.describe_images(ImageIds=["ami-0bbbbbbbbbbbbbbbb"]))["Images"]
    assert "ImdsSupport" not in image
    assert await refused(rig.ec2.describe_images(ImageIds=["ami-1"])) == "InvalidAMIID.NotFound"
    prices = await rig.ec2.describe_spot_price_history(InstanceTypes=["m6i.2xlarge"])
    assert len(prices["SpotPriceHistory"]) == 3


async def test_templates_have_versions(rig: Rig) -> None:
    data = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m6i.xlarge"}
    await rig.ec2.create_launch_template(LaunchTemplateName="camp", LaunchTemplateData=data)
    again = rig.ec2.create_launch_template(LaunchTemplateName="camp", LaunchTemplateData=data)
    assert await refused(again) == "InvalidLaunchTemplateName.AlreadyExistsException"
    user_data = base64.b64encode(b"2").decode()
    await rig.ec2.create_launch_template_version(
        LaunchTemplateName="camp", SourceVersion="1", LaunchTemplateData={"UserData": user_data}
    )
    versions = await rig.ec2.describe_launch_template_versions(LaunchTemplateName="camp", Versions=["$Latest"])
    [latest] = versions["LaunchTemplateVersions"]
    assert (latest["VersionNumber"], latest["LaunchTemplateData"]) == (2, data | {"UserData": user_data})
    made = await rig.ec2.run_instances(
        MinCount=1, MaxCount=1, SubnetId=SUBNET_A, LaunchTemplate={"LaunchTemplateName": "camp", "Version": "2"}
    )
    assert made["Instances"][0]["InstanceType"] == "m6i.xlarge"
    gone = await rig.ec2.delete_launch_template_versions(LaunchTemplateName="camp", Versions=["1", "2"])
    assert [one["VersionNumber"] for one in gone["SuccessfullyDeletedLaunchTemplateVersions"]] == [2]
    await rig.ec2.delete_launch_template(LaunchTemplateName="camp")
    missing = rig.ec2.describe_launch_templates(LaunchTemplateNames=["camp"])
    assert await refused(missing) == "InvalidLaunchTemplateName.NotFoundException"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"HibernationOptions": {"Configured": True}}, "NotInFake"),
        ({"UserData": "x" * 16_385}, "InvalidParameterValue"),
        ({"InstanceType": "m99.huge"}, "InvalidParameterValue"),
        ({"InstanceType": "m7g.2xlarge"}, "InvalidParameterValue"),
        ({"InstanceType": "m7i.2xlarge", "SubnetId": "subnet-0cccccccccccccccc"}, "Unsupported"),
        ({"ImageId": "ami-0fffffffffffffff0"}, "InvalidAMIID.NotFound"),
        ({"SubnetId": "subnet-0fffffffffffffff0"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-0fffffffffffffff0"]}, "InvalidGroup.NotFound"),
        ({"MinCount": 2, "MaxCount": 1}, "InvalidParameterValue"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": SUBNET_A}]}, "InvalidParameterCombination"),
        ({"MetadataOptions": {"HttpPutResponseHopLimit": 65}}, "InvalidParameterValue"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 4}}]}, "InvalidBlockDeviceMapping"),
        (
            {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.01"}}},
            "SpotMaxPriceTooLow",
        ),
        ({"TagSpecifications": [{"ResourceType": "subnet", "Tags": []}]}, "InvalidParameterValue"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
async def test_a_launch_that_ec2_would_not_take_is_refused(rig: Rig, more: dict[str, Any], code: str) -> None:
    assert await refused(rig.ec2.run_instances(**machine(**more))) == code
    assert rig.cloud.instances == {}


async def test_what_is_not_in_the_fake_is_refused(rig: Rig) -> None:
    assert await refused(rig.ec2.describe_vpcs()) == "NotInFake"
    assert await refused(rig.ec2.stop_instances(InstanceIds=["i-0"], Hibernate=True)) == "NotInFake"


async def test_addresses_are_private_unless_asked_for_or_the_subnet_gives_them(rig: Rig) -> None:
    def interface(**more: Any) -> dict[str, Any]:
        given = machine(NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": "subnet-0ddddddddddddddd0", **more}])
        return {name: value for name, value in given.items() if name not in {"SubnetId", "SecurityGroupIds"}}

    public = await rig.ec2.run_instances(**interface())
    private = await rig.ec2.run_instances(**interface(AssociatePublicIpAddress=False))
    assert "PublicIpAddress" in public["Instances"][0]
    assert "PublicIpAddress" not in private["Instances"][0]
