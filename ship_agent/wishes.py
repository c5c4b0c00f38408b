"""Wishes to start files over, each carried out once; what became of the last one is noted beside the files.

Owns ``start-over.json`` of a workspace. Rules: a wish that could not be carried out is given up, and may be wished
again. A kill between the deed and its note has it done again, which finds the image's files there already; what the
attendee wrote in between is kept beside as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

import structlog
from pydantic import ValidationError

from ship_agent.protocol.messages import StartedOver, StartOver
from ship_agent.protocol.snapshot import quoted
from ship_agent.runtimes.base import RunningWorkspace, Runtime, RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.images import translated
from ship_agent.runtimes.shim import write_json
from ship_agent.step import Target

log = structlog.get_logger(__name__)

NAME = "start-over.json"
BYTES_MAX = 64 * 1024
"""Of the note that is read back: a path and a sentence."""
KEPT_CHARS_MAX = 4096
"""The protocol's bound of a text; a longer path is not told."""
DETAIL_CHARS_MAX = 500
"""The protocol's bound of a line."""


class Wishes:
    """What became of the wishes on one ship.

    Args:
        runtime: carries them out.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._read: set[str] = set()
        self.ended: dict[str, StartedOver] = {}
        """How the last one of each workspace ended, by id."""

    async def look(self, target: Target | None, workspaces: Mapping[str, RunningWorkspace]) -> None:
        """Read, once, the note of each workspace that has a wish: the agent before may have carried it out.

        Args:
            target: what is desired.
            workspaces: what the runtime holds, by id.
        """
        wanted = target.workspaces if target else {}
        for identity, here in workspaces.items():
            item = wanted.get(identity)
            if identity in self._read or here.home is None or item is None or item.start_over is None:
                continue
            self._read.add(identity)
            noted = await asyncio.to_thread(_read, here.home)
            if noted is not None:
                self.ended[identity] = noted
        for identity in self._read - workspaces.keys():
            self._read.discard(identity)
            self.ended.pop(identity, None)

    async def carry_out(self, spec: WorkspaceSpec, wish: StartOver, home: Path | None) -> None:
        """Carry out a wish or give it up, and note that. Raises RuntimeFailure when it cannot be noted.

        Args:
            spec: of the workspace.
            wish: not carried out yet.
            home: the attendee's directory.
        """
        if home is None:
            raise RuntimeFailure("files_failed", "it is not known where the files are; update the ship's agent")
        try:
            kept = await self._runtime.start_over(spec, unquote_to_bytes(wish.path))
        except RuntimeFailure as failure:
            log.warning("files do not start over", workspace=spec.id, code=failure.code, detail=failure.detail)
            ended = StartedOver(number=wish.number, done=False, detail=failure.detail[:DETAIL_CHARS_MAX])
        else:
            path = quoted(kept) if kept is not None else ""
            ended = StartedOver(number=wish.number, done=True, kept=path if len(path) <= KEPT_CHARS_MAX else "")
        with translated("the note of what has started over"):
            await asyncio.to_thread(write_json, str(home.parent / NAME), ended.model_dump())
        self.ended[spec.id] = ended


def _read(home: Path) -> StartedOver | None:
    try:
        with (home.parent / NAME).open("rb") as file:
            return StartedOver.model_validate_json(file.read(BYTES_MAX))
    except (OSError, ValidationError):
        return None
