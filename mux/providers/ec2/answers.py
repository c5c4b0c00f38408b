"""What an answer of AWS has in it, whatever it says: by that it is told from one of somebody else's. Pure.

A proxy with a login page, or a wrong endpoint, may well answer with 200. Taken for EC2, it would say that there are no
machines; so every answer must hold the member that EC2 never leaves out, be it empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MEMBERS: Mapping[str, str] = MappingProxyType(
    {
        "CreateFleet": "FleetId",
        "CreateLaunchTemplate": "LaunchTemplate",
        "CreateLaunchTemplateVersion": "LaunchTemplateVersion",
        "DeleteLaunchTemplate": "LaunchTemplate",
        "DescribeImages": "Images",
        "DescribeInstanceStatus": "InstanceStatuses",
        "DescribeInstanceTypeOfferings": "InstanceTypeOfferings",
        "DescribeInstanceTypes": "InstanceTypes",
        "DescribeInstances": "Reservations",
        "DescribeLaunchTemplates": "LaunchTemplates",
        "DescribeSecurityGroups": "SecurityGroups",
        "DescribeSpotPriceHistory": "SpotPriceHistory",
        "DescribeSubnets": "Subnets",
        "DescribeVolumes": "Volumes",
        "GetCallerIdentity": "Arn",
        "GetServiceQuota": "Quota",
        "RunInstances": "Instances",
        "StartInstances": "StartingInstances",
        "StopInstances": "StoppingInstances",
        "TerminateInstances": "TerminatingInstances",
        "iam:GetRole": "Role",
    }
)
"""By action. Source: the XML that the API references show for each."""
NOT_AWS_CODE = "NoAnswerOfAws"
NOT_AWS_REMEDY = "see what stands between the mux and AWS, a proxy for instance, or mend ec2.endpoint"


def is_answer(action: str, answer: Mapping[str, Any]) -> bool:
    """Whether AWS may have said this."""
    member = MEMBERS.get(action)
    return member is None or member in answer
