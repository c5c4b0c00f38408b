"""Which parameters the fake understands. The rest is refused, since a parameter that is ignored proves nothing."""

from __future__ import annotations

from tests.fakes.ec2.errors import not_in_fake
from tests.fakes.ec2.wire import Params, leaves

_FILTERS = "Filters.Name Filters.Values DryRun"
_PAGED = f"{_FILTERS} MaxResults NextToken"
_TAGS = "TagSpecifications.ResourceType TagSpecifications.Tags.Key TagSpecifications.Tags.Value"


def _within(prefix: str, names: str) -> str:
    return " ".join(f"{prefix}.{name}" for name in names.split())


# What one machine is made from: the same in RunInstances and in a launch template.
_MACHINE = " ".join(
    (
        "ImageId InstanceType UserData InstanceInitiatedShutdownBehavior SecurityGroupIds EbsOptimized KeyName",
        "Monitoring.Enabled IamInstanceProfile.Arn IamInstanceProfile.Name CreditSpecification.CpuCredits",
        _within("MetadataOptions", "HttpTokens HttpPutResponseHopLimit HttpEndpoint InstanceMetadataTags"),
        "BlockDeviceMappings.DeviceName",
        _within(
            "BlockDeviceMappings.Ebs",
            "VolumeSize VolumeType Encrypted DeleteOnTermination Iops Throughput SnapshotId KmsKeyId "
            "VolumeInitializationRate",
        ),
        _within("NetworkInterfaces", "DeviceIndex SubnetId Groups AssociatePublicIpAddress DeleteOnTermination"),
        "InstanceMarketOptions.MarketType",
        _within("InstanceMarketOptions.SpotOptions", "MaxPrice SpotInstanceType InstanceInterruptionBehavior"),
        _TAGS,
    )
)
_TEMPLATE_DATA = _within("LaunchTemplateData", _MACHINE)
_TEMPLATE = "LaunchTemplateId LaunchTemplateName"
_OVERRIDES = "InstanceType SubnetId MaxPrice Priority ImageId"

SUPPORTED = {
    action: frozenset(names.split())
    for action, names in {
        "RunInstances": f"{_MACHINE} MinCount MaxCount ClientToken SubnetId DryRun "
        + _within("LaunchTemplate", f"{_TEMPLATE} Version"),
        "CreateFleet": "Type ClientToken DryRun "
        + _within(
            "TargetCapacitySpecification",
            "TotalTargetCapacity OnDemandTargetCapacity SpotTargetCapacity DefaultTargetCapacityType",
        )
        + " SpotOptions.AllocationStrategy SpotOptions.InstanceInterruptionBehavior "
        + "OnDemandOptions.AllocationStrategy "
        + _within("LaunchTemplateConfigs.LaunchTemplateSpecification", f"{_TEMPLATE} Version")
        + " "
        + _within("LaunchTemplateConfigs.Overrides", _OVERRIDES)
        + f" {_TAGS}",
        "CreateLaunchTemplate": f"LaunchTemplateName VersionDescription ClientToken DryRun {_TEMPLATE_DATA} {_TAGS}",
        "CreateLaunchTemplateVersion": f"{_TEMPLATE} SourceVersion VersionDescription ClientToken DryRun "
        + _TEMPLATE_DATA,
        "DescribeLaunchTemplates": f"LaunchTemplateIds LaunchTemplateNames {_PAGED}",
        "DescribeLaunchTemplateVersions": f"{_TEMPLATE} Versions {_PAGED}",
        "DeleteLaunchTemplate": f"{_TEMPLATE} DryRun",
        "DeleteLaunchTemplateVersions": f"{_TEMPLATE} Versions DryRun",
        "DescribeInstances": f"InstanceIds {_PAGED}",
        "DescribeInstanceStatus": f"InstanceIds IncludeAllInstances {_PAGED}",
        "StartInstances": "InstanceIds DryRun",
        "StopInstances": "InstanceIds Force DryRun",
        "TerminateInstances": "InstanceIds DryRun",
        "CreateTags": "Resources Tags.Key Tags.Value DryRun",
        "DeleteVolume": "VolumeId DryRun",
        "DescribeVolumes": f"VolumeIds {_PAGED}",
        "DescribeSubnets": f"SubnetIds {_PAGED}",
        "DescribeSecurityGroups": f"GroupIds {_PAGED}",
        "DescribeInstanceTypes": f"InstanceTypes {_PAGED}",
        "DescribeInstanceTypeOfferings": f"LocationType {_PAGED}",
        "DescribeImages": f"ImageIds Owners {_PAGED}",
        "DescribeSpotPriceHistory": f"InstanceTypes ProductDescriptions StartTime EndTime AvailabilityZone {_PAGED}",
        "CancelSpotInstanceRequests": "SpotInstanceRequestIds DryRun",
    }.items()
}


def check_supported(action: str, params: Params) -> None:
    """Refuse an action or a parameter that the fake does not understand."""
    if action not in SUPPORTED:
        raise not_in_fake(f"The action {action}")
    for path in leaves(params):
        if path not in SUPPORTED[action]:
            raise not_in_fake(f"{path} of {action}")
