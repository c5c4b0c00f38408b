"""What an account may ask for: pace, quotas, capacity, addresses, permissions."""

from __future__ import annotations

import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes.ec2 import KEY_ID, PROMPT, Principal, Quotas, api_of, client, served
from tests.fakes.rig import SUBNET_A, Rig, machine, refused

ARN = "arn:aws:iam::123456789012:user/organizer"
GP3 = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 100, "VolumeType": "gp3"}}]
SPOT = {"MarketType": "spot"}


def with_quotas(**quotas: Any) -> Any:
    """A test on an account with these quotas."""
    return pytest.mark.parametrize("settings", [replace(PROMPT, quotas=Quotas(**quotas))])


async def test_the_sixth_launch_at_once_is_throttled_and_two_a_second_are_not(rig: Rig) -> None:
    for _ in range(5):
        await rig.run()
    assert await refused(rig.run()) == "RequestLimitExceeded"
    rig.cloud.advance(1)
    await rig.run()
    await rig.run()
    assert await refused(rig.run()) == "RequestLimitExceeded"


async def test_a_thousand_instances_are_one_burst_and_then_two_a_second(rig: Rig) -> None:
    ships = await rig.run(1000)
    assert await refused(rig.run()) == "RequestLimitExceeded"
    rig.cloud.advance(2)
    await rig.run(4)
    assert await refused(rig.run()) == "RequestLimitExceeded"
    rig.cloud.advance(100)
    await rig.ec2.stop_instances(InstanceIds=ships[:1000])
    rig.cloud.advance(100)
    starting = rig.ec2.start_instances(InstanceIds=ships[:1000])  # the same bucket
    assert await refused(starting) == "RequestLimitExceeded"


async def test_a_listing_of_everything_has_the_smaller_bucket(rig: Rig) -> None:
    for _ in range(50):
        await rig.ec2.describe_security_groups()
    assert await refused(rig.ec2.describe_security_groups()) == "RequestLimitExceeded"
    for _ in range(100):
        await rig.ec2.describe_security_groups(MaxResults=5)
    assert await refused(rig.ec2.describe_security_groups(MaxResults=5)) == "RequestLimitExceeded"


@with_quotas(on_demand_vcpu=32, spot_vcpu=8)
async def test_vcpu_quotas_of_both_markets_are_told_apart(rig: Rig) -> None:
    ships = await rig.run(4)
    assert await refused(rig.run()) == "VcpuLimitExceeded"
    await rig.run(InstanceMarketOptions=SPOT)
    assert await refused(rig.run(InstanceMarketOptions=SPOT)) == "MaxSpotInstanceCountExceeded"
    rig.cloud.advance(2)
    await rig.ec2.stop_instances(InstanceIds=ships[:1])
    rig.cloud.advance(2)
    await rig.run()  # a stopped instance does not count


@with_quotas(on_demand_vcpu=32)
async def test_as_many_as_there_is_room_for_if_that_is_enough(rig: Rig) -> None:
    answer = await rig.ec2.run_instances(**machine(MinCount=2, MaxCount=10))
    assert len(answer["Instances"]) == 4


async def test_families_beyond_the_standard_ones_have_no_quota(rig: Rig) -> None:
    assert await refused(rig.run(InstanceType="g5.xlarge")) == "VcpuLimitExceeded"


@with_quotas(gp3_tib=0.25)
async def test_a_machine_beyond_the_storage_quota_ends_at_once_and_says_why(rig: Rig) -> None:
    ships = await rig.run(3, BlockDeviceMappings=GP3)
    rig.cloud.advance(3)
    assert list((await rig.seen(*ships)).values()) == ["running", "running", "terminated"]
    answer = await rig.ec2.describe_instances(InstanceIds=[ships[2]])
    reason = answer["Reservations"][0]["Instances"][0]["StateReason"]
    assert reason["Code"] == "Client.VolumeLimitExceeded"
    await rig.ec2.stop_instances(InstanceIds=ships[:1])
    rig.cloud.advance(3)
    [late] = await rig.run(BlockDeviceMappings=GP3)
    rig.cloud.advance(3)
    assert await rig.seen(late) == {late: "terminated"}  # the disk of a stopped one still counts


async def test_capacity_runs_out_and_comes_back(rig: Rig) -> None:
    pool = ("m6i.2xlarge", "eu-central-1a", False)
    rig.cloud.capacity[pool] = 1
    [ship] = await rig.run()
    assert await refused(rig.run()) == "InsufficientInstanceCapacity"
    await rig.run(InstanceType="m6a.2xlarge")
    await rig.ec2.terminate_instances(InstanceIds=[ship])
    rig.cloud.advance(2)
    await rig.run()
    rig.cloud.capacity_gone("m6i.xlarge", "eu-central-1a", for_s=60)
    assert await refused(rig.run(InstanceType="m6i.xlarge")) == "InsufficientInstanceCapacity"
    rig.cloud.advance(60)
    await rig.run(InstanceType="m6i.xlarge")


async def test_a_stopped_machine_may_find_its_place_taken(rig: Rig) -> None:
    rig.cloud.capacity["m6i.2xlarge", "eu-central-1a", False] = 1
    [ship] = await rig.run()
    rig.cloud.advance(2)
    await rig.ec2.stop_instances(InstanceIds=[ship])
    rig.cloud.advance(2)
    await rig.run()
    assert await refused(rig.ec2.start_instances(InstanceIds=[ship])) == "InsufficientInstanceCapacity"


async def test_a_subnet_has_only_so_many_addresses(rig: Rig) -> None:
    small = "subnet-0ddddddddddddddd0"
    await rig.run(11, SubnetId=small)
    [subnet] = (await rig.ec2.describe_subnets(SubnetIds=[small]))["Subnets"]
    assert subnet["AvailableIpAddressCount"] == 0
    assert await refused(rig.run(SubnetId=small)) == "InsufficientFreeAddressesInSubnet"


async def test_a_dry_run_says_what_would_be(rig: Rig) -> None:
    assert await refused(rig.ec2.run_instances(**machine(DryRun=True))) == "DryRunOperation"
    assert await refused(rig.ec2.describe_subnets(DryRun=True)) == "DryRunOperation"
    unknown = rig.ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"], DryRun=True)
    assert await refused(unknown) == "InvalidInstanceID.NotFound"
    rig.cloud.keys[KEY_ID] = Principal(ARN, frozenset({"ec2:RunInstances"}))
    with pytest.raises(ClientError, match=r"ec2:RunInstances.*Encoded authorization failure message: ") as refusal:
        await rig.ec2.run_instances(**machine(DryRun=True))
    assert refusal.value.response["Error"]["Code"] == "UnauthorizedOperation"
    assert rig.cloud.instances == {}


async def test_a_dry_run_about_an_instance_leaves_it_alone(rig: Rig) -> None:
    [ship] = await rig.run()
    rig.cloud.advance(2)
    tag = {"Resources": [ship], "Tags": [{"Key": "mux:ship", "Value": "1"}]}
    for call in (rig.ec2.stop_instances, rig.ec2.start_instances, rig.ec2.terminate_instances):
        assert await refused(call(InstanceIds=[ship], DryRun=True)) == "DryRunOperation"
    assert await refused(rig.ec2.create_tags(**tag, DryRun=True)) == "DryRunOperation"
    assert (await rig.seen(ship), rig.cloud.instances[ship].tags) == ({ship: "running"}, {})


async def test_tags_at_launch_need_a_permission_of_their_own(rig: Rig) -> None:
    rig.cloud.keys[KEY_ID] = Principal(ARN, frozenset({"ec2:CreateTags"}))
    await rig.run()
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "mux:ship", "Value": "1"}]}]
    assert await refused(rig.run(TagSpecifications=tags)) == "UnauthorizedOperation"


async def test_an_unknown_key_is_refused_by_every_service_in_its_own_words(rig: Rig) -> None:
    async with client("ec2", rig.url, key="AKIDNOBODY") as ec2:
        assert await refused(ec2.describe_subnets(SubnetIds=[SUBNET_A])) == "AuthFailure"
    async with client("sts", rig.url, key="AKIDNOBODY") as sts:
        assert await refused(sts.get_caller_identity()) == "InvalidClientTokenId"
    async with client("service-quotas", rig.url, key="AKIDNOBODY") as quotas:
        call = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")
        assert await refused(call) == "UnrecognizedClientException"


@with_quotas(on_demand_vcpu=2048, spot_vcpu=640, gp3_tib=20)
async def test_quotas_and_identity_are_told(rig: Rig) -> None:
    async with client("service-quotas", rig.url) as quotas:
        codes = (("ec2", "L-1216C47A"), ("ec2", "L-34B43A08"), ("ebs", "L-7A658B76"))
        told = [await quotas.get_service_quota(ServiceCode=service, QuotaCode=code) for service, code in codes]
        assert [one["Quota"]["Value"] for one in told] == [2048, 640, 20]
        unknown = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-00000000")
        assert await refused(unknown) == "NoSuchResourceException"
    async with client("sts", rig.url) as sts:
        assert (await sts.get_caller_identity())["Arn"] == ARN


@pytest.mark.parametrize("ahead_s", [0, 900])
async def test_answers_carry_the_time_of_the_service(rig: Rig, ahead_s: int) -> None:
    async with api_of(rig.cloud) as api, served(api) as url, client("sts", url) as http, client("sts", api) as inside:
        api.ahead_s = ahead_s
        for sts in (http, inside):
            answer = await sts.get_caller_identity()
            date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            assert (date.timestamp() - time.time() > 450) == (ahead_s > 0)
