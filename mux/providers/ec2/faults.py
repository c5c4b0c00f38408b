"""What EC2's error codes mean, and the sentence for people. Pure.

A fault's kind decides what the provider does: wait, go on to another pool, look again, or stop and tell. The sentence
names what to do next. EC2's own message is quoted, shortened, where it holds a number or a name that people need.

Source: Amazon EC2 API reference, "Error codes for the Amazon EC2 API".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from mux.providers.base import ProviderError

QUOTE_CHARS_MAX = 300
"""Of EC2's message in ours: an encoded authorization message alone is longer than a screen."""


NO_SPOT_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
"""Spot orders need a role that AWS makes by itself only for its console (EC2 user guide, "Service-linked role for Spot
Instance requests")."""


class Kind(StrEnum):
    """What to do about a fault."""

    THROTTLED = "throttled"
    """Slow down and try again."""
    AGAIN = "again"
    """A passing trouble of EC2 or of the network: try again. The call may have taken effect."""
    CAPACITY = "capacity"
    """EC2 has no such machine there now: go on to another pool."""
    QUOTA = "quota"
    """The account may not have more: stop and tell."""
    DENIED = "denied"
    """A permission is missing: stop and tell."""
    UNSUPPORTED = "unsupported"
    """EC2, or this endpoint, does not do that: do it in another way, else stop and tell."""
    MISSING = "missing"
    """What is named does not exist, or not yet."""
    USED = "used"
    """The client token was used with other parameters: an earlier try may have made a machine."""
    BUSY = "busy"
    """The machine is between two states: try again soon."""
    WRONG = "wrong"
    """What was asked is wrong and stays so: stop and tell."""


_CODES: Mapping[str, Kind] = MappingProxyType(
    {
        **dict.fromkeys(
            ("RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException", "RequestThrottled"),
            Kind.THROTTLED,
        ),
        **dict.fromkeys(
            (
                "InternalError",
                "InternalFailure",
                "ServiceUnavailable",
                "Unavailable",
                "RequestTimeout",
                "RequestExpired",
                "Server.InternalError",
            ),
            Kind.AGAIN,
        ),
        **dict.fromkeys(
            (
                "InsufficientInstanceCapacity",
                "InsufficientHostCapacity",
                "InsufficientCapacity",
                "InsufficientFreeAddressesInSubnet",
                "SpotMaxPriceTooLow",
                "UnfulfillableCapacity",
                "Server.InsufficientInstanceCapacity",
                # The type is not offered in that zone: another pool may do.
                "Unsupported",
                "InvalidFleetConfiguration",
            ),
            Kind.CAPACITY,
        ),
        **dict.fromkeys(
            (
                "VcpuLimitExceeded",
                "InstanceLimitExceeded",
                "MaxSpotInstanceCountExceeded",
                "MaxSpotFleetRequestCountExceeded",
                "VolumeLimitExceeded",
                "MaxIOPSLimitExceeded",
                "VersionLimitExceeded",
                "LaunchTemplateVersionLimitExceeded",
                "ResourceCountExceeded",
                "ResourceLimitExceeded",
                "Client.VolumeLimitExceeded",
            ),
            Kind.QUOTA,
        ),
        **dict.fromkeys(
            ("UnauthorizedOperation", "AuthFailure", "AccessDenied", "OptInRequired", "Blocked", "PendingVerification"),
            Kind.DENIED,
        ),
        **dict.fromkeys(("ExpiredToken", "RequestExpiredToken", "InvalidClientTokenId"), Kind.DENIED),
        NO_SPOT_ROLE: Kind.DENIED,
        **dict.fromkeys(("UnsupportedOperation", "InvalidAction", "NotImplemented"), Kind.UNSUPPORTED),
        "IdempotentParameterMismatch": Kind.USED,
        "IdempotentInstanceTerminated": Kind.USED,
        **dict.fromkeys(("IncorrectInstanceState", "IncorrectState"), Kind.BUSY),
    }
)
"""By code; ``….NotFound`` is missing; any other is wrong."""

_QUOTAS: Mapping[str, str] = MappingProxyType(
    {
        "VcpuLimitExceeded": "the account's quota of on-demand vCPUs (ec2/L-1216C47A) is used up",
        "InstanceLimitExceeded": "the account's quota of instances is used up",
        "MaxSpotInstanceCountExceeded": "the account's quota of spot vCPUs (ec2/L-34B43A08) is used up",
        "MaxSpotFleetRequestCountExceeded": "the account's quota of spot requests is used up",
        "VolumeLimitExceeded": "the account's quota of gp3 storage (ebs/L-7A658B76) is used up",
    }
)


class Ec2Error(ProviderError):
    """EC2 refused or failed a call.

    Args:
        kind: what to do about it.
        action: of the API.
        code: EC2's.
        message: the sentence for people.
    """

    def __init__(self, kind: Kind, action: str, code: str, message: str) -> None:
        super().__init__(message, fatal=kind in (Kind.QUOTA, Kind.DENIED, Kind.WRONG, Kind.UNSUPPORTED))
        self.kind = kind
        self.action = action
        self.ec2_code = code


def kind_of(code: str, status: int = 0) -> Kind:
    """What to do about an error code; ``status`` of HTTP decides where the code is not known."""
    if (known := _CODES.get(code)) is not None:
        return known
    if code.endswith((".NotFound", ".NotFoundException", "NotFoundException")):
        return Kind.MISSING
    return Kind.AGAIN if status >= 500 else Kind.WRONG


def fault_of(action: str, code: str, message: str, status: int = 0) -> Ec2Error:
    """The fault that an answer means."""
    kind = kind_of(code, status)
    return Ec2Error(kind, action, code, sentence(kind, action, code, message))


def sentence(kind: Kind, action: str, code: str, message: str) -> str:
    """What people are told, and what to do next."""
    said = quoted(message)
    match kind:
        case Kind.THROTTLED:
            return "EC2 throttles calls; mux has slowed down and goes on."
        case Kind.CAPACITY:
            return f"EC2 has no capacity ({code}); name more instance types or subnets in [ec2]."
        case Kind.QUOTA:
            what = _QUOTAS.get(code.removeprefix("Client."), "a quota of the account is used up")
            return f"{what}: {said} Ask AWS to raise it (Service Quotas), or end machines that use it up."
        case Kind.DENIED if code == "UnauthorizedOperation":
            return f"mux may not call {action}: allow {permission(action, message)} in the policy of its credentials."
        case Kind.DENIED if code == NO_SPOT_ROLE:
            return (
                "the account has no role AWSServiceRoleForEC2Spot, which spot machines need; make it once with "
                "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com."
            )
        case Kind.DENIED:
            return f"AWS does not accept mux's credentials ({code}): {said} Renew them where mux finds them."
        case Kind.AGAIN:
            return f"EC2 did not answer {action} ({code}); mux tries again."
        case Kind.UNSUPPORTED:
            return f"EC2 does not do {action} here ({code}): {said}"
        case _:
            return f"EC2 refused {action} ({code}): {said}"


def permission(action: str, message: str) -> str:
    """The permission that is missing, and on what: as EC2's message names them, else that of the call."""
    named = re.search(r"authorized to perform: (ec2:[A-Za-z]{3,64})( on resource: [\w:/*.-]{1,200})?", message)
    return f"{named[1]}{(named[2] or '').replace(':', '', 1)}" if named else f"ec2:{action}"


def quoted(message: str) -> str:
    """EC2's message for people: one line, bounded, without the encoded part, with a full stop."""
    line = "".join(c if c.isprintable() else " " for c in message.partition(" Encoded authorization")[0]).strip()
    line = line if len(line) <= QUOTE_CHARS_MAX else line[: QUOTE_CHARS_MAX - 1] + "…"
    return line if not line or line.endswith((".", "…", "!")) else f"{line}."
