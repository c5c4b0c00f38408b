"""The CloudFormation template: sound by cfn-lint, made by moto, and what it makes is what `mux check` wants to see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import AioSession

from mux.preflight.ec2_checks import judged
from mux.preflight.ec2_gather import Ec2Gatherer
from mux.preflight.finding import Outcome
from tests.deploy.stack import KEYS, REGION, REPOSITORY, TEMPLATE, Stack, as_policy, wanted
from tests.docker_engine import ROOT
from tests.fakes.ec2.policies import several


def test_cfn_lint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([program, TEMPLATE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.long
async def test_what_it_makes_passes_the_preflight(stack: Stack) -> None:
    asked = wanted(stack)
    facts = await Ec2Gatherer(asked, AioSession(), {"endpoint_url": stack.url, **KEYS}).facts()
    found = {finding.check: finding for finding in judged(asked, facts)}
    for check in ("credentials", "addresses", "security groups", "control port"):
        assert found[check].outcome is Outcome.OK, found[check]
    assert "zones" not in found  # ships are spread over several


@pytest.mark.long
def test_the_muxs_machine_guards_its_credentials(stack: Stack) -> None:
    ec2 = stack.client("ec2")
    [machine] = [
        instance
        for one in ec2.describe_instances(InstanceIds=[stack.outputs["Machine"]])["Reservations"]
        for instance in one["Instances"]
    ]
    assert machine["PrivateIpAddress"] == stack.outputs["ControlHost"]
    templates = ec2.describe_launch_template_versions(Versions=["$Latest"], LaunchTemplateId=template_of(ec2))
    options = templates["LaunchTemplateVersions"][0]["LaunchTemplateData"]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    groups = ec2.describe_security_groups(Filters=[{"Name": "description", "Values": ["mux camp"]}])
    rules = groups["SecurityGroups"][0]["IpPermissions"]
    open_ = {rule["FromPort"] for rule in rules for entry in rule["IpRanges"] if entry["CidrIp"] == "0.0.0.0/0"}
    assert open_ == {80, 443}


def template_of(ec2: Any) -> str:
    found: str = ec2.describe_launch_templates()["LaunchTemplates"][0]["LaunchTemplateId"]
    return found


@pytest.mark.long
def test_the_bucket_is_nobody_elses(stack: Stack) -> None:
    buckets = [each["Name"] for each in stack.client("s3").list_buckets()["Buckets"]]
    assert buckets == [stack.outputs["Bucket"]]
    text = TEMPLATE.read_text()  # moto's CloudFormation passes these over
    for setting in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"):
        assert f"{setting}: true" in text
    assert "VersioningConfiguration" not in text  # old versions would outlive what mux deletes
    assert '"aws:SecureTransport": "false"' in text


@pytest.mark.long
def test_ships_reach_the_bucket_past_the_nat_and_of_s3_little_else(stack: Stack) -> None:
    ec2 = stack.client("ec2")
    [endpoint] = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    assert (endpoint["VpcEndpointType"], endpoint["ServiceName"]) == ("Gateway", f"com.amazonaws.{REGION}.s3")
    [table] = ec2.describe_route_tables(RouteTableIds=endpoint["RouteTableIds"])["RouteTables"]
    assert any("NatGatewayId" in route for route in table["Routes"]), "it is the ships' table"
    policy = as_policy(endpoint["PolicyDocument"])
    signed, layers = policy["Statement"]
    assert (several(signed["Action"]), several(signed["Resource"])) == (
        ["s3:GetObject", "s3:PutObject"], [f"arn:aws:s3:::{stack.outputs['Bucket']}/*"],
    )  # fmt: skip
    assert (several(layers["Action"]), several(layers["Resource"])) == (
        ["s3:GetObject"], [f"arn:aws:s3:::prod-{REGION}-starport-layer-bucket/*"],
    )  # fmt: skip


@pytest.mark.long
def test_ships_pull_with_a_role_that_may_pull_the_events_repositories_and_no_more(stack: Stack) -> None:
    iam = stack.client("iam")
    [role] = [each for each in iam.list_roles()["Roles"] if each["Arn"] == stack.outputs["PullRole"]]
    [name] = iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
    policy = as_policy(iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"])
    login, pull = policy["Statement"]
    assert (several(login["Action"]), login["Resource"]) == (["ecr:GetAuthorizationToken"], "*")
    assert (several(pull["Action"]), several(pull["Resource"])) == (
        ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        [REPOSITORY, f"{REPOSITORY}-2"],
    )  # fmt: skip
    [assuming] = [each for each in stack.policies if several(each["Action"]) == ["sts:AssumeRole"]]
    assert several(assuming["Resource"]) == [stack.outputs["PullRole"]]


@pytest.mark.long
def test_what_the_role_may_change_is_held_by_a_tag_or_by_the_ships_network(stack: Stack) -> None:
    """Everything that changes something is held by a tag, or by the ships' own network."""
    allowed = {action for statement in stack.policies for action in several(statement["Action"])}
    page = (ROOT / "docs/reference/ec2.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `ec2:")]
    needed = {action.strip(" `") for row in rows for action in row.split(",")}
    assert needed - allowed == set()
    assert not any("*" in action for action in allowed)
    for statement in stack.policies:
        changing = [each for each in several(statement["Action"]) if each.startswith("ec2:") and "Describe" not in each]
        if changing:
            assert statement["Resource"] != "*"
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            kinds = ("/sg-", "/subnet-", ":network-interface/", ":spot-instances-request/", ":image/", ":snapshot/")
            of_ships = all(any(kind in resource for kind in kinds) for resource in resources)
            assert "Condition" in statement or of_ships, statement
