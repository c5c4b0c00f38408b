"""Which starts of workspaces have answered: noted on the ship's disk, for the agent that comes next.

Owns ``DIR/answered.json``. What has answered once is no longer starting: as long as it does not answer it is unwell,
and whoever works there keeps their way to it. A new agent cannot tell the two apart before a health check has been
answered, which on a busy machine may take longer than its first report waits.

Rules: a note is about one start, named by its number; another start of the same workspace has to answer anew. Not
synced to the disk: with the machine the starts have ended, too. A note that is lost or cannot be read costs no more
than that moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import structlog

from ship_agent.runtimes.base import RunningWorkspace

log = structlog.get_logger(__name__)

FILE_BYTES_MAX = 1 << 20
"""Of the file: a thousand workspaces, ten times over."""


class Answered:
    """The notes of one ship.

    Args:
        directory: the ship's.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "answered.json"
        self._noted: dict[str, int] = {}
        self._told = False

    def load(self) -> None:
        """Read what an earlier agent noted. Blocks."""
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(FILE_BYTES_MAX))
        except (OSError, ValueError):
            return
        if isinstance(found, dict):
            self._noted = {each: starts for each, starts in found.items() if isinstance(starts, int)}

    def has(self, here: RunningWorkspace) -> bool:
        """Whether the start of a workspace that is under way has answered before."""
        return self._noted.get(here.id) == here.starts

    def differs(self, starts: Mapping[str, int]) -> bool:
        """Whether `note` would change anything.

        Args:
            starts: the start of each workspace that has answered, by id.
        """
        return starts != self._noted

    def note(self, starts: Mapping[str, int]) -> None:
        """Keep these instead of what is noted. Blocks; a disk that takes nothing is told once.

        Args:
            starts: as for `differs`.
        """
        self._noted = dict(starts)
        aside = self._path.with_name(f"{self._path.name}.new")
        try:
            aside.write_text(json.dumps(self._noted), encoding="utf-8")
            aside.replace(self._path)
        except OSError as error:
            if not self._told:
                log.warning("it cannot be noted which workspaces have answered", why=error.strerror)
            self._told = True
