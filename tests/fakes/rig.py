"""What the tests of the fake EC2 share: a plain machine, a cloud with its client, and how a refusal is read."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes.ec2 import SHIPS_GROUP, Cloud, Faults

IMAGE = "ami-0123456789abcdef0"
SUBNET_A = "subnet-0aaaaaaaaaaaaaaaa"
SUBNET_B = "subnet-0bbbbbbbbbbbbbbbb"


@dataclass
class Rig:
    """A cloud, what goes wrong on the way to it, its address, and a client of EC2."""

    cloud: Cloud
    faults: Faults
    url: str
    ec2: Any

    async def run(self, count: int = 1, **more: Any) -> list[str]:
        """Launch machines; their ids."""
        answer = await self.ec2.run_instances(**machine(MinCount=count, MaxCount=count, **more))
        return [instance["InstanceId"] for instance in answer["Instances"]]

    async def seen(self, *ids: str) -> dict[str, str]:
        """The states of these instances, as listings have them."""
        answer = await self.ec2.describe_instances(InstanceIds=list(ids))
        found = [instance for one in answer["Reservations"] for instance in one["Instances"]]
        return {instance["InstanceId"]: instance["State"]["Name"] for instance in found}


def machine(**more: Any) -> dict[str, Any]:
    """The parameters of RunInstances for a plain machine."""
    return {
        "ImageId": IMAGE,
        "InstanceType": "m6i.2xlarge",
        "SubnetId": SUBNET_A,
        "SecurityGroupIds": [SHIPS_GROUP],
        "MinCount": 1,
        "MaxCount": 1,
        **more,
    }


async def refused(call: Awaitable[Any]) -> str:
    """The code that a call is refused with."""
    with pytest.raises(ClientError) as refusal:
        await call
    return str(refusal.value.response["Error"]["Code"])
