"""Who may do what: everybody everything, less what is denied to a key. And dry runs, which ask just that.

A key may be held to what has its event's tag. As in EC2, that is denied of what does not exist.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping

from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.model import Principal
from tests.fakes.ec2.wire import Params

TAG_EVENT = "mux:event"


def allow(caller: Principal, permission: str) -> None:
    """Raise ``UnauthorizedOperation`` for a denied permission such as ``ec2:RunInstances``."""
    if permission in caller.denied:
        raise denied(caller, permission)


def allow_things(cloud: Cloud, caller: Principal, permission: str, params: Params) -> None:
    """Raise ``UnauthorizedOperation`` if a key that is held to an event would touch what is not the event's."""
    if caller.event and permission in ON_THINGS:
        tags = [tags_of(cloud, name) for name in ON_THINGS[permission](params)]
        if any(each.get(TAG_EVENT) != caller.event for each in tags):
            raise denied(caller, permission)


def tags_of(cloud: Cloud, name: str) -> Mapping[str, str]:
    """Of a machine, a disk or a launch template, by whatever names it."""
    templates = {known: each for each in cloud.templates.values() for known in (each.id, each.name)}
    thing = cloud.instances.get(name) or cloud.volumes.get(name) or templates.get(name)
    return thing.tags if thing else {}


def _template(params: Params) -> list[str]:
    return [params.get("LaunchTemplateId") or params["LaunchTemplateName"]]


def _templates_of_fleet(params: Params) -> list[str]:
    return [name for each in params["LaunchTemplateConfigs"] for name in _template(each["LaunchTemplateSpecification"])]


def _machines(params: Params) -> list[str]:
    return list(params["InstanceIds"])


ON_THINGS: Mapping[str, Callable[[Params], list[str]]] = {
    "ec2:CreateFleet": _templates_of_fleet,
    "ec2:CreateLaunchTemplateVersion": _template,
    "ec2:DeleteLaunchTemplate": _template,
    "ec2:DeleteVolume": lambda params: [params["VolumeId"]],
    "ec2:StartInstances": _machines,
    "ec2:StopInstances": _machines,
    "ec2:TerminateInstances": _machines,
}
"""What a request touches that must exist, by permission."""


def denied(caller: Principal, permission: str, arn: str = "") -> ApiError:
    """The refusal of a permission, on a resource if that is told."""
    on = f" on resource: {arn}" if arn not in ("", "*") else ""
    encoded = base64.urlsafe_b64encode(zlib.compress(f"{caller.arn} {permission}".encode())).decode()
    return ApiError(
        "UnauthorizedOperation",
        f"You are not authorized to perform this operation. User: {caller.arn} is not authorized to perform: "
        f"{permission}{on} because no identity-based policy allows the {permission} action. Encoded authorization "
        f"failure message: {encoded}",
    )


def end_dry_run(params: Params) -> None:
    """Raise ``DryRunOperation`` if the request was one: it is permitted, and goes no further."""
    if params.get("DryRun"):
        raise ApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
