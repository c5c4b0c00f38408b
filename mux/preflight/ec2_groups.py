"""Whom security groups let in: workspaces are for the mux only, and its control port for ships only. Pure.

Rules: who the mux is shows in `control_host` alone; its group is not known. A group that lets the ships' in on the
control port is taken for it, and where there is none, every group of the network is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from mux.preflight.ec2_facts import Ec2Facts, Ec2Wanted, RuleFacts
from mux.preflight.finding import Finding, failure, ok, warning

Network = IPv4Network | IPv6Network


def judged(wanted: Ec2Wanted, facts: Ec2Facts) -> Iterator[Finding]:
    """Both directions: the mux to workspaces, and ships to the control port."""
    if "DescribeSecurityGroups" in facts.faults:
        text = f"EC2 says {facts.faults['DescribeSecurityGroups']}"
        yield failure("security groups", text, "correct ec2.security_groups, or allow ec2:DescribeSecurityGroups")
        return
    networks = [ip_network(each.network, strict=False) for each in facts.subnets if each.network]
    yield _workspaces(wanted, facts, networks)
    yield _control(wanted, facts, networks)


def _workspaces(wanted: Ec2Wanted, facts: Ec2Facts, networks: Sequence[Network]) -> Finding:
    check = "security groups"
    own = set(wanted.security_groups)
    first, last = wanted.workspace_ports
    ships = [rule for rule in facts.rules if rule.group in own]
    touching = [rule for rule in ships if rule.first <= last and first <= rule.last]
    if any(rule.everybody for rule in ships):
        return failure(
            check, "the ships' group is open to everybody", f"let only the mux in, on ports {first} to {last}"
        )
    if not any(rule.first <= first and last <= rule.last for rule in touching):
        text = f"nobody may reach the workspaces' ports {first} to {last}"
        return failure(check, text, "let the mux's group in on these ports")
    with_ships = sorted({rule.from_network for rule in touching if _meets(rule, networks)})
    if with_ships or any(rule.from_group in own for rule in touching):
        by = f": {', '.join(with_ships)} holds subnets of theirs" if with_ships else ""
        return warning(check, f"ships may reach each other's workspaces{by}", "let only the mux's group in")
    others = sorted({rule.from_network for rule in touching if _more_than(rule, wanted.control_host)})
    if others:
        text = f"{', '.join(others)} may reach the workspaces, and not just the mux ({wanted.control_host})"
        return warning(check, text, "let only the mux's group in, or its one address")
    froms = sorted({rule.from_group or rule.from_network for rule in touching})
    return ok(check, f"workspaces' ports {first} to {last} are for {', '.join(froms)}")


def _control(wanted: Ec2Wanted, facts: Ec2Facts, networks: Sequence[Network]) -> Finding:
    check, port, remedy = "control port", wanted.control_port, "let only the ships' group in"
    own = set(wanted.security_groups)
    rules = [rule for rule in facts.rules if rule.group not in own and rule.first <= port <= rule.last]
    of_mux = {rule.group for rule in rules if rule.from_group in own}
    rules = [rule for rule in rules if not of_mux or rule.group in of_mux]
    if any(rule.everybody for rule in rules):
        return warning(check, f"a group lets everybody reach port {port}, which may be the control port", remedy)
    if not of_mux and not any(_meets(rule, networks) for rule in rules):
        text = f"no group lets the ships reach the control port {port}"
        return failure(check, text, "let the ships' group in on the mux's group")
    outside = [each for each in networks if not any(_holds(rule, each) for rule in rules)]
    if not of_mux and outside:
        text = f"no group lets ships of {', '.join(map(str, outside))} reach the control port {port}"
        return failure(check, text, "let the ships' group in on the mux's group")
    wide = sorted({rule.from_network for rule in rules if rule.from_network and not _within(rule, networks)})
    if wide:
        text = f"a group lets {', '.join(wide)} reach port {port}, which may be the control port: more than ships"
        return warning(check, text, remedy)
    return ok(check, f"{port} is open to the ships")


def _meets(rule: RuleFacts, networks: Sequence[Network]) -> bool:
    """Whether a rule lets in an address of one of the networks."""
    return bool(rule.from_network) and any(
        ip_network(rule.from_network, strict=False).overlaps(each) for each in networks
    )


def _holds(rule: RuleFacts, network: Network) -> bool:
    """Whether a rule lets in a whole network."""
    return bool(rule.from_network) and _part(network, ip_network(rule.from_network, strict=False))


def _within(rule: RuleFacts, networks: Sequence[Network]) -> bool:
    """Whether a rule lets in nothing but addresses of one of the networks."""
    return any(_part(ip_network(rule.from_network, strict=False), each) for each in networks)


def _part(inner: Network, outer: Network) -> bool:
    return inner.network_address in outer and inner.broadcast_address in outer


def _more_than(rule: RuleFacts, host: str) -> bool:
    """Whether a rule lets in a network that is not one address, the host's. What a name leads to is not looked up."""
    if not rule.from_network:
        return False
    network = ip_network(rule.from_network, strict=False)
    if network.num_addresses > 1:
        return True
    try:
        return network.network_address != ip_address(host)
    except ValueError:
        return False
