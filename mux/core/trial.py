"""A throw-away workspace that proves an image on a ship, as the core keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from mux.core.model import PortName, ProjectName, WorkspaceId


@dataclass(slots=True)
class Trial:
    """A throw-away workspace that proves an image on a ship. Nobody is ever led to it.

    Args:
        id: like a workspace's.
        project: whose image.
        digest: which.
        port: on the ship.
        rollout: number of the rollout that wants it.
        pulled: its image is there.
        away: why its image could not be fetched yet, by the ship's word; hostile, empty while nothing is amiss.
        ends_at: when it counts as failed, in seconds since the epoch.
        ports: further ports on the ship.
        latest: when it counts as failed whatever its ship says, likewise.
    """

    id: WorkspaceId
    project: ProjectName
    digest: str
    port: int
    rollout: int
    pulled: bool = False
    away: str = ""
    ends_at: float = 0.0
    ports: Mapping[PortName, int] = field(default_factory=dict)
    latest: float = inf
