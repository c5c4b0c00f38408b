"""Keeps the note of who is kept out, from one control process to the next.

Owns one small file. It is written when the process is about to end by a defect, so nothing here may fail: what cannot
be read or written is as good as none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import structlog

from mux.core.quarantine import ENTRIES_MAX, QUARANTINE_S, Quarantine

log = structlog.get_logger(__name__)

FILE_BYTES_MAX = 64 * 1024
"""Read at most: a hundred entries of a hundred bytes, with room."""


class QuarantineFile:
    """One note on disk.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, now: float) -> Quarantine:
        """What holds at ``now`` (seconds since the epoch). A note from a clock that ran ahead does not hold longer."""
        try:
            with self._path.open("rb") as file:
                raw = json.loads(file.read(FILE_BYTES_MAX))
            latest = now + QUARANTINE_S
            until = {str(name): min(float(end), latest) for name, end in raw["until"].items() if float(end) > now}
            return Quarantine(dict(list(until.items())[-ENTRIES_MAX:]), min(float(raw["careful_until"]), latest))
        except FileNotFoundError:
            return Quarantine()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the note of who is kept out cannot be read", error=repr(error)[:200])
            return Quarantine()

    def write(self, quarantine: Quarantine) -> None:
        """Replace the note."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        content = json.dumps({"until": dict(quarantine.until), "careful_until": quarantine.careful_until})
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(content)
            temporary.replace(self._path)
        except OSError as error:
            log.error("the note of who is kept out cannot be written", error=repr(error)[:200])
