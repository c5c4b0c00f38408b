"""What an event needs of the account's quotas, against what is used already. Pure: facts in, findings out.

Rules: what is asked for is what is not there yet, at the largest type that may be launched, and parked ships, which
count as soon as they are started. Each market and each group of families has a quota of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mux.preflight.ec2_facts import FAMILIES, QUOTA_GP3, Ec2Facts, Ec2Wanted, Quota
from mux.preflight.finding import Finding, Outcome, shown, warning, within

GIB_PER_TIB = 1024


def vcpus(wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    """Every quota by itself. Where another one can take all ships, too small a quota is no failure."""
    found = [each for spot in wanted.markets for each in _launched(spot, wanted, facts)]
    enough = any(each.outcome is not Outcome.FAILURE and each.number is not None for each in found)
    for each in found:
        yield replace(each, outcome=Outcome.WARNING) if enough and each.outcome is Outcome.FAILURE else each
    launched = {each.quota(spot) for each in facts.types for spot in wanted.markets}
    for quota in facts.parked:
        if quota not in launched:
            # A spot machine that somebody stopped is started as one.
            spot = quota in {each.spot for each in FAMILIES.values()}
            yield _held(quota, 0, spot, wanted, facts)


def _launched(spot: bool, wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    """The quotas of one market that ships to come may count against."""
    unknown = [each.name for each in facts.types if each.quota(spot) is None]
    if unknown:
        text = f"{', '.join(unknown)} have quotas of their own, which are not looked at"
        yield warning(_check(None, spot), text, "look them up in Service Quotas")
    largest: dict[Quota, int] = {}
    for each in facts.types:
        if (quota := each.quota(spot)) is not None:
            largest[quota] = max(largest.get(quota, 0), each.vcpus)
    new = max(0, wanted.ships - facts.ships)
    for quota, of_one in largest.items():
        yield _held(quota, new * of_one, spot, wanted, facts)


def _check(quota: Quota | None, spot: bool) -> str:
    names = {each.quota(spot): each.name for each in FAMILIES.values()}
    name = names[quota] if quota is not None else ""
    return f"vCPU quota, {'spot' if spot else 'on-demand'}{f' {name}' if name else ''}"


def _held(quota: Quota, new: int, spot: bool, wanted: Ec2Wanted, facts: Ec2Facts) -> Finding:
    """What runs, what is new, and the parked ships that are wanted, against a quota."""
    check = _check(quota, spot)
    if quota not in facts.quotas:
        return _no_quota(check, quota, facts)
    running = facts.ships - sum(len(each) for each in facts.parked.values())
    parked = sorted(facts.parked.get(quota, ()), reverse=True)[: max(0, wanted.ships - running)]
    now, more = facts.vcpus.get(quota, 0), new + sum(parked)
    what = f"{shown(now)} run and up to {shown(more)} are asked for"
    if parked:
        what += f", {shown(sum(parked))} of them by {len(parked)} parked ship{'s' if len(parked) > 1 else ''}"
    remedy = f"ask for a quota of {shown(now + more)} at Service Quotas ({quota[1]}) days ahead, or take fewer ships"
    return within(check, what, now + more, facts.quotas[quota], unit="vCPUs", remedy=remedy)


def _no_quota(check: str, quota: Quota, facts: Ec2Facts) -> Finding:
    code = facts.faults.get(f"GetServiceQuota {quota[1]}", "nothing")
    text = f"cannot be found out: servicequotas:GetServiceQuota of {quota[1]} was answered with {code}"
    return warning(check, text, "allow it to mux's role, or look it up in Service Quotas")


def storage(wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    """Disks of ships to come, and every volume that exists: those of parked ships are among them."""
    check = "EBS quota, gp3"
    if QUOTA_GP3 not in facts.quotas:
        yield _no_quota(check, QUOTA_GP3, facts)
        return
    more = max(0, wanted.ships - facts.ships) * wanted.disk_gib
    there, asked = facts.gp3_gib / GIB_PER_TIB, more / GIB_PER_TIB
    what = f"{shown(round(there, 1))} TiB exist and {shown(round(asked, 1))} are asked for"
    limit = facts.quotas[QUOTA_GP3]
    fitting = int(max(0.0, limit - there) * GIB_PER_TIB // max(1, wanted.ships - facts.ships))
    remedy = f"ask for more at Service Quotas ({QUOTA_GP3[1]}), or set ec2.disk_gib to {fitting} or less"
    yield within(check, what, round(there + asked, 1), limit, unit="TiB", remedy=remedy)
