"""How the records of a ship and of a rollout, wishes, and ages of files are written down: JSON, and back, exactly.

Owns the encoding only. A field that a later version adds must have a default here for records written before it.
Everything outside ASCII is escaped, so that no text of a ship (a NUL, say) is refused by a database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mux.core.commands import Behind, KeptRecord, ShipRecord, WorkspaceRecord
from mux.core.model import (
    PortName,
    ProjectName,
    ShipId,
    ShipState,
    ShipWanted,
    StartedOver,
    StartOver,
    UserId,
    WorkspaceId,
    WorkspaceState,
)
from mux.core.rollout import Pace, Rollout, RolloutState


def dump_ship(ship: ShipRecord) -> str:
    """The record as JSON text."""
    return json.dumps(asdict(ship), separators=(",", ":"))


def load_ship(text: str) -> ShipRecord:
    """The record that :func:`dump_ship` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is not one.
    """
    value: dict[str, Any] = json.loads(text)
    return ShipRecord(
        id=ShipId(value["id"]),
        state=ShipState(value["state"]),
        wanted=ShipWanted(value["wanted"]),
        boot=value["boot"],
        boot_identity=value["boot_identity"],
        key=value["key"],
        generation=value["generation"],
        seats=value["seats"],
        host=value["host"],
        port_first=value["port_first"],
        port_count=value["port_count"],
        launched_at=value["launched_at"],
        cordoned=value["cordoned"],
        draining=value["draining"],
        failed=value["failed"],
        incarnations=value["incarnations"],
        workspaces=tuple(_load_workspace(workspace) for workspace in value["workspaces"]),
        kept=tuple(_load_kept(kept) for kept in value.get("kept", ())),
        kind=value.get("kind", ""),
        spot=value.get("spot", False),
        replacing=value.get("replacing", False),
        leaving=tuple(value.get("leaving", ())),
        notices=tuple((kind, at) for kind, at in value.get("notices", ())),
        leave_at=value.get("leave_at"),
    )


def _load_kept(value: dict[str, Any]) -> KeptRecord:
    return KeptRecord(_load_workspace(value["workspace"]), UserId(value["user"]), value["epoch"])


def _load_workspace(value: dict[str, Any]) -> WorkspaceRecord:
    return WorkspaceRecord(
        id=WorkspaceId(value["id"]),
        seat=value["seat"],
        project=ProjectName(value["project"]),
        digest=value["digest"],
        port=value["port"],
        state=WorkspaceState(value["state"]),
        healthy=value["healthy"],
        previous=value.get("previous", ""),
        swap_until=value.get("swap_until", 0.0),
        start_over=StartOver(**wish) if (wish := value.get("start_over")) else None,
        ports={PortName(name): port for name, port in value.get("ports", {}).items()},
        shared=value.get("shared", ""),
        started_over=StartedOver(**said) if (said := value.get("started_over")) else None,
    )


def dump_rollout(rollout: Rollout) -> str:
    """The record as JSON text."""
    return json.dumps(asdict(rollout), separators=(",", ":"))


def load_rollout(text: str) -> Rollout:
    """The record that :func:`dump_rollout` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is not one.
    """
    value: dict[str, Any] = json.loads(text)
    return Rollout(
        **{
            **value,
            "pace": Pace(**value["pace"]),
            "state": RolloutState(value["state"]),
            "proved": tuple(value["proved"]),
            "refused": tuple((ShipId(ship), why) for ship, why in value["refused"]),
            "fetched": tuple(ShipId(ship) for ship in value.get("fetched", ())),
            "failed": tuple((WorkspaceId(workspace), why) for workspace, why in value["failed"]),
            "wave": tuple(value["wave"]),
            "accepted": tuple(value.get("accepted", ())),
        }
    )


def dump_wishes(paths: Mapping[ProjectName, str]) -> str:
    """Wishes of one attendee, by project, as JSON text."""
    return json.dumps(dict(paths), separators=(",", ":"))


def load_wishes(text: str) -> dict[ProjectName, str]:
    """The wishes that :func:`dump_wishes` wrote.

    Raises:
        ValueError, AttributeError: they are not any.
    """
    value: dict[str, str] = json.loads(text)
    return {ProjectName(project): path for project, path in value.items()}


def dump_behind(ages: Mapping[ProjectName, Behind]) -> str:
    """How old one attendee's files are, by project, as JSON text."""
    return json.dumps({project: asdict(age) for project, age in ages.items()}, separators=(",", ":"))


def load_behind(text: str) -> dict[ProjectName, Behind]:
    """What :func:`dump_behind` wrote.

    Raises:
        ValueError, AttributeError, TypeError: it is not that.
    """
    value: dict[str, dict[str, float]] = json.loads(text)
    return {ProjectName(project): Behind(**age) for project, age in value.items()}
