"""Which resources a request touches, and what is known of each: what policies are asked about.

After AWS's service authorization reference, "Actions, resources, and condition keys for Amazon EC2": a launch is about
image and snapshot, machine, disks, network interface, security groups and subnet, and that of a spot machine about its
request. Each of them has to be allowed, and tags that are given take `ec2:CreateTags` beside it. A fleet takes all of
that for itself and for the launches within, and its template. The stricter reading: what a fleet may not launch is
refused as a whole, not pool by pool.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.fakes.ec2.catalog import ACCOUNT, REGION
from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.launching import merged
from tests.fakes.ec2.permissions import ON_THINGS, tags_of
from tests.fakes.ec2.policies import Touched
from tests.fakes.ec2.tagging import tags_for
from tests.fakes.ec2.wire import Params

KINDS: Mapping[str, str] = {
    "ec2:CreateLaunchTemplateVersion": "launch-template",
    "ec2:DeleteLaunchTemplate": "launch-template",
    "ec2:DeleteVolume": "volume",
    "ec2:StartInstances": "instance",
    "ec2:StopInstances": "instance",
    "ec2:TerminateInstances": "instance",
}
"""Of what must exist, by permission."""


def touched(cloud: Cloud, action: str, params: Params) -> list[Touched]:
    """Everything that a request has to be allowed."""
    permission = f"ec2:{action}"
    match action:
        case "RunInstances":
            return [
                *_launch(cloud, permission, params), *_tagging(action, params, "instance", "volume"), *_passed(params),
            ]  # fmt: skip
        case "CreateFleet":
            return _fleet(cloud, params)
        case "CreateLaunchTemplate":
            given = tags_for(params.get("TagSpecifications", []), "launch-template")
            made = _thing(permission, "launch-template", "*", _tags(given, "Request"))
            return [made, *_tagging(action, params, "launch-template")]
        case _ if permission in KINDS:
            names = ON_THINGS[permission](params)
            return [_thing(permission, KINDS[permission], name, _there(cloud, name)) for name in names]
        case _:
            return [Touched(permission)]


def _fleet(cloud: Cloud, params: Params) -> list[Touched]:
    fleet, run = "ec2:CreateFleet", "ec2:RunInstances"
    given = params.get("TagSpecifications", [])
    found = [_thing(fleet, "fleet", "*", _tags(tags_for(given, "fleet"), "Request"))]
    found += _tagging("CreateFleet", params, "fleet", "instance")
    for name in ON_THINGS[fleet](params):
        found += [_thing(each, "launch-template", name, _there(cloud, name)) for each in (fleet, run)]
    market = params["TargetCapacitySpecification"].get("DefaultTargetCapacityType", "on-demand")
    for config in params["LaunchTemplateConfigs"]:
        for override in config.get("Overrides", ()):
            own = [each for each in given if each["ResourceType"] != "fleet"]
            made = merged(cloud, config["LaunchTemplateSpecification"], {"TagSpecifications": own})
            interfaces = [each | {"SubnetId": override["SubnetId"]} for each in made["NetworkInterfaces"]]
            for each in (fleet, run):
                found += _launch(
                    cloud,
                    each,
                    made | {"NetworkInterfaces": interfaces, "InstanceMarketOptions": {"MarketType": market}},
                )
            found += [*_tagging("RunInstances", made, "instance", "volume"), *_passed(made)]
    return found


def _launch(cloud: Cloud, permission: str, made: Params) -> list[Touched]:
    image = cloud.catalog.image(made["ImageId"])
    given = made.get("TagSpecifications", [])
    market = made.get("InstanceMarketOptions", {}).get("MarketType")
    inside = (made.get("NetworkInterfaces") or [{}])[0]
    groups = inside.get("Groups") or made.get("SecurityGroupIds", [])
    return [
        Touched(permission, f"arn:aws:ec2:{REGION}::image/{made['ImageId']}"),
        *([Touched(permission, f"arn:aws:ec2:{REGION}::snapshot/{image.snapshot}")] if image else []),
        *(_thing(permission, kind, "*", _tags(tags_for(given, kind), "Request")) for kind in ("instance", "volume")),
        _thing(permission, "network-interface", "*"),
        _thing(permission, "subnet", inside.get("SubnetId") or made["SubnetId"]),
        *(_thing(permission, "security-group", group) for group in groups),
        *([_thing(permission, "spot-instances-request", "*")] if market == "spot" else []),
    ]


def _passed(made: Params) -> list[Touched]:
    """The role of a machine; a profile is taken to be called as the role in it."""
    profile = made.get("IamInstanceProfile")
    arn = f"arn:aws:iam::{ACCOUNT}:role/{profile['Name']}" if profile else ""
    return [Touched("iam:PassRole", arn, {"iam:PassedToService": "ec2.amazonaws.com"})] if profile else []


def _tagging(action: str, made: Params, *kinds: str) -> list[Touched]:
    given = {kind: tags_for(made.get("TagSpecifications", []), kind) for kind in kinds}
    return [
        _thing("ec2:CreateTags", kind, "*", _tags(tags, "Request") | {"ec2:CreateAction": action})
        for kind, tags in given.items()
        if tags
    ]


def _thing(permission: str, kind: str, name: str, context: Mapping[str, str] | None = None) -> Touched:
    return Touched(permission, f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/{name}", context or {})


def _there(cloud: Cloud, name: str) -> dict[str, str]:
    return _tags(tags_of(cloud, name), "Resource")


def _tags(tags: Mapping[str, str], on: str) -> dict[str, str]:
    return {f"aws:{on}Tag/{key}": value for key, value in tags.items()}
