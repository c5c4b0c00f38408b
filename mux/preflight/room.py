"""Whether seats fit a machine: the sum of what projects may use, and the agent's own, against what there is.

Pure. Memory is a limit that workspaces are killed at, so a machine must hold the sum; processors are shared, so a sum
that exceeds them is a matter of patience.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mux.core.plural import counted
from mux.preflight.finding import Finding, Outcome, ok, shown, warning
from mux.registry.manifest import UNPACKED_RATIO

GIB = 1 << 30
AGENT_MEMORY_BYTES = GIB
"""For the system, the agent, and Docker with its shims."""
AGENT_CPUS = 0.5
"""For the same: pulls and starts take more, but nobody works then."""
SYSTEM_DISK_BYTES = 10 * GIB
"""For the system, Docker and logs."""
SEAT_DISK_BYTES = GIB
"""For what an attendee downloads and makes."""
CPU_SHARED_MAX = 4.0
"""Workspaces on one processor at which people begin to wait for each other: most of them think, most of the time."""


@dataclass(frozen=True, slots=True)
class Project:
    """What one project may use, for each seat."""

    name: str
    memory_bytes: int
    cpus: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has. ``name`` as people know it: an instance type, or this machine."""

    name: str
    memory_bytes: int
    cpus: float


def memory_fits(machine: Machine, projects: Sequence[Project], seats: int, over: Outcome = Outcome.FAILURE) -> Finding:
    """Memory of ``seats`` seats on one machine.

    Args:
        machine: what there is.
        projects: each seat has a workspace of each.
        seats: on this machine.
        over: how bad it is when they do not fit.
    """
    each = sum(project.memory_bytes for project in projects)
    needed = (seats * each + AGENT_MEMORY_BYTES) / GIB
    limit = machine.memory_bytes / GIB
    said = (
        f"{counted(seats, 'seat')} × {shown(each / GIB)} GiB and {shown(AGENT_MEMORY_BYTES / GIB)} GiB for the system "
        f"are {shown(needed)} of {shown(limit)} GiB on {machine.name}"
    )
    numbers: dict[str, Any] = {"number": round(needed, 3), "limit": round(limit, 3), "unit": "GiB"}
    if needed <= limit:
        return ok("memory", said, **numbers)
    fitting = max(0, int((machine.memory_bytes - AGENT_MEMORY_BYTES) // each)) if each else seats
    remedy = f"lower fleet.seats_per_ship to {fitting}, or the projects' memory" if fitting else "take larger machines"
    return Finding("memory", over, said, remedy, **numbers)


def cpus_fit(machine: Machine, projects: Sequence[Project], seats: int) -> Finding:
    """Processors of ``seats`` seats on one machine; as `memory_fits`."""
    wanted = seats * sum(project.cpus for project in projects)
    limit = max(machine.cpus - AGENT_CPUS, 0.1)
    share = wanted / limit
    said = f"limits add up to {shown(wanted)} processors on {shown(machine.cpus)} of {machine.name}"
    numbers = {"number": round(wanted, 3), "limit": round(machine.cpus, 3), "unit": "processors"}
    if share <= CPU_SHARED_MAX:
        shared = "" if share <= 1 else f"; {shown(share)} share one, which people who think as they type do not notice"
        return ok("processors", said + shared, **numbers)
    remedy = "fewer seats on a ship or larger machines, unless the tutorial hardly computes"
    return warning("processors", f"{said}: {shown(share)} share one", remedy, **numbers)


def disk_fits(disk_bytes: int, images_bytes: int | None, seats: int, where: str) -> Finding:
    """Disk of one machine.

    Args:
        disk_bytes: what there is.
        images_bytes: what the images take to travel; None if that is not known.
        seats: on this machine.
        where: whose disk, for people.
    """
    images = 0.0 if images_bytes is None else images_bytes * UNPACKED_RATIO
    needed = (SYSTEM_DISK_BYTES + images + seats * SEAT_DISK_BYTES) / GIB
    limit = disk_bytes / GIB
    said = (
        f"{_unpacked(images_bytes, images)}; with "
        f"{counted(seats, 'seat')} and the system {shown(needed)} of {shown(limit)} GiB on {where}"
    )
    numbers: dict[str, Any] = {"number": round(needed, 3), "limit": round(limit, 3), "unit": "GiB"}
    if needed <= limit:
        return ok("disk", said, **numbers)
    return Finding("disk", Outcome.FAILURE, said, f"give the ships {shown(needed + 1)} GiB or more", **numbers)


def _unpacked(images_bytes: int | None, unpacked: float) -> str:
    if images_bytes is None:
        return "images are of unknown size"
    if images_bytes == 0:
        return "images are there already"
    return f"images unpack to about {shown(round(unpacked / GIB, 1))} GiB"
