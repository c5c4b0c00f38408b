"""What EC2 says of machines, read: whose each one is, in which state, and what is announced for it. Pure.

Text from EC2 is bounded before it is shown. Source: Amazon EC2 API reference, DescribeInstances and
DescribeInstanceStatus.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mux.core.model import Machine, MachineStatus, ShipId, ShipNotice
from mux.providers.ec2.faults import Kind, kind_of, quoted
from mux.providers.ec2.orders import TAG_EVENT, TAG_SHIP, TAG_STORE
from mux.providers.ec2.settings import Ec2Settings

LIVE = ("pending", "running", "stopping", "stopped")
"""States of machines that exist; the others are of machines that are going or gone."""
ENDING_CODES = frozenset({"instance-retirement", "instance-stop"})
"""Scheduled events that a machine does not survive as it is. Reboots and maintenance bring it back."""
_SHIP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_STATUS = {
    "pending": MachineStatus.PENDING,
    "running": MachineStatus.RUNNING,
    "stopping": MachineStatus.STOPPED,
    "stopped": MachineStatus.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One machine, as EC2 describes it.

    Args:
        id: EC2's.
        ship: from its tag; empty if it has none.
        event: likewise.
        store: likewise.
        state: EC2's word.
        host: private address; empty while it has none.
        spot: EC2 may take it back.
        launched_at: seconds since the epoch.
        reason: code of the last change of state, e.g. ``Client.VolumeLimitExceeded``.
        reason_text: EC2's words for it.
        kind: instance type, as prices go by it; empty where an answer does not say.
    """

    id: str
    ship: ShipId
    event: str = ""
    store: str = ""
    state: str = "pending"
    host: str = ""
    spot: bool = False
    launched_at: float = 0.0
    reason: str = ""
    reason_text: str = ""
    kind: str = ""

    @property
    def live(self) -> bool:
        """Whether it exists and is not going."""
        return self.state in LIVE

    def machine(self, settings: Ec2Settings) -> Machine:
        """The ship's machine."""
        status, first, count = _STATUS[self.state], settings.port_first, settings.port_count
        return Machine(self.ship, status, self.host, first, count, self.kind, self.spot)


def instances_of(answer: Mapping[str, Any]) -> list[Instance]:
    """The machines of an answer of DescribeInstances."""
    return [read(raw) for reservation in answer.get("Reservations", ()) for raw in reservation.get("Instances", ())]


def read(raw: Mapping[str, Any]) -> Instance:
    """One machine of DescribeInstances or RunInstances."""
    tags = {str(tag["Key"]): str(tag["Value"]) for tag in raw.get("Tags", ())}
    launched = raw.get("LaunchTime")
    reason = raw.get("StateReason") or {}
    return Instance(
        id=str(raw["InstanceId"]),
        ship=ShipId(tags.get(TAG_SHIP, "")),
        event=tags.get(TAG_EVENT, ""),
        store=tags.get(TAG_STORE, ""),
        state=str(raw["State"]["Name"]),
        host=str(raw.get("PrivateIpAddress") or ""),
        spot=raw.get("InstanceLifecycle") == "spot",
        launched_at=launched.timestamp() if isinstance(launched, datetime) else 0.0,
        reason=str(reason.get("Code", "")),
        reason_text=str(reason.get("Message", "")),
        kind=str(raw.get("InstanceType", "")),
    )


@dataclass(frozen=True, slots=True)
class Census:
    """The live machines of an event, sorted out.

    Args:
        ours: by ship, the one that counts: the oldest.
        surplus: further machines of our ships, which are one too many.
        foreign: machines of this event's name that belong to another store, or to none.
    """

    ours: Mapping[ShipId, Instance]
    surplus: tuple[Instance, ...]
    foreign: tuple[Instance, ...]


def census(settings: Ec2Settings, found: Iterable[Instance]) -> Census:
    """Sort out the machines of a listing. A ship's oldest machine is the one whose agent's key is bound, if any is."""
    ours: dict[ShipId, Instance] = {}
    surplus: list[Instance] = []
    foreign: list[Instance] = []
    for instance in sorted(found, key=lambda one: (one.launched_at, one.id)):
        if not instance.live or instance.event != settings.event:
            continue
        if instance.store != settings.store or not ship_name_ok(instance.ship):
            foreign.append(instance)
        elif instance.ship in ours:
            surplus.append(instance)
        else:
            ours[instance.ship] = instance
    return Census(ours, tuple(surplus), tuple(foreign))


def ship_name_ok(ship: str) -> bool:
    """Whether a machine can be tagged with it, and it is safe in messages."""
    return _SHIP.fullmatch(ship) is not None


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a machine ended by itself.

    Args:
        text: for people.
        fatal: the next one would end the same way.
    """

    text: str
    fatal: bool


def ended(instance: Instance) -> Ended:
    """Why EC2 says that a machine is gone which nobody here ended."""
    code = instance.reason.partition(".")[2]
    kind = kind_of(code)
    if kind is Kind.QUOTA:
        storage = code == "VolumeLimitExceeded"
        what = "of gp3 storage (ebs/L-7A658B76) " if storage else ""
        return Ended(
            f"its machine was ended by EC2, since the account's quota {what}is used up: {quoted(instance.reason_text)} "
            f"Ask AWS to raise it (Service Quotas), or end what uses it up.",
            fatal=True,
        )
    if code in ("SpotInstanceTermination", "SpotInstanceShutdown"):
        return Ended("EC2 took its spot machine back", fatal=False)
    said = quoted(instance.reason_text) or quoted(instance.reason) or "no reason given."
    return Ended(f"its machine ended without mux: {said}", fatal=False)


@dataclass(frozen=True, slots=True)
class Announced:
    """What EC2 says that it will do to a machine, by EC2's id."""

    instance: str
    notice: ShipNotice


def announced(answer: Mapping[str, Any]) -> list[Announced]:
    """What an answer of DescribeInstanceStatus announces that machines do not survive."""
    found = []
    for status in answer.get("InstanceStatuses", ()):
        for event in status.get("Events", ()):
            begins = event.get("NotBefore")
            description = str(event.get("Description", ""))
            # EC2 keeps events that are over for a while, and says so at the front of the description.
            over = description.startswith(("[Completed]", "[Canceled]"))
            if event.get("Code") in ENDING_CODES and isinstance(begins, datetime) and not over:
                notice = ShipNotice("maintenance", begins.timestamp(), f"{event['Code']}: {quoted(description)}")
                found.append(Announced(str(status["InstanceId"]), notice))
    return found
