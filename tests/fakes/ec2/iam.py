"""IAM, as far as the role of spot orders goes, and its simulation of policies: what it would say of calls about things
with certain tags.

The simulation takes one permission at a time, and answers for each resource, as IAM does. Nobody's policies are looked
at but the caller's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

from tests.fakes.ec2.catalog import ACCOUNT
from tests.fakes.ec2.errors import ApiError, not_in_fake
from tests.fakes.ec2.model import Principal
from tests.fakes.ec2.permissions import ON_THINGS, TAG_EVENT
from tests.fakes.ec2.policies import Touched

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
DENIED = "implicitDeny"
SPOT_ROLES = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/spot.amazonaws.com"


def simulated(form: Mapping[str, str], caller: Principal) -> bytes:
    """The answer to SimulatePrincipalPolicy. Raises what IAM says."""
    _allow(caller, "iam:SimulatePrincipalPolicy", form["PolicySourceArn"])
    if form["PolicySourceArn"] != role_of(caller):
        raise ApiError("NoSuchEntity", f"{form['PolicySourceArn']} cannot be found.")
    if "ActionNames.member.2" in form:
        raise not_in_fake("A simulation of several permissions")
    permission = form["ActionNames.member.1"]
    context = _context(form)
    decisions = {
        arn: "allowed" if _allows(caller, permission, arn, context) else DENIED
        for name, arn in form.items()
        if name.startswith("ResourceArns.member.")
    }
    root = ElementTree.Element("SimulatePrincipalPolicyResponse", xmlns=NAMESPACE)
    results = ElementTree.SubElement(ElementTree.SubElement(root, "SimulatePrincipalPolicyResult"), "EvaluationResults")
    told = ElementTree.SubElement(results, "member")
    ElementTree.SubElement(told, "EvalActionName").text = permission
    ElementTree.SubElement(told, "EvalDecision").text = "allowed" if set(decisions.values()) == {"allowed"} else DENIED
    each = ElementTree.SubElement(told, "ResourceSpecificResults")
    for arn, decision in decisions.items():
        one = ElementTree.SubElement(each, "member")
        ElementTree.SubElement(one, "EvalResourceName").text = arn
        ElementTree.SubElement(one, "EvalResourceDecision").text = decision
    return ElementTree.tostring(root)


def role(form: Mapping[str, str], caller: Principal, *, spot: bool) -> bytes:
    """The answer to GetRole; ``spot``: the role of spot orders exists, the only one that may. Raises what IAM says."""
    name = form["RoleName"]
    _allow(caller, "iam:GetRole", f"{SPOT_ROLES}/{name}")
    if name != "AWSServiceRoleForEC2Spot" or not spot:
        raise ApiError("NoSuchEntity", f"The role with name {name} cannot be found.")
    root = ElementTree.Element("GetRoleResponse", xmlns=NAMESPACE)
    told = ElementTree.SubElement(ElementTree.SubElement(root, "GetRoleResult"), "Role")
    for field, value in (
        ("Path", "/aws-service-role/spot.amazonaws.com/"),
        ("RoleName", name),
        ("RoleId", "AROAEXAMPLE"),
        ("Arn", f"{SPOT_ROLES}/{name}"),
        ("CreateDate", "2020-01-01T00:00:00Z"),
    ):
        ElementTree.SubElement(told, field).text = value
    return ElementTree.tostring(root)


def role_of(caller: Principal) -> str:
    """Whose policies are a caller's: those of a session are its role's."""
    account, _, what = caller.arn.removeprefix("arn:aws:").partition("::")[2].partition(":")
    if not what.startswith("assumed-role/"):
        return caller.arn
    return f"arn:aws:iam::{account}:role/{what.split('/')[1]}"


def _context(form: Mapping[str, str]) -> dict[str, str]:
    entries = {name.rpartition(".")[0] for name in form if name.endswith(".ContextKeyName")}
    return {form[f"{each}.ContextKeyName"]: form[f"{each}.ContextKeyValues.member.1"] for each in entries}


def _allow(caller: Principal, permission: str, arn: str) -> None:
    by_policy = caller.policy is None or caller.policy.allows(Touched(permission, arn))
    if permission in caller.denied or not by_policy:
        raise ApiError("AccessDenied", f"User: {caller.arn} is not authorized to perform: {permission}")


def _allows(caller: Principal, permission: str, arn: str, context: Mapping[str, str]) -> bool:
    if permission in caller.denied:
        return False
    if caller.policy is not None:
        return caller.policy.allows(Touched(permission, arn, context))
    held = bool(caller.event) and permission in ON_THINGS
    return not held or context.get(f"aws:ResourceTag/{TAG_EVENT}") == caller.event
