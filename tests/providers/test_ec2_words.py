"""What EC2's errors and descriptions come to: what to do, and one sentence for people."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mux.core.model import MachineStatus, ShipId, ShipNotice
from mux.providers.ec2.faults import Kind, fault_of
from mux.providers.ec2.instances import Announced, announced, census, ended, instances_of, read
from mux.providers.ec2.orders import fleet, machine, of_one_fleet, pools, runs, tags, token, version
from tests.providers.ec2_backends import settings

SHIP = ShipId("ship-0001")


@pytest.mark.parametrize(
    ("code", "kind", "fatal"),
    [
        ("RequestLimitExceeded", Kind.THROTTLED, False),
        ("InsufficientInstanceCapacity", Kind.CAPACITY, False),
        ("VcpuLimitExceeded", Kind.QUOTA, True),
        ("MaxSpotInstanceCountExceeded", Kind.QUOTA, True),
        ("VolumeLimitExceeded", Kind.QUOTA, True),
        ("UnauthorizedOperation", Kind.DENIED, True),
        ("InvalidInstanceID.NotFound", Kind.MISSING, False),
        ("IdempotentParameterMismatch", Kind.USED, False),
        ("InvalidParameterValue", Kind.WRONG, True),
    ],
)
def test_a_code_says_what_to_do(code: str, kind: Kind, fatal: bool) -> None:
    fault = fault_of("CreateFleet", code, "", 400)
    assert (fault.kind, fault.fatal) == (kind, fatal)


def test_an_unknown_code_of_a_server_in_trouble_is_tried_again() -> None:
    assert fault_of("CreateFleet", "Novelty", "", 503).kind is Kind.AGAIN
    assert fault_of("CreateFleet", "Novelty", "", 400).kind is Kind.WRONG


def test_a_quota_is_told_with_its_number_and_what_to_do() -> None:
    message = "You have requested more vCPU capacity than your current vCPU limit of 32 allows"
    text = str(fault_of("RunInstances", "VcpuLimitExceeded", message))
    assert "ec2/L-1216C47A" in text
    assert "32" in text
    assert "Service Quotas" in text


def test_a_missing_permission_is_named_and_the_encoded_message_is_left_out() -> None:
    message = (
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not authorized to perform: "
        "ec2:CreateTags because no identity-based policy allows it. Encoded authorization failure message: QUJD"
    )
    text = str(fault_of("CreateFleet", "UnauthorizedOperation", message))
    assert "ec2:CreateTags" in text
    assert "QUJD" not in text


def test_an_account_that_never_had_a_spot_machine_is_told_what_to_make() -> None:
    code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    fault = fault_of("RunInstances", code, "The provided credentials do not have permission to create …")
    assert (fault.kind, fault.fatal) == (Kind.DENIED, True)
    assert "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com" in str(fault)


def test_a_long_or_hostile_message_is_bounded_and_on_one_line() -> None:
    text = str(fault_of("CreateFleet", "Novelty", "x\n\x1b[31m" * 1000))
    assert len(text) < 400
    assert text.isprintable()


def test_the_oldest_machine_of_a_ship_counts_and_other_stores_are_foreign() -> None:
    def raw(name: str, hour: int, store: str = settings().store, ship: str = SHIP) -> dict[str, object]:
        return {
            "InstanceId": name,
            "State": {"Name": "running"},
            "LaunchTime": datetime(2026, 11, 2, hour, tzinfo=UTC),
            "Tags": [
                {"Key": "mux:event", "Value": "camp"},
                {"Key": "mux:store", "Value": store},
                {"Key": "mux:ship", "Value": ship},
            ],
        }

    listing = [raw("i-2", 9), raw("i-1", 8), raw("i-3", 7, store="another"), raw("i-4", 7, ship="../x")]
    found = census(settings(), instances_of({"Reservations": [{"Instances": listing}]}))
    assert {ship: instance.id for ship, instance in found.ours.items()} == {SHIP: "i-1"}
    assert [instance.id for instance in found.surplus] == ["i-2"]
    assert {instance.id for instance in found.foreign} == {"i-3", "i-4"}
    assert found.ours[SHIP].machine(settings()).status is MachineStatus.RUNNING


def test_a_machine_that_a_quota_ended_is_told_as_such() -> None:
    raw = {
        "InstanceId": "i-1",
        "State": {"Name": "terminated"},
        "StateReason": {"Code": "Client.VolumeLimitExceeded", "Message": "Volume limit exceeded"},
    }
    why = ended(read(raw))
    assert why.fatal
    assert "ebs/L-7A658B76" in why.text


def test_a_retirement_is_announced_and_one_that_is_over_is_not() -> None:
    at = datetime(2026, 11, 2, 9, tzinfo=UTC)
    events = [
        {"Code": "instance-retirement", "Description": "degraded hardware", "NotBefore": at},
        {"Code": "instance-stop", "Description": "[Completed] stopped", "NotBefore": at},
        {"Code": "system-reboot", "Description": "reboot", "NotBefore": at},
    ]
    answer = {"InstanceStatuses": [{"InstanceId": "i-1", "Events": events}]}
    notice = ShipNotice("maintenance", at.timestamp(), "instance-retirement: degraded hardware.")
    assert announced(answer) == [Announced("i-1", notice)]


def test_pools_are_in_the_order_of_types_and_begin_at_another_subnet_for_each_ship() -> None:
    made = settings(instance_types=("a.large", "b.large"), subnets=("s1", "s2", "s3"))
    every = [pools(made, ShipId(f"ship-{number}")) for number in range(50)]
    assert all([kind for kind, _ in each] == ["a.large"] * 3 + ["b.large"] * 3 for each in every)
    assert {each[0][1] for each in every} == {"s1", "s2", "s3"}


def test_a_fleet_is_asked_for_the_first_subnet_of_each_zone() -> None:
    where = [("a", "s2"), ("a", "s1"), ("a", "s3"), ("b", "s1"), ("b", "s2")]
    zones = {"s1": "z1", "s2": "z1", "s3": "z2"}
    assert of_one_fleet(where, zones) == ([("a", "s2"), ("a", "s3"), ("b", "s2")], [("a", "s1"), ("b", "s1")])
    assert of_one_fleet(where, {}) == (where, []), "nothing is known: each is taken for the only one of its zone"


def test_client_tokens_differ_by_store_event_ship_and_attempt_and_are_no_longer_than_64() -> None:
    made = {
        token(settings(**changes), *parts)
        for changes in ({}, {"store": "f" * 16}, {"event": "e" * 63})
        for parts in (("fleet", "ship-1", "0"), ("fleet", "ship-1", "1"), ("fleet", "ship-10"), ("run", "ship-1", "0"))
    }
    assert len(made) == 12
    assert all(len(each) <= 64 and each.isascii() for each in made)


def test_every_machine_is_private_encrypted_and_keeps_workspaces_from_its_metadata() -> None:
    data = machine(settings(), b"user-data", "/dev/xvda")
    [run, *_] = runs(settings(), SHIP, data, 0, spot=False)
    templated = version(settings(), SHIP, data)["LaunchTemplateData"]
    for request in (run, templated):
        assert request["MetadataOptions"] == {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        }
        assert request["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert "IamInstanceProfile" not in request
        [disk] = request["BlockDeviceMappings"]
        assert disk["Ebs"] == {
            "VolumeSize": 50,
            "VolumeType": "gp3",
            "Encrypted": True,
            "DeleteOnTermination": True,
            "VolumeInitializationRate": 300,
        }
        [interface] = request["NetworkInterfaces"]
        assert interface["AssociatePublicIpAddress"] is False


def test_tags_hold_whose_a_machine_is_and_nothing_else() -> None:
    assert {tag["Key"]: tag["Value"] for tag in tags(settings(), SHIP)} == {
        "mux:event": "camp",
        "mux:store": settings().store,
        "mux:ship": SHIP,
        "Name": f"camp {SHIP}",
    }


def test_the_same_try_is_the_same_to_the_letter_and_the_next_has_another_token() -> None:
    made = settings()
    where = pools(made, SHIP)
    first, again, other = (fleet(made, SHIP, 1, attempt, where, spot=False) for attempt in (0, 0, 1))
    assert first == again
    assert first["ClientToken"] != other["ClientToken"]
    on_spot = fleet(made, SHIP, 1, 0, where, spot=True)
    assert on_spot["ClientToken"] == first["ClientToken"], "EC2 refuses the other market, and what was made is found"
