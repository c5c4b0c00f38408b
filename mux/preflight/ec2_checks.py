"""What facts about EC2 mean for an event. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mux.core.plural import counted
from mux.preflight import ec2_groups, ec2_prices, ec2_quotas
from mux.preflight.ec2_facts import REFUSED_CODES, SPOT_ROLE, Ec2Facts, Ec2Wanted, doubtful
from mux.preflight.finding import Finding, failure, ok, warning
from mux.providers.ec2.answers import NOT_AWS_CODE, NOT_AWS_REMEDY

ALLOWED_CODES = frozenset({"", "DryRunOperation"})
NO_SPOT_ROLE = "ServiceLinkedRoleCreationNotPermitted"
UNREACHED = frozenset(
    {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "SSLError"}
    | {"ProxyConnectionError", "HTTPClientError"}
)
"""What botocore raises where there is no way to AWS, whatever the credentials."""
FREE_ADDRESSES_KEPT = 8
"""Addresses that should stay free in a subnet: machines that end keep theirs for a while."""


def judged(wanted: Ec2Wanted, facts: Ec2Facts) -> list[Finding]:
    """Everything, in the order in which people should read it."""
    if not facts.account:
        reason = facts.faults.get("GetCallerIdentity", "no answer")
        if reason in UNREACHED:
            remedy = f"let this machine reach AWS, over HTTPS or a proxy: STS in {wanted.region} is asked first"
            return [failure("credentials", f"AWS cannot be reached ({reason})", remedy)]
        if reason == NOT_AWS_CODE:
            return [failure("credentials", "what answers is not AWS", NOT_AWS_REMEDY)]
        remedy = "give mux credentials as the AWS tools find them: environment, profile, or the machine's role"
        return [failure("credentials", f"AWS does not know who asks ({reason})", remedy)]
    return [
        ok("credentials", facts.account),
        *_permissions(facts),
        *_spot_role(wanted, facts),
        *ec2_prices.spot(wanted, facts),
        *_types(wanted, facts),
        *ec2_quotas.vcpus(wanted, facts),
        *ec2_quotas.storage(wanted, facts),
        *_subnets(wanted, facts),
        *ec2_groups.judged(wanted, facts),
        *_machine_image(wanted, facts),
    ]


def _unknown(check: str, action: str, facts: Ec2Facts) -> Finding:
    text = f"cannot be found out: ec2:{action} was answered with {facts.faults[action]}"
    return warning(check, text, f"allow ec2:{action} to mux's role, or look for yourself")


def _permissions(facts: Ec2Facts) -> Iterator[Finding]:
    denied = {name for name, code in facts.permissions.items() if code in REFUSED_CODES}
    allowed_by_tag = {name for name in denied if facts.simulated.get(name)}
    unsure = (denied & doubtful(facts.ship_instance)) - set(facts.simulated)
    refused = denied - allowed_by_tag - unsure
    odd = {name: code for name, code in facts.permissions.items() if not _told(code)}
    if refused:
        remedy = "add them to the policy of mux's role; deploy/aws/mux.yaml has them all"
        yield failure("permissions", f"denied: {', '.join(sorted(refused))}", remedy)
    for name, code in odd.items():
        yield warning("permissions", f"{name} was answered with {code}", "check again; else try with --canary")
    if unsure:
        text = f"denied for what does not exist yet: {', '.join(sorted(unsure))}"
        why = facts.faults.get("iam:SimulatePrincipalPolicy", "nothing")
        remedy = (
            f"a policy that allows by the tag mux:event answers so, and IAM, asked for iam:SimulatePrincipalPolicy, "
            f"answered with {why}; allow that for mux's own role, or see that the policy allows them"
        )
        yield warning("permissions", text, remedy)
    if not refused and not unsure and not odd:
        text = f"all {len(facts.permissions)} that were tried are allowed"
        if allowed_by_tag:
            text += f", {len(allowed_by_tag)} of them on what has the tag mux:event, as IAM's simulation says"
        yield ok("permissions", text)


def _told(code: str) -> bool:
    # A dry run about what does not exist is answered so after the permission was looked at.
    # So is one for a spot machine without the role of spot orders, of which there is a finding of its own.
    return code in ALLOWED_CODES | REFUSED_CODES or code.endswith((".NotFound", "NotFoundException", NO_SPOT_ROLE))


def _spot_role(wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    if True not in wanted.markets:
        return
    check = "spot role"
    if facts.spot_role:
        yield ok(check, f"the account has {SPOT_ROLE}")
    elif facts.spot_role is None:
        code = facts.faults.get("iam:GetRole", "nothing")
        remedy = f"allow that to mux's role, or see that the account has {SPOT_ROLE}"
        yield warning(check, f"cannot be found out: iam:GetRole was answered with {code}", remedy)
    else:
        said = f"the account has no {SPOT_ROLE}, without which EC2 launches no spot machine"
        instead = ": ships are launched on demand, which costs more" if False in wanted.markets else ""
        remedy = "make it once: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
        yield (warning if instead else failure)(check, f"{said}{instead}", remedy)


def _types(wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    known = {each.name: each for each in facts.types}
    if "DescribeInstanceTypes" in facts.faults and not known:
        yield _unknown("instance types", "DescribeInstanceTypes", facts)
        return
    missing = [name for name in wanted.instance_types if name not in known]
    if missing:
        yield failure(
            "instance types", f"unknown in {wanted.region}: {', '.join(missing)}", "correct ec2.instance_types"
        )
    zones = sorted({subnet.zone for subnet in facts.subnets})
    bare = [zone for zone in zones if not any(zone in each.zones for each in facts.types)]
    lacking = [f"{each.name} in {zone}" for each in facts.types for zone in zones if zone not in each.zones]
    if bare:
        text = f"none of the types is offered in {', '.join(bare)}"
        yield failure("instance types", text, "add a type that is, or take its subnet out")
    elif lacking:
        yield warning("instance types", f"not offered: {', '.join(lacking)}", "a further type gives more room")
    elif not missing:
        yield ok("instance types", f"{', '.join(known)} are offered in {', '.join(zones)}")


def _subnets(wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    if "DescribeSubnets" in facts.faults:
        yield failure("subnets", f"EC2 says {facts.faults['DescribeSubnets']}", "correct ec2.subnets")
        return
    free = {subnet.id: max(0, subnet.free_addresses - FREE_ADDRESSES_KEPT) for subnet in facts.subnets}
    more = max(0, wanted.ships - facts.ships)
    told = ", ".join(f"{subnet.id} ({subnet.zone}): {subnet.free_addresses}" for subnet in facts.subnets)
    said = f"{counted(more, 'more ship')}, {sum(free.values())} addresses free ({told})"
    numbers: dict[str, Any] = {"number": more, "limit": sum(free.values()), "unit": "addresses"}
    if more > sum(free.values()):
        yield failure("addresses", said, "add subnets, or larger ones", **numbers)
    else:
        yield ok("addresses", said, **numbers)
    by_zone: dict[str, list[str]] = {}
    for subnet in facts.subnets:
        by_zone.setdefault(subnet.zone, []).append(subnet.id)
    if len(by_zone) == 1:
        text = f"all ships are in {facts.subnets[0].zone}"
        yield warning("zones", text, "a subnet in another zone helps when EC2 has no machines left in this one")
    shared = [f"{' and '.join(each)} in {zone}" for zone, each in by_zone.items() if len(each) > 1]
    if shared:
        text = f"{', '.join(shared)}: an order goes to one subnet of a zone, and to another one when that is full"
        yield ok("subnets", text)


def _machine_image(wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    image = facts.machine_image
    if image is None or image.state != "available":
        state = facts.faults.get("DescribeImages", "nothing" if image is None else image.state)
        yield failure("machine image", f"{wanted.image}: EC2 says {state}", "correct ec2.image, or share it")
        return
    other = [each.name for each in facts.types if image.architecture not in each.architectures]
    if other:
        text = f"{image.id} is for {image.architecture}, which {', '.join(other)} are not"
        yield failure("machine image", text, "take an image or types of the other architecture")
    elif image.root_gib > wanted.disk_gib:
        text = f"{image.id} needs {image.root_gib} GiB and ships have {wanted.disk_gib}"
        yield failure("machine image", text, f"set ec2.disk_gib to {image.root_gib} or more")
    else:
        default = "" if image.imds_v2 else ", though the image itself would allow more"
        yield ok("machine image", f"{image.id} is there; ships get metadata by token only, one hop far{default}")
