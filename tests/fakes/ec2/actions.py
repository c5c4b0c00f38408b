"""Every action of EC2 that the fake has, and the way of a request through it, once it is known who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.fakes.ec2 import changing, describing, places, tagging, templates
from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.fleets import create_fleet
from tests.fakes.ec2.launching import reservation, run_instances
from tests.fakes.ec2.model import ENDED, Principal
from tests.fakes.ec2.permissions import allow, allow_things, denied, end_dry_run
from tests.fakes.ec2.support import check_supported
from tests.fakes.ec2.touching import touched
from tests.fakes.ec2.wire import Params, decode

ACTIONS: Mapping[str, Callable[[Cloud, Params, Principal], Params]] = {
    "RunInstances": run_instances,
    "CreateFleet": create_fleet,
    "CreateLaunchTemplate": templates.create_launch_template,
    "CreateLaunchTemplateVersion": templates.create_launch_template_version,
    "DescribeLaunchTemplates": templates.describe_launch_templates,
    "DescribeLaunchTemplateVersions": templates.describe_launch_template_versions,
    "DeleteLaunchTemplate": templates.delete_launch_template,
    "DeleteLaunchTemplateVersions": templates.delete_launch_template_versions,
    "DescribeInstances": describing.describe_instances,
    "DescribeInstanceStatus": describing.describe_instance_status,
    "DescribeVolumes": describing.describe_volumes,
    "DeleteVolume": changing.delete_volume,
    "StartInstances": changing.start_instances,
    "StopInstances": changing.stop_instances,
    "TerminateInstances": changing.terminate_instances,
    "CancelSpotInstanceRequests": changing.cancel_spot_instance_requests,
    "CreateTags": tagging.create_tags,
    "DescribeSubnets": places.describe_subnets,
    "DescribeSecurityGroups": places.describe_security_groups,
    "DescribeInstanceTypes": places.describe_instance_types,
    "DescribeInstanceTypeOfferings": places.describe_instance_type_offerings,
    "DescribeImages": places.describe_images,
    "DescribeSpotPriceHistory": places.describe_spot_price_history,
}
# These look at what they are about before they answer a dry run.
_THOROUGH = {"RunInstances", "CreateFleet", "StartInstances", "StopInstances", "TerminateInstances", "CreateTags"}


class Tokens:
    """What was answered to which ClientToken. Requests that failed leave no trace."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, str], tuple[Params, Params]] = {}

    def recall(self, cloud: Cloud, action: str, params: Params) -> Params | None:
        """The answer to the same request before, with instances as they are now.

        Raises:
            ApiError: the token came with another request, or its instances are gone.
        """
        answered = self._answered.get((action, params.get("ClientToken", "")))
        if answered is None:
            return None
        before, answer = answered
        if before != params:
            raise ApiError(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        if action != "RunInstances":
            return answer
        instances = [cloud.instances[one["InstanceId"]] for one in answer["Instances"]]
        if all(instance.state in ENDED for instance in instances):
            raise ApiError(
                "IdempotentInstanceTerminated",
                "The request uses the same client token as a previous request for which the instance has been "
                "terminated.",
            )
        return reservation(cloud, instances)

    def keep(self, action: str, params: Params, answer: Params) -> None:
        """Remember an answer."""
        if params.get("ClientToken"):
            self._answered[action, params["ClientToken"]] = (params, answer)


def perform(cloud: Cloud, tokens: Tokens, action: str, form: Mapping[str, str], caller: Principal) -> Params:
    """Carry out one request. Raises :class:`ApiError` for every refusal."""
    params = decode(action, form)
    check_supported(action, params)
    cloud.buckets.request(action, params, cloud.now)
    allow(caller, f"ec2:{action}")
    allow_things(cloud, caller, f"ec2:{action}", params)
    if caller.policy is not None:
        for each in touched(cloud, action, params):
            if not caller.policy.allows(each):
                raise denied(caller, each.permission, each.arn)
    if action not in _THOROUGH:
        end_dry_run(params)
    earlier = tokens.recall(cloud, action, params) if not params.get("DryRun") else None
    if earlier is not None:
        return earlier
    answer = ACTIONS[action](cloud, params, caller)
    tokens.keep(action, params, answer)
    return answer
