"""Which of mux's permissions an account gives: a dry run of each call, and IAM's simulation of what it leaves in doubt.

Rules: nothing is changed, whatever the answers are. A dry run about what does not exist is denied by a policy that
allows by tag, such as that of deploy/aws/mux.yaml: IAM is then asked what it would say of a thing with mux's tag. Where
it may not be asked, doubt remains. Source: Amazon EC2 API reference, "DryRun"; AWS IAM API reference,
SimulatePrincipalPolicy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from mux.preflight.ec2_facts import REFUSED_CODES, Ec2Wanted, doubtful

TAG_EVENT = "mux:event"
INSTANCE_NONE = "i-00000000000000000"
VOLUME_NONE = "vol-00000000000000000"
TEMPLATE_NONE = "mux-preflight-none"
"""Names of what does not exist: a dry run about them changes nothing, whatever happens."""
THINGS: Mapping[str, tuple[str, ...]] = {
    "ec2:CreateFleet": ("fleet/fleet-00000000000000000", "launch-template/lt-00000000000000000"),
    "ec2:CreateLaunchTemplateVersion": ("launch-template/lt-00000000000000000",),
    "ec2:DeleteLaunchTemplate": ("launch-template/lt-00000000000000000",),
    "ec2:DeleteVolume": (f"volume/{VOLUME_NONE}",),
    "ec2:StartInstances": (f"instance/{INSTANCE_NONE}",),
    "ec2:StopInstances": (f"instance/{INSTANCE_NONE}",),
    "ec2:TerminateInstances": (f"instance/{INSTANCE_NONE}",),
}
"""What IAM is asked about, for the permissions that policies give by tag."""

Call = tuple[Callable[..., Awaitable[Any]], dict[str, Any]]


async def tried(ec2: Any, wanted: Ec2Wanted, ship_instance: str) -> dict[str, str]:
    """Permission to the code that a dry run was answered with; empty for none.

    Args:
        ec2: client.
        wanted: what the event asks for.
        ship_instance: a machine of one of its ships; empty for none.
    """
    found: dict[str, str] = {}
    for permission, (call, parameters) in _calls(ec2, wanted, ship_instance or INSTANCE_NONE).items():
        if permission == "iam:PassRole" and found["ec2:RunInstances"] in REFUSED_CODES:
            continue  # the same call with a profile: it cannot tell
        found[permission] = await _code(call, parameters)
    return found


async def _code(call: Callable[..., Awaitable[Any]], parameters: dict[str, Any]) -> str:
    try:
        await call(DryRun=True, **parameters)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except (BotoCoreError, ResponseParserError, OSError, TimeoutError) as error:
        return type(error).__name__
    return ""


def _calls(ec2: Any, wanted: Ec2Wanted, instance: str) -> dict[str, Call]:
    """Everything that mux calls and that changes something or is not called here anyway, tagged as mux tags it."""

    def tagged(*kinds: str) -> dict[str, Any]:
        tags = [{"Key": TAG_EVENT, "Value": wanted.event}]
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds]}

    machine = {"ImageId": wanted.image, "InstanceType": wanted.instance_types[0]}
    run = {
        **machine, "MinCount": 1, "MaxCount": 1, "SubnetId": wanted.subnets[0],
        "SecurityGroupIds": list(wanted.security_groups), **tagged("instance", "volume"),
        **({"InstanceMarketOptions": {"MarketType": "spot"}} if True in wanted.markets else {}),
    }  # fmt: skip
    template = {"LaunchTemplateName": TEMPLATE_NONE}
    machines = {"InstanceIds": [instance]}
    fleet = {
        "Type": "instant",
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1, "DefaultTargetCapacityType": "on-demand"},
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": {**template, "Version": "1"}}],
        **tagged("fleet", "instance"),
    }
    profile = {"IamInstanceProfile": {"Name": wanted.instance_profile}}
    data = {"LaunchTemplateData": machine}
    return {
        "ec2:RunInstances": (ec2.run_instances, run),
        **({"iam:PassRole": (ec2.run_instances, run | profile)} if wanted.instance_profile else {}),
        "ec2:CreateLaunchTemplate": (ec2.create_launch_template, {**template, **data, **tagged("launch-template")}),
        "ec2:CreateLaunchTemplateVersion": (ec2.create_launch_template_version, {**template, **data}),
        "ec2:DeleteLaunchTemplate": (ec2.delete_launch_template, template),
        "ec2:DescribeLaunchTemplates": (ec2.describe_launch_templates, {}),
        "ec2:CreateFleet": (ec2.create_fleet, fleet),
        "ec2:DescribeInstanceStatus": (ec2.describe_instance_status, {}),
        "ec2:StartInstances": (ec2.start_instances, machines),
        "ec2:StopInstances": (ec2.stop_instances, machines),
        "ec2:TerminateInstances": (ec2.terminate_instances, machines),
        "ec2:DeleteVolume": (ec2.delete_volume, {"VolumeId": VOLUME_NONE}),
    }


async def simulated(
    client: Callable[[], AbstractAsyncContextManager[Any]], caller: str, wanted: Ec2Wanted, codes: Mapping[str, str],
    ship_instance: str,
) -> tuple[dict[str, bool], str]:  # fmt: skip
    """What IAM says of permissions that dry runs left in doubt, for things with mux's tag; and why it does not.

    Args:
        client: makes one of IAM; not called where nothing is in doubt.
        caller: ARN of who asks.
        wanted: what the event asks for.
        codes: what `tried` found.
        ship_instance: see `tried`.
    """
    unsure = [name for name in doubtful(ship_instance) if codes.get(name) in REFUSED_CODES]
    if not unsure:
        return {}, ""
    partition, account = caller.split(":")[1], caller.split(":")[4]
    found: dict[str, bool] = {}
    try:
        async with client() as iam:
            for name in sorted(unsure):
                answer = await iam.simulate_principal_policy(
                    PolicySourceArn=_principal(caller),
                    ActionNames=[name],
                    ResourceArns=[f"arn:{partition}:ec2:{wanted.region}:{account}:{thing}" for thing in THINGS[name]],
                    ContextEntries=[_entry(f"aws:{on}Tag/{TAG_EVENT}", wanted.event) for on in ("Resource", "Request")],
                )
                found[name] = _allowed(answer)
    except ClientError as error:
        return {}, str(error.response["Error"]["Code"])
    except (BotoCoreError, ResponseParserError, OSError, TimeoutError) as error:
        return {}, type(error).__name__
    return found, ""


def _entry(name: str, value: str) -> dict[str, Any]:
    return {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}


def _allowed(answer: Mapping[str, Any]) -> bool:
    """Whether every thing of one permission may be touched: told one by one where there are several."""
    told = [
        decision
        for each in answer["EvaluationResults"]
        for decision in (
            [one["EvalResourceDecision"] for one in each.get("ResourceSpecificResults", ())] or [each["EvalDecision"]]
        )
    ]
    return bool(told) and all(decision == "allowed" for decision in told)


def _principal(caller: str) -> str:
    """Whose policies count: of a session, its role's. A role with a path cannot be told from its session."""
    kind, _, rest = caller.split(":", 5)[5].partition("/")
    if kind != "assumed-role":
        return caller
    _, partition, _, _, account, _ = caller.split(":", 5)
    return f"arn:{partition}:iam::{account}:role/{rest.partition('/')[0]}"
