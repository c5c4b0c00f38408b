"""Tags: at launch, later, and their limits."""

from __future__ import annotations

from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.model import Principal
from tests.fakes.ec2.permissions import end_dry_run
from tests.fakes.ec2.wire import Params

TAGS_MAX = 50
KEY_CHARS_MAX = 128
VALUE_CHARS_MAX = 256


def as_dict(tags: list[Params]) -> dict[str, str]:
    """Tags as a dict. Raises for what EC2 would not take."""
    for tag in tags:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if not 1 <= len(key) <= KEY_CHARS_MAX or key.lower().startswith("aws:"):
            raise ApiError("InvalidParameterValue", f"Tag key '{key}' is empty, too long or reserved.")
        if len(value) > VALUE_CHARS_MAX:
            raise ApiError("InvalidParameterValue", f"Tag value exceeds the maximum length of {VALUE_CHARS_MAX}.")
    found = {tag["Key"]: tag.get("Value", "") for tag in tags}
    if len(found) > TAGS_MAX:
        raise ApiError("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
    return found


def check_tags(specifications: list[Params], kinds: set[str]) -> None:
    """Check a request's TagSpecifications: kinds of resources, and the tags themselves."""
    for specification in specifications:
        if specification.get("ResourceType") not in kinds:
            raise ApiError(
                "InvalidParameterValue", f"'{specification.get('ResourceType')}' is not a valid taggable resource type."
            )
        as_dict(specification.get("Tags", []))


def tags_for(specifications: list[Params], kind: str) -> dict[str, str]:
    """The tags for one kind of resource; later specifications win."""
    tags: dict[str, str] = {}
    for specification in specifications:
        if specification.get("ResourceType") == kind:
            tags |= as_dict(specification.get("Tags", []))
    return tags


def as_list(tags: dict[str, str]) -> list[Params]:
    """Tags as an answer carries them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def create_tags(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Add tags to instances, volumes and launch templates, to all of them or to none."""
    new = as_dict(params["Tags"])
    targets: list[dict[str, str]] = []
    for one in params["Resources"]:
        if one in cloud.volumes:
            targets.append(cloud.volumes[one].tags)
        elif one in cloud.templates:
            targets.append(cloud.templates[one].tags)
        else:
            targets.append(cloud.find(one).tags)
    end_dry_run(params)
    for tags in targets:
        if len(tags | new) > TAGS_MAX:
            raise ApiError("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
    for tags in targets:
        tags.update(new)
    return {}
