"""The CloudFormation template: sound by cfn-lint, made by moto, and what it makes is what `mux check` wants to see."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiobotocore.session import AioSession
from moto.server import ThreadedMotoServer

from mux.preflight.ec2_checks import judged
from mux.preflight.ec2_facts import Ec2Wanted
from mux.preflight.ec2_gather import Ec2Gatherer
from mux.preflight.finding import Outcome
from tests.docker_engine import ROOT

TEMPLATE = ROOT / "deploy" / "aws" / "mux.yaml"
REGION = "eu-central-1"
REPOSITORY = f"arn:aws:ecr:{REGION}:123456789012:repository/camp/intro"
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


def test_cfn_lint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([program, TEMPLATE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@dataclass
class Stack:
    """A stack that was made."""

    url: str
    outputs: dict[str, str]
    policies: list[dict[str, Any]]

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **KEYS)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        made = Stack(f"http://{host}:{port}", {}, [])
        image = made.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        cloud = made.client("cloudformation")
        cloud.create_stack(
            StackName="camp",
            TemplateBody=TEMPLATE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": "EventName", "ParameterValue": "camp"},
                {"ParameterKey": "MuxImage", "ParameterValue": image},
                {"ParameterKey": "OrganizersNetwork", "ParameterValue": "192.0.2.0/24"},
                {"ParameterKey": "Repositories", "ParameterValue": f"{REPOSITORY},{REPOSITORY}-2"},
            ],
        )
        found = cloud.describe_stacks(StackName="camp")["Stacks"][0]
        assert found["StackStatus"] == "CREATE_COMPLETE"
        made.outputs = {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}
        iam = made.client("iam")
        role = next(each["RoleName"] for each in iam.list_roles()["Roles"] if "MuxRole" in each["RoleName"])
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            made.policies += as_policy(document)["Statement"]
        yield made
    finally:
        server.stop()


def wanted(stack: Stack) -> Ec2Wanted:
    """What an event file with the stack's outputs asks for."""
    image = stack.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    return Ec2Wanted(
        event="camp",
        region=REGION,
        image=image,
        instance_types=("m6i.2xlarge",),
        subnets=tuple(stack.outputs["Subnets"].split(",")),
        security_groups=(stack.outputs["SecurityGroup"],),
        markets=(False,),
        disk_gib=50,
        ships=1000,
        seats_per_ship=8,
        control_port=8002,
        workspace_ports=(20000, 29999),
        control_host=stack.outputs["ControlHost"],
    )


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
    assert (actions(signed), flat(signed["Resource"])) == (
        ["s3:GetObject", "s3:PutObject"], [f"arn:aws:s3:::{stack.outputs['Bucket']}/*"],
    )  # fmt: skip
    assert (actions(layers), flat(layers["Resource"])) == (
        ["s3:GetObject"], [f"arn:aws:s3:::prod-{REGION}-starport-layer-bucket/*"],
    )  # fmt: skip


def as_policy(document: Any) -> dict[str, Any]:
    """A policy: moto keeps what CloudFormation gave it as Python writes it, which is no JSON."""
    found: dict[str, Any] = ast.literal_eval(document) if isinstance(document, str) else document
    return found


def flat(value: str | list[str | None]) -> list[str]:
    # moto writes None for what CloudFormation leaves out (AWS::NoValue).
    return [each for each in ([value] if isinstance(value, str) else value) if each is not None]


def actions(statement: dict[str, Any]) -> list[str]:
    return flat(statement["Action"])


@pytest.mark.long
def test_ships_pull_with_a_role_that_may_pull_the_events_repositories_and_no_more(stack: Stack) -> None:
    iam = stack.client("iam")
    [role] = [each for each in iam.list_roles()["Roles"] if each["Arn"] == stack.outputs["PullRole"]]
    [name] = iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
    policy = as_policy(iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"])
    login, pull = policy["Statement"]
    assert (actions(login), login["Resource"]) == (["ecr:GetAuthorizationToken"], "*")
    assert (actions(pull), flat(pull["Resource"])) == (
        ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        [REPOSITORY, f"{REPOSITORY}-2"],
    )  # fmt: skip
    [assuming] = [each for each in stack.policies if actions(each) == ["sts:AssumeRole"]]
    assert flat(assuming["Resource"]) == [stack.outputs["PullRole"]]


@pytest.mark.long
def test_the_role_may_do_what_mux_does_and_no_more(stack: Stack) -> None:
    """Everything that changes something is held by a tag, or by the ships' own network."""
    allowed = {action for statement in stack.policies for action in actions(statement)}
    page = (ROOT / "docs/reference/ec2.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `ec2:")]
    needed = {action.strip(" `") for row in rows for action in row.split(",")}
    assert needed - allowed == set()
    assert not any("*" in action for action in allowed)
    for statement in stack.policies:
        changing = [each for each in actions(statement) if each.startswith("ec2:") and "Describe" not in each]
        if changing:
            assert statement["Resource"] != "*"
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            kinds = ("/sg-", "/subnet-", ":network-interface/", ":image/", ":snapshot/")
            of_ships = all(any(kind in resource for kind in kinds) for resource in resources)
            assert "Condition" in statement or of_ships, statement
