"""What runs on ships, as it is seen from outside of mux: by its containers, or by its shims."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ship_agent.runtimes.workspace import live_shim
from tests.docker_engine import Engine


@dataclass(frozen=True)
class Running:
    """A workspace that runs.

    Args:
        workspace: its id.
        identity: another one with each start.
        digest: of its image.
        seat: its number; a throw-away workspace has one that no seat has.
    """

    workspace: str
    identity: str
    digest: str
    seat: int


def in_engine(engine: Engine, event: str) -> list[Running]:
    """Of an event, in a Docker engine."""
    found = engine.ask("GET", "/containers/json")
    labels: list[tuple[str, dict[str, str]]] = [(str(each["Id"]), dict(each["Labels"])) for each in found]
    return [
        Running(label["mux.workspace"], identity, label["mux.digest"], int(label["mux.seat"]))
        for identity, label in labels
        if label.get("mux.event") == event and "mux.seat" in label
    ]


def on_this_machine(ships: Path) -> list[Running]:
    """Of the ships whose directories lie in ``ships``, as processes."""
    found = []
    for directory in ships.glob("*/workspaces/*"):
        pid, kept = live_shim(directory), _kept(directory)
        if pid is not None and kept is not None:
            found.append(Running(directory.name, str(pid), kept["digest"], kept["seat"]))
    return found


def _kept(directory: Path) -> dict[str, Any] | None:
    try:
        kept: dict[str, Any] = json.loads((directory / "workspace.json").read_text())
    except (OSError, ValueError):  # it may go while it is looked at
        return None
    return kept
