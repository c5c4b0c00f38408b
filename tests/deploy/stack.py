"""The stack that the CloudFormation template makes, on moto."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from mux.preflight.ec2_facts import Ec2Wanted
from tests.docker_engine import ROOT

TEMPLATE = ROOT / "deploy" / "aws" / "mux.yaml"
REGION = "eu-central-1"
REPOSITORY = f"arn:aws:ecr:{REGION}:123456789012:repository/camp/intro"
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


@dataclass
class Stack:
    """A stack that was made.

    Args:
        url: of moto.
        outputs: of the stack.
        policies: statements of the mux's role.
        role: its name.
    """

    url: str
    outputs: dict[str, str] = field(default_factory=dict)
    policies: list[dict[str, Any]] = field(default_factory=list)
    role: str = ""

    def client(self, service: str) -> Any:
        """Of AWS, to moto."""
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **KEYS)


@contextmanager
def made_stack() -> Iterator[Stack]:
    """A stack of an event called camp, with images in ECR."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        made = Stack(f"http://{host}:{port}")
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
        made.role = next(each["RoleName"] for each in iam.list_roles()["Roles"] if "MuxRole" in each["RoleName"])
        for name in iam.list_role_policies(RoleName=made.role)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=made.role, PolicyName=name)["PolicyDocument"]
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


def as_policy(document: Any) -> dict[str, Any]:
    """A policy: moto keeps what CloudFormation gave it as Python writes it, which is no JSON."""
    found: dict[str, Any] = ast.literal_eval(document) if isinstance(document, str) else document
    return found
