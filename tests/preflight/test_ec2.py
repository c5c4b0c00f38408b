"""What a preflight finds in a cloud: asked of the strict fake, and judged."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiobotocore.session import AioSession
from aiohttp import web
from aiohttp.test_utils import TestServer

from mux.preflight.ec2_checks import judged
from mux.preflight.ec2_facts import STANDARD, Ec2Facts, Ec2Wanted, RuleFacts, TypeFacts
from mux.preflight.ec2_gather import Ec2Gatherer
from mux.preflight.finding import Finding, Outcome
from tests.fakes.ec2 import KEY_ID, PROMPT, SHIPS_GROUP, Cloud, Principal, Quotas, api_of, client, client_settings
from tests.fakes.ec2.serving import served

SUBNETS = ("subnet-0aaaaaaaaaaaaaaaa", "subnet-0bbbbbbbbbbbbbbbb")
SESSION = AioSession()
"""One for all: it takes a second to read what EC2 is."""
WANTED = Ec2Wanted(
    event="camp",
    region="eu-central-1",
    image="ami-0123456789abcdef0",
    instance_types=("m6i.2xlarge", "m6a.2xlarge"),
    subnets=SUBNETS,
    security_groups=(SHIPS_GROUP,),
    markets=(False,),
    disk_gib=100,
    ships=10,
    seats_per_ship=4,
    control_port=8443,
    workspace_ports=(20000, 29999),
    control_host="10.0.64.7",
)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(PROMPT)


async def gathered(cloud: Cloud, wanted: Ec2Wanted = WANTED, key: str = KEY_ID) -> Ec2Facts:
    async with api_of(cloud) as api, served(api) as url:
        options = client_settings(url, key=key)
        del options["region_name"], options["config"]
        return await Ec2Gatherer(wanted, SESSION, options).facts()


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


@pytest.fixture(scope="module")
def good() -> Ec2Facts:
    """An account in which everything is well; asking left it as it was."""
    cloud = Cloud(PROMPT)
    facts = asyncio.run(gathered(cloud))
    assert (cloud.instances, cloud.volumes, cloud.templates) == ({}, {}, {})
    return facts


def test_an_event_that_fits_is_all_well(good: Ec2Facts) -> None:
    findings = judged(WANTED, good)
    assert {finding.check: finding.outcome for finding in findings} == {
        "credentials": Outcome.OK,
        "permissions": Outcome.OK,
        "instance types": Outcome.OK,
        "vCPU quota, on-demand": Outcome.OK,
        "EBS quota, gp3": Outcome.OK,
        "addresses": Outcome.OK,
        "security groups": Outcome.OK,
        "control port": Outcome.OK,
        "machine image": Outcome.OK,
    }, findings
    assert good.faults == {}


def test_five_hundred_ships_of_100_gb_do_not_fit_fifty_tib(good: Ec2Facts) -> None:
    """What stopped a large event: 500 × 100 GiB and what was there already against the account's limit."""
    wanted = replace(WANTED, ships=500)
    alone = by_check(judged(wanted, good))["EBS quota, gp3"]
    assert (alone.outcome, alone.number, alone.limit) == (Outcome.WARNING, 48.8, 50.0)
    found = by_check(judged(wanted, replace(good, gp3_gib=2048)))["EBS quota, gp3"]
    assert found.outcome is Outcome.FAILURE
    assert (found.number, found.limit, found.unit) == (50.8, 50.0, "TiB")
    assert found.said == "2 TiB exist and 48.8 are asked for: 50.8 of 50 TiB"
    assert "set ec2.disk_gib to 98 or less" in found.remedy


async def test_what_runs_already_counts_and_ships_that_exist_are_not_asked_for_again(cloud: Cloud) -> None:
    async with api_of(cloud) as api, client("ec2", api) as ec2:
        for count, tags in ((3, []), (2, [{"Key": "mux:event", "Value": "camp"}])):
            marked = {"TagSpecifications": [{"ResourceType": "instance", "Tags": tags}]} if tags else {}
            await ec2.run_instances(
                ImageId=WANTED.image,
                InstanceType="m6i.2xlarge",
                MinCount=count,
                MaxCount=count,
                SubnetId=SUBNETS[0],
                BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 100, "VolumeType": "gp3"}}],
                **marked,
            )
    cloud.advance(60)
    facts = await gathered(cloud)
    assert (facts.ships, facts.vcpus, facts.gp3_gib) == (2, {STANDARD.on_demand: 40}, 500)
    quota = by_check(judged(WANTED, facts))["vCPU quota, on-demand"]
    assert quota.number == 40 + 8 * 8  # eight more ships of eight


async def test_parked_ships_are_asked_for_again() -> None:
    """Rehearse, park, check again: stopped machines count against no quota until they are started."""
    cloud = Cloud(replace(PROMPT, quotas=Quotas(on_demand_vcpu=64)))
    async with api_of(cloud) as api, client("ec2", api) as ec2:
        tags = [{"Key": "mux:event", "Value": "camp"}]
        made = await ec2.run_instances(
            ImageId=WANTED.image,
            InstanceType="m6i.2xlarge",
            MinCount=8,
            MaxCount=8,
            SubnetId=SUBNETS[0],
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        cloud.advance(60)
        await ec2.stop_instances(InstanceIds=[each["InstanceId"] for each in made["Instances"]])
        cloud.advance(60)
    cloud.settings = replace(PROMPT, quotas=Quotas(on_demand_vcpu=16))
    facts = await gathered(cloud)
    assert (facts.ships, facts.vcpus, facts.parked) == (8, {}, {STANDARD.on_demand: (8,) * 8})
    found = by_check(judged(replace(WANTED, ships=8), facts))["vCPU quota, on-demand"]
    assert found.outcome is Outcome.FAILURE
    assert found.said == "0 run and up to 64 are asked for, 64 of them by 8 parked ships: 64 of 16 vCPUs"
    fewer = by_check(judged(replace(WANTED, ships=1), facts))["vCPU quota, on-demand"]
    assert (fewer.outcome, fewer.number) == (Outcome.OK, 8)
    more = by_check(judged(WANTED, facts))["vCPU quota, on-demand"]
    assert more.number == 80, "two ships are new"
    on_spot = by_check(judged(replace(WANTED, ships=8, markets=(True,)), facts))
    assert on_spot["vCPU quota, spot"].outcome is Outcome.OK
    assert on_spot["vCPU quota, on-demand"].outcome is Outcome.FAILURE, "what is parked was launched on demand"


def test_a_stopped_spot_machine_counts_against_the_quota_of_its_market(good: Ec2Facts) -> None:
    """mux parks none, but somebody may have stopped one that bears the event's tag."""
    assert STANDARD.spot is not None
    facts = replace(good, ships=1, parked={STANDARD.spot: (8,)}, quotas={**good.quotas, STANDARD.spot: 4.0})
    found = by_check(judged(WANTED, facts))
    assert found["vCPU quota, spot"].outcome is Outcome.FAILURE
    assert found["vCPU quota, on-demand"].outcome is Outcome.OK


async def test_families_with_quotas_of_their_own_are_held_against_those() -> None:
    wanted = replace(WANTED, instance_types=("g5.xlarge",))
    cloud = Cloud(replace(PROMPT, quotas=Quotas(told={"L-DB2E81BA": 16.0, "L-3819A6DF": 64.0})))
    facts = await gathered(cloud, wanted)
    small = by_check(judged(wanted, facts))["vCPU quota, on-demand G and VT"]
    assert (small.outcome, small.number, small.limit) == (Outcome.FAILURE, 40, 16)
    assert "quota of 40 at Service Quotas (L-DB2E81BA)" in small.remedy
    either = by_check(judged(replace(wanted, markets=(True, False)), facts))
    assert either["vCPU quota, spot G and VT"].outcome is Outcome.OK
    assert either["vCPU quota, on-demand G and VT"].outcome is Outcome.WARNING


@pytest.mark.parametrize(
    ("markets", "there", "outcome", "words"),
    [
        ((True,), True, Outcome.OK, "the account has AWSServiceRoleForEC2Spot"),
        ((True,), False, Outcome.FAILURE, "launches no spot machine"),
        ((True, False), False, Outcome.WARNING, "ships are launched on demand"),
    ],
)
async def test_an_account_that_never_had_a_spot_machine_is_told_beforehand(
    markets: tuple[bool, ...], there: bool, outcome: Outcome, words: str
) -> None:
    wanted = replace(WANTED, markets=markets)
    cloud = Cloud(replace(PROMPT, spot_role=there))
    found = by_check(judged(wanted, await gathered(cloud, wanted)))["spot role"]
    assert (found.outcome, words in found.said) == (outcome, True)
    assert ("create-service-linked-role --aws-service-name spot" in found.remedy) == (not there)


async def test_where_iam_does_not_say_whether_there_are_spot_machines_that_is_a_warning(cloud: Cloud) -> None:
    wanted = replace(WANTED, markets=(True,))
    cloud.keys[KEY_ID] = replace(cloud.keys[KEY_ID], denied=frozenset({"iam:GetRole"}))
    found = by_check(judged(wanted, await gathered(cloud, wanted)))["spot role"]
    assert (found.outcome, "AccessDenied" in found.said) == (Outcome.WARNING, True)


@pytest.mark.parametrize(
    ("typed", "currency", "outcome", "words"),
    [
        ({}, "USD", Outcome.OK, "EC2 asks m6a.2xlarge 0."),
        ({"m6i.2xlarge": 0.5, "m6a.2xlarge": 0.5}, "USD", Outcome.OK, ", m6i.2xlarge 0."),
        ({"m6i.2xlarge": 0.5, "m6a.2xlarge": 0.01}, "USD", Outcome.WARNING, "and the event file says m6a.2xlarge 0.01"),
        ({"m6i.2xlarge": 0.01, "m6a.2xlarge": 0.01}, "EUR", Outcome.OK, "USD an hour for the machine alone"),
    ],
)
async def test_prices_of_spot_machines_are_held_against_what_ec2_asks(
    cloud: Cloud, typed: dict[str, float], currency: str, outcome: Outcome, words: str
) -> None:
    wanted = replace(WANTED, markets=(True,), spot_prices=typed, currency=currency)
    found = by_check(judged(wanted, await gathered(cloud, wanted)))["spot prices"]
    assert (found.outcome, words in found.said) == (outcome, True), found
    assert ("spend.spot_prices" in found.remedy) == (outcome is not Outcome.OK)


async def test_prices_that_ec2_does_not_tell_are_a_warning_and_nobody_elses_business(cloud: Cloud) -> None:
    wanted = replace(WANTED, markets=(True,))
    cloud.keys[KEY_ID] = replace(cloud.keys[KEY_ID], denied=frozenset({"ec2:DescribeSpotPriceHistory"}))
    found = by_check(judged(wanted, await gathered(cloud, wanted)))
    assert (found["spot prices"].outcome, found["spot prices"].said) == (
        Outcome.WARNING, "cannot be found out: ec2:DescribeSpotPriceHistory was answered with UnauthorizedOperation",
    )  # fmt: skip
    assert found["permissions"].outcome is Outcome.OK


async def test_quotas_that_are_too_small_are_told_with_what_to_ask_for() -> None:
    cloud = Cloud(replace(PROMPT, quotas=Quotas(on_demand_vcpu=64, spot_vcpu=10)))
    facts = await gathered(cloud)
    found = by_check(judged(WANTED, facts))["vCPU quota, on-demand"]
    assert found.outcome is Outcome.FAILURE
    assert found.said == "0 run and up to 80 are asked for: 80 of 64 vCPUs"
    assert "quota of 80 at Service Quotas (L-1216C47A)" in found.remedy
    spot = by_check(judged(replace(WANTED, markets=(True,)), facts))["vCPU quota, spot"]
    assert spot.limit == 10
    fewer = by_check(judged(replace(WANTED, markets=(True, False), ships=6), facts))
    assert fewer["vCPU quota, on-demand"].outcome is Outcome.OK
    assert fewer["vCPU quota, spot"].outcome is Outcome.WARNING, "what it does not hold comes on demand"
    both = by_check(judged(replace(WANTED, markets=(True, False)), facts))
    assert {both[f"vCPU quota, {market}"].outcome for market in ("spot", "on-demand")} == {Outcome.FAILURE}


async def permissions(cloud: Cloud, key: Principal, wanted: Ec2Wanted = WANTED) -> tuple[Ec2Facts, list[Finding]]:
    cloud.keys["AKIAHELD"] = key
    facts = await gathered(cloud, wanted, key="AKIAHELD")
    return facts, [each for each in judged(wanted, facts) if each.check == "permissions"]


async def test_every_permission_that_is_missing_is_named(cloud: Cloud) -> None:
    denied = {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:DescribeVolumes", "servicequotas:GetServiceQuota"}
    blind = denied | {"iam:SimulatePrincipalPolicy"}
    weak = Principal("arn:aws:iam::123456789012:user/weak", frozenset(blind))
    facts, [first, second] = await permissions(cloud, weak)
    findings = by_check(judged(WANTED, facts))
    assert (first.outcome, first.said) == (Outcome.FAILURE, "denied: ec2:RunInstances")
    assert (second.outcome, "ec2:TerminateInstances" in second.said) == (Outcome.WARNING, True)
    assert "iam:SimulatePrincipalPolicy, answered with AccessDenied" in second.remedy
    # Once a ship is there, a denial is one.
    [only] = [e for e in judged(WANTED, replace(facts, ship_instance="i-1")) if e.check == "permissions"]
    assert only.said == "denied: ec2:RunInstances, ec2:TerminateInstances"
    assert findings["EBS quota, gp3"].outcome is Outcome.WARNING
    assert "servicequotas:GetServiceQuota" in findings["vCPU quota, on-demand"].said
    assert facts.faults["DescribeVolumes"] == "UnauthorizedOperation"


SESSION_OF_MUX = "arn:aws:sts::123456789012:assumed-role/mux/i-0123456789abcdef0"


async def test_permissions_that_are_given_by_tag_are_told_by_simulation(cloud: Cloud) -> None:
    """The role of deploy/aws/mux.yaml: before the first ship, dry runs are denied of what does not exist."""
    facts, [only] = await permissions(cloud, Principal(SESSION_OF_MUX, event="camp"))
    assert only.outcome is Outcome.OK, facts
    assert only.said == (
        "all 11 that were tried are allowed, 7 of them on what has the tag mux:event, as IAM's simulation says"
    )
    denied = frozenset({"ec2:DeleteVolume", "ec2:StopInstances"})
    _, [told] = await permissions(cloud, Principal(SESSION_OF_MUX, denied, event="camp"))
    assert (told.outcome, told.said) == (Outcome.FAILURE, "denied: ec2:DeleteVolume, ec2:StopInstances")
    _, [other] = await permissions(cloud, Principal(SESSION_OF_MUX, event="another"))
    assert (other.outcome, "ec2:CreateFleet" in other.said) == (Outcome.FAILURE, True)
    unasked = Principal(SESSION_OF_MUX, frozenset({"iam:SimulatePrincipalPolicy"}), event="camp")
    _, [doubt] = await permissions(cloud, unasked)
    assert doubt.outcome is Outcome.WARNING


async def test_listings_and_the_ships_role_are_tried_too(cloud: Cloud) -> None:
    wanted = replace(WANTED, instance_profile="ship")
    denied = frozenset({"ec2:DescribeInstanceStatus", "ec2:DescribeLaunchTemplates", "iam:PassRole"})
    _, [told] = await permissions(cloud, Principal(SESSION_OF_MUX, denied), wanted)
    assert told.said == "denied: ec2:DescribeInstanceStatus, ec2:DescribeLaunchTemplates, iam:PassRole"
    _, [fine] = await permissions(cloud, Principal(SESSION_OF_MUX), wanted)
    assert (fine.outcome, fine.said) == (Outcome.OK, "all 12 that were tried are allowed")


async def test_without_credentials_nothing_else_is_told(cloud: Cloud) -> None:
    facts = await gathered(cloud, key="AKIANOBODY")
    [only] = judged(WANTED, facts)
    assert (only.check, only.outcome) == ("credentials", Outcome.FAILURE)


async def test_what_does_not_exist_is_told_all_at_once(cloud: Cloud) -> None:
    wanted = replace(
        WANTED,
        instance_types=("m6i.2xlarge", "x9.huge"),
        subnets=("subnet-0fffffffffffffff0",),
        security_groups=("sg-0000000000000000",),
        image="ami-0fffffffffffffff0",
    )
    findings = by_check(judged(wanted, await gathered(cloud, wanted)))
    for check, words in {
        "instance types": "unknown in eu-central-1: x9.huge",
        "subnets": "InvalidSubnetID.NotFound",
        "security groups": "InvalidGroup.NotFound",
        "machine image": "InvalidAMIID.NotFound",
    }.items():
        assert findings[check].outcome is Outcome.FAILURE
        assert words in findings[check].said
        assert findings[check].remedy


async def test_what_exists_and_does_not_fit_is_told_all_at_once(cloud: Cloud) -> None:
    wanted = replace(
        WANTED,
        ships=5,
        instance_types=("m7g.2xlarge",),
        subnets=("subnet-0ddddddddddddddd0",),
        image="ami-0bbbbbbbbbbbbbbbb",
    )
    facts = await gathered(cloud, wanted)
    high = TypeFacts("u-6tb1.metal", 448, 6 << 20, frozenset({"x86_64"}), frozenset({"eu-central-1a"}))
    findings = judged(wanted, replace(facts, types=(*facts.types, high)))
    told = {(finding.check, finding.outcome): finding.said for finding in findings}
    for found, words in {
        ("vCPU quota, on-demand", Outcome.WARNING): "u-6tb1.metal have quotas of their own",
        ("addresses", Outcome.FAILURE): "5 more ships, 3 addresses free",
        ("zones", Outcome.WARNING): "all ships are in eu-central-1a",
        ("machine image", Outcome.FAILURE): "x86_64, which m7g.2xlarge are not",
    }.items():
        assert words in told[found]


@pytest.mark.parametrize(
    ("changes", "check", "outcome", "words"),
    [
        ({"workspace_ports": (20000, 30000)}, "security groups", Outcome.FAILURE, "nobody may reach"),
        ({"control_port": 9000}, "control port", Outcome.FAILURE, "no group lets the ships reach"),
        ({"control_port": 443}, "control port", Outcome.WARNING, "everybody reach port 443"),
        ({"disk_gib": 4}, "machine image", Outcome.FAILURE, "needs 8 GiB and ships have 4"),
    ],
)
def test_what_is_wrong_is_told(
    good: Ec2Facts, changes: dict[str, object], check: str, outcome: Outcome, words: str
) -> None:
    wanted = replace(WANTED, **changes)  # type: ignore[arg-type]
    found = by_check(judged(wanted, good))[check]
    assert found.outcome is outcome
    assert words in found.said
    assert found.remedy


def test_a_type_that_a_zone_lacks_is_a_warning_and_a_zone_without_any_a_failure(good: Ec2Facts) -> None:
    first, second = good.types
    bare = replace(first, zones=frozenset({"eu-central-1a"}))
    found = by_check(judged(WANTED, replace(good, types=(bare, second))))["instance types"]
    assert (found.outcome, found.said) == (Outcome.WARNING, "not offered: m6i.2xlarge in eu-central-1b")
    alone = by_check(judged(WANTED, replace(good, types=(bare, replace(second, zones=frozenset())))))["instance types"]
    assert (alone.outcome, alone.said) == (Outcome.FAILURE, "none of the types is offered in eu-central-1b")


def test_subnets_of_one_zone_are_told(good: Ec2Facts) -> None:
    first, second = good.subnets
    both = (first, replace(second, zone=first.zone))
    found = by_check(judged(WANTED, replace(good, subnets=both)))
    assert found["subnets"].outcome is Outcome.OK
    assert f"{first.id} and {second.id} in {first.zone}: an order goes to one subnet of a zone" in found["subnets"].said
    assert found["zones"].outcome is Outcome.WARNING


MUX_GROUP = "sg-0fedcba9876543210"


@pytest.mark.parametrize(
    ("source", "outcome", "words"),
    [
        ({"from_network": "0.0.0.0/0"}, Outcome.FAILURE, "open to everybody"),
        ({"from_group": SHIPS_GROUP}, Outcome.WARNING, "each other's workspaces"),
        ({"from_network": "10.0.0.0/8"}, Outcome.WARNING, "each other's workspaces: 10.0.0.0/8 holds subnets"),
        ({"from_network": "10.0.16.128/25"}, Outcome.WARNING, "each other's workspaces: 10.0.16.128/25"),
        ({"from_network": "10.0.64.0/24"}, Outcome.WARNING, "10.0.64.0/24 may reach the workspaces, and not just"),
        ({"from_network": "10.0.64.8/32"}, Outcome.WARNING, "not just the mux (10.0.64.7)"),
        ({"from_network": "fd00::/8"}, Outcome.WARNING, "fd00::/8 may reach the workspaces"),
        ({"from_network": "10.0.64.7/32"}, Outcome.OK, "are for 10.0.64.7/32"),
        ({"from_group": MUX_GROUP}, Outcome.OK, f"are for {MUX_GROUP}"),
    ],
)
def test_workspaces_are_for_the_mux_only(good: Ec2Facts, source: dict[str, str], outcome: Outcome, words: str) -> None:
    rules = (
        *(rule for rule in good.rules if rule.group != SHIPS_GROUP),
        RuleFacts(SHIPS_GROUP, 20000, 29999, **source),
    )
    found = by_check(judged(WANTED, replace(good, rules=rules)))["security groups"]
    assert found.outcome is outcome
    assert words in found.said


@pytest.mark.parametrize(
    ("sources", "outcome", "words"),
    [
        ([{"from_network": "10.0.0.0/8"}], Outcome.WARNING, "a group lets 10.0.0.0/8 reach port 8443"),
        ([{"from_network": "10.0.0.0/20"}], Outcome.FAILURE, "no group lets ships of 10.0.16.0/20 reach"),
        ([{"from_network": "192.0.2.0/24"}], Outcome.FAILURE, "no group lets the ships reach"),
        ([{"from_network": "10.0.0.0/20"}, {"from_network": "10.0.16.0/20"}], Outcome.OK, "open to the ships"),
        ([{"from_group": SHIPS_GROUP}, {"from_network": "192.0.2.0/24"}], Outcome.WARNING, "more than ships"),
        ([{"from_group": SHIPS_GROUP}], Outcome.OK, "open to the ships"),
    ],
)
def test_the_control_port_is_for_ships_only(
    good: Ec2Facts, sources: list[dict[str, str]], outcome: Outcome, words: str
) -> None:
    of_ships = tuple(rule for rule in good.rules if rule.group == SHIPS_GROUP)
    rules = (*of_ships, *(RuleFacts(MUX_GROUP, 8443, 8443, **source) for source in sources))
    found = by_check(judged(WANTED, replace(good, rules=rules)))["control port"]
    assert found.outcome is outcome
    assert words in found.said


def test_a_group_that_is_not_the_muxs_says_nothing_about_the_control_port(good: Ec2Facts) -> None:
    database = RuleFacts("sg-0dddddddddddddddd", 0, 65535, from_network="10.0.0.0/8")
    found = by_check(judged(WANTED, replace(good, rules=(*good.rules, database))))["control port"]
    assert found.outcome is Outcome.OK


def test_which_quotas_families_share() -> None:
    def codes(name: str) -> tuple[str | None, str | None]:
        kind = TypeFacts(name, 2, 1024, frozenset())
        return tuple(quota[1] if (quota := kind.quota(spot)) else None for spot in (False, True))  # type: ignore[return-value]

    assert {codes(name) for name in ("m6i.large", "t3.medium", "im4gn.large", "is4gen.large")} == {
        ("L-1216C47A", "L-34B43A08")
    }
    assert {codes(name) for name in ("g5.xlarge", "gr6.4xlarge", "vt1.3xlarge")} == {("L-DB2E81BA", "L-3819A6DF")}
    assert codes("p6-b200.48xlarge") == ("L-417A185B", "L-7212CCBC")
    assert codes("inf2.xlarge") == ("L-1945791B", "L-B5D1601B")
    assert codes("trn1n.32xlarge") == ("L-2C3B7624", "L-6B0D517C")
    assert codes("hpc7a.96xlarge") == ("L-F7808C92", None), "there are none on spot"
    assert codes("u-6tb1.metal") == (None, None)


async def test_somebody_who_answers_in_place_of_aws_is_told() -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<html><body>Log in to the hotel&nbsp;WiFi", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    async with TestServer(app) as server:
        options = client_settings(str(server.make_url("/")))
        del options["region_name"], options["config"]
        [only] = judged(WANTED, await Ec2Gatherer(WANTED, SESSION, options).facts())
    assert (only.outcome, only.said) == (Outcome.FAILURE, "what answers is not AWS")
    assert "see what stands between the mux and AWS" in only.remedy


def test_a_machine_without_a_way_to_aws_is_not_asked_for_credentials() -> None:
    (finding,) = judged(WANTED, Ec2Facts(faults={"GetCallerIdentity": "EndpointConnectionError"}))
    assert (finding.outcome, finding.check) == (Outcome.FAILURE, "credentials")
    assert "AWS cannot be reached" in finding.said
    assert "reach AWS" in finding.remedy
    (finding,) = judged(WANTED, Ec2Facts(faults={"GetCallerIdentity": "NoCredentialsError"}))
    assert "give mux credentials" in finding.remedy
