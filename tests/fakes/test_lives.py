"""The life of an instance: stopped, started, ended, taken back; and what stands behind it hears of it."""

from __future__ import annotations

import pytest

from tests.fakes.rig import Rig, refused

SPOT = {"MarketType": "spot"}


async def test_stopped_and_started_it_keeps_its_address_and_boots_again(rig: Rig) -> None:
    [ship] = await rig.run()
    address = rig.cloud.instances[ship].address
    assert await refused(rig.ec2.stop_instances(InstanceIds=[ship])) == "IncorrectInstanceState"
    rig.cloud.advance(2)
    await rig.ec2.stop_instances(InstanceIds=[ship])
    assert await rig.seen(ship) == {ship: "stopping"}
    assert await refused(rig.ec2.start_instances(InstanceIds=[ship])) == "IncorrectInstanceState"
    rig.cloud.advance(2)
    await rig.ec2.stop_instances(InstanceIds=[ship])
    assert await rig.seen(ship) == {ship: "stopped"}
    started = await rig.ec2.start_instances(InstanceIds=[ship])
    assert started["StartingInstances"][0]["PreviousState"]["Name"] == "stopped"
    rig.cloud.advance(2)
    assert await rig.seen(ship) == {ship: "running"}
    assert (rig.cloud.instances[ship].boots, rig.cloud.instances[ship].address) == (2, address)


async def test_ended_it_gives_back_address_and_disk(rig: Rig) -> None:
    free = rig.cloud.free_addresses("subnet-0aaaaaaaaaaaaaaaa")
    [ship] = await rig.run()
    assert len(rig.cloud.volumes) == 1
    await rig.ec2.terminate_instances(InstanceIds=[ship])
    assert await rig.seen(ship) == {ship: "shutting-down"}
    rig.cloud.advance(2)
    await rig.ec2.terminate_instances(InstanceIds=[ship])
    assert await rig.seen(ship) == {ship: "terminated"}
    assert rig.cloud.volumes == {}
    assert rig.cloud.free_addresses("subnet-0aaaaaaaaaaaaaaaa") == free
    assert await refused(rig.ec2.start_instances(InstanceIds=[ship])) == "IncorrectInstanceState"


async def test_a_disk_may_be_left_over(rig: Rig) -> None:
    kept = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]
    [ship] = await rig.run(BlockDeviceMappings=kept)
    await rig.ec2.terminate_instances(InstanceIds=[ship])
    rig.cloud.advance(2)
    left = await rig.ec2.describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])
    assert len(left["Volumes"]) == 1


async def test_ending_several_ends_all_or_none(rig: Rig) -> None:
    [ship] = await rig.run()
    rig.cloud.advance(2)
    unknown = rig.ec2.terminate_instances(InstanceIds=[ship, "i-0123456789abcdef0"])
    assert await refused(unknown) == "InvalidInstanceID.NotFound"
    assert await refused(rig.ec2.terminate_instances(InstanceIds=["ship-1"])) == "InvalidInstanceID.Malformed"
    assert await rig.seen(ship) == {ship: "running"}


async def test_a_token_whose_instance_is_gone_launches_nothing(rig: Rig) -> None:
    [ship] = await rig.run(ClientToken="once")
    await rig.ec2.terminate_instances(InstanceIds=[ship])
    assert await refused(rig.run(ClientToken="once")) == "IdempotentInstanceTerminated"


async def test_a_spot_instance_cannot_be_parked_and_may_be_taken_back(rig: Rig) -> None:
    [ship] = await rig.run(InstanceMarketOptions=SPOT)
    rig.cloud.advance(2)
    assert await refused(rig.ec2.stop_instances(InstanceIds=[ship])) == "UnsupportedOperation"
    rig.cloud.interrupt(ship)
    rig.cloud.advance(119)
    assert await rig.seen(ship) == {ship: "running"}
    rig.cloud.advance(3)
    answer = await rig.ec2.describe_instances(InstanceIds=[ship])
    instance = answer["Reservations"][0]["Instances"][0]
    assert instance["InstanceLifecycle"] == "spot"
    assert instance["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    request = instance["SpotInstanceRequestId"]
    await rig.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
    unknown = rig.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=["sir-00000000"])
    assert await refused(unknown) == "InvalidSpotInstanceRequestID.NotFound"


@pytest.mark.parametrize(("behaviour", "end"), [("stop", "stopped"), ("terminate", "terminated")])
async def test_powered_off_from_within_it_does_as_it_was_launched_to(rig: Rig, behaviour: str, end: str) -> None:
    [ship] = await rig.run(InstanceInitiatedShutdownBehavior=behaviour)
    rig.cloud.advance(2)
    rig.cloud.shut_down_from_within(ship)
    rig.cloud.advance(2)
    assert await rig.seen(ship) == {ship: end}


async def test_a_machine_ended_while_it_boots_never_runs(rig: Rig) -> None:
    heard: list[str] = []
    rig.cloud.behind.on_running = lambda one: heard.append("running")
    rig.cloud.behind.on_terminated = lambda one: heard.append("terminated")
    [ship] = await rig.run()
    await rig.ec2.terminate_instances(InstanceIds=[ship])
    rig.cloud.advance(60)
    assert heard == ["terminated"]


async def test_a_disk_is_deleted_only_when_no_machine_has_it(rig: Rig) -> None:
    kept = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]
    [machine] = await rig.run(BlockDeviceMappings=kept)
    [disk] = rig.cloud.volumes
    assert await refused(rig.ec2.delete_volume(VolumeId=disk)) == "VolumeInUse"
    await rig.ec2.terminate_instances(InstanceIds=[machine])
    rig.cloud.advance(2)
    await rig.ec2.delete_volume(VolumeId=disk)
    assert await refused(rig.ec2.delete_volume(VolumeId=disk)) == "InvalidVolume.NotFound"
