"""The limits that an event file should have, from what was seen.

Pure. Rule: room for half as much memory again as all notebooks took, since attendees run cells twice and keep what they
made; limits that are smaller than any project needs are not suggested.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from mux.config import health_path_default, port_default
from mux.config.kinds import size_text
from ship_agent.protocol.messages import Project

MEMORY_FACTOR = 1.5
MEMORY_STEP_BYTES = 128 << 20
MEMORY_MIN_BYTES = 512 << 20
"""JupyterLab and one small kernel take half of that."""
PIDS_FACTOR = 2
PIDS_STEP = 64
PIDS_MIN = 256
"""A library of linear algebra starts a thread for each core, in each kernel."""


@dataclass(frozen=True, slots=True)
class Suggested:
    """Limits of a workspace."""

    memory_bytes: int
    pids: int


def suggested(memory_peak_bytes: int, processes_peak: int) -> Suggested:
    """Limits for what was seen."""
    return Suggested(
        max(MEMORY_MIN_BYTES, _up(memory_peak_bytes * MEMORY_FACTOR, MEMORY_STEP_BYTES)),
        max(PIDS_MIN, _up(processes_peak * PIDS_FACTOR, PIDS_STEP)),
    )


def snippet(project: Project, limits: Suggested) -> str:
    """A project's table for the event file; what has its default there is left out."""
    lines = ["[[project]]", f"name = {json.dumps(project.name)}", f"image = {json.dumps(project.image)}"]
    if project.kind != "jupyter":
        lines.append(f"kind = {json.dumps(project.kind)}")
    if project.port != port_default(project.kind):
        lines.append(f"port = {project.port}")
    if project.health_path != health_path_default(project.kind):
        lines.append(f"health_path = {json.dumps(project.health_path)}")
    lines += [f"memory = {json.dumps(size_text(limits.memory_bytes))}", f"pids = {limits.pids}"]
    if project.command:
        lines.append(f"command = {json.dumps(project.command)}")
    if project.allow:
        lines.append(f"allow = {json.dumps(project.allow)}")
    return "\n".join(lines) + "\n"


def _up(number: float, step: int) -> int:
    return -int(-number // step) * step
