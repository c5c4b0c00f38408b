"""Launch templates and their versions."""

from __future__ import annotations

import re

from tests.fakes.ec2.cloud import Cloud
from tests.fakes.ec2.errors import ApiError
from tests.fakes.ec2.listing import matching, page
from tests.fakes.ec2.model import Principal, Template, TemplateVersion
from tests.fakes.ec2.tagging import as_list, check_tags, tags_for
from tests.fakes.ec2.wire import Params

VERSIONS_MAX = 10_000
_NAME = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}")


def create_launch_template(cloud: Cloud, params: Params, caller: Principal) -> Params:
    """Make a template with version 1."""
    name = params["LaunchTemplateName"]
    if not _NAME.fullmatch(name):
        raise ApiError("InvalidLaunchTemplateName.MalformedException", f"The name '{name}' is not valid.")
    if any(template.name == name for template in cloud.templates.values()):
        raise ApiError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
    check_tags(params.get("TagSpecifications", []), {"launch-template"})
    tags = tags_for(params.get("TagSpecifications", []), "launch-template")
    template = Template(cloud.new_id("lt"), cloud.next_number(), name, cloud.now, tags)
    _add_version(cloud, template, params, {})
    cloud.templates[template.id] = template
    return {"LaunchTemplate": _view(cloud, template, caller)}


def create_launch_template_version(cloud: Cloud, params: Params, caller: Principal) -> Params:
    """Add a version, from nothing or on top of another."""
    template = find_template(cloud, params)
    if len(template.versions) >= VERSIONS_MAX:
        raise ApiError("VersionLimitExceeded", f"A launch template has at most {VERSIONS_MAX} versions.")
    source = params.get("SourceVersion")
    version = _add_version(cloud, template, params, _version(template, source).data if source else {})
    return {"LaunchTemplateVersion": _version_view(cloud, template, version, caller)}


def _add_version(cloud: Cloud, template: Template, params: Params, base: Params) -> TemplateVersion:
    data = base | params["LaunchTemplateData"]
    check_tags(data.get("TagSpecifications", []), {"instance", "volume", "network-interface", "spot-instances-request"})
    number = template.latest + 1 if template.versions else 1
    version = TemplateVersion(number, data, params.get("VersionDescription", ""), cloud.now)
    template.versions[number] = version
    return version


def describe_launch_templates(cloud: Cloud, params: Params, caller: Principal) -> Params:
    """Templates by id, name or filter."""
    chosen = list(cloud.templates.values())
    if "LaunchTemplateIds" in params:
        chosen = [find_template(cloud, {"LaunchTemplateId": name}) for name in params["LaunchTemplateIds"]]
    if "LaunchTemplateNames" in params:
        chosen = [find_template(cloud, {"LaunchTemplateName": name}) for name in params["LaunchTemplateNames"]]
    chosen = matching(
        chosen, params, lambda template: {"launch-template-name": [template.name]}, lambda template: template.tags
    )
    shown, token = page(chosen, params, cloud.settings.page_size, lambda template: template.number, least=1)
    return {"LaunchTemplates": [_view(cloud, template, caller) for template in shown], "NextToken": token}


def describe_launch_template_versions(cloud: Cloud, params: Params, caller: Principal) -> Params:
    """The versions of one template, all or some."""
    template = find_template(cloud, params)
    wanted = params.get("Versions")
    versions = [_version(template, name) for name in wanted] if wanted else list(template.versions.values())
    shown, token = page(versions, params, cloud.settings.page_size, lambda version: version.number, least=1)
    views = [_version_view(cloud, template, version, caller) for version in shown]
    return {"LaunchTemplateVersions": views, "NextToken": token}


def delete_launch_template(cloud: Cloud, params: Params, caller: Principal) -> Params:
    """Delete a template and its versions; machines made from it live on."""
    template = find_template(cloud, params)
    del cloud.templates[template.id]
    return {"LaunchTemplate": _view(cloud, template, caller)}


def delete_launch_template_versions(cloud: Cloud, params: Params, _caller: Principal) -> Params:
    """Delete versions, but not the default one. What cannot be deleted is in the answer, not an error."""
    template = find_template(cloud, params)
    gone: list[Params] = []
    kept: list[Params] = []
    for name in params["Versions"]:
        number = int(name)
        entry = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name, "VersionNumber": number}
        if number == template.default or number not in template.versions:
            code = "launchTemplateVersionDoesNotExist" if number != template.default else "unexpectedError"
            kept.append(entry | {"ResponseError": {"Code": code, "Message": f"Version {number} was not deleted."}})
        else:
            del template.versions[number]
            gone.append(entry)
    return {
        "SuccessfullyDeletedLaunchTemplateVersions": gone,
        "UnsuccessfullyDeletedLaunchTemplateVersions": kept,
    }


def find_template(cloud: Cloud, reference: Params) -> Template:
    """A template by id or by name, never by both. Raises what EC2 says."""
    template_id, name = reference.get("LaunchTemplateId"), reference.get("LaunchTemplateName")
    if (template_id is None) == (name is None):
        raise ApiError(
            "InvalidParameterCombination", "Specify either LaunchTemplateId or LaunchTemplateName, not both."
        )
    for template in cloud.templates.values():
        if template_id == template.id or name == template.name:
            return template
    if template_id is not None:
        raise ApiError("InvalidLaunchTemplateId.NotFound", f"The launch template ID '{template_id}' does not exist.")
    raise ApiError(
        "InvalidLaunchTemplateName.NotFoundException",
        f"At least one of the launch templates specified in the request does not exist: {name}.",
    )


def template_data(cloud: Cloud, reference: Params) -> Params:
    """What a launch by this template is made from."""
    return _version(find_template(cloud, reference), reference.get("Version", "$Default")).data


def _version(template: Template, name: str) -> TemplateVersion:
    names = {"$Latest": template.latest, "$Default": template.default}
    number = names.get(name, int(name) if name.isdigit() else 0)
    if number not in template.versions:
        raise ApiError(
            "InvalidLaunchTemplateId.VersionNotFound",
            f"Could not find the specified version {name} for the launch template with ID {template.id}.",
        )
    return template.versions[number]


def _view(cloud: Cloud, template: Template, caller: Principal) -> Params:
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "CreateTime": cloud.date(template.created_at),
        "CreatedBy": caller.arn,
        "DefaultVersionNumber": template.default,
        "LatestVersionNumber": template.latest,
        "Tags": as_list(template.tags),
    }


def _version_view(cloud: Cloud, template: Template, version: TemplateVersion, caller: Principal) -> Params:
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "VersionNumber": version.number,
        "VersionDescription": version.description,
        "CreateTime": cloud.date(version.created_at),
        "CreatedBy": caller.arn,
        "DefaultVersion": version.number == template.default,
        "LaunchTemplateData": version.data,
    }
