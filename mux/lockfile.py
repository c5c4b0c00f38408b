"""The lock of a data directory: one supervisor holds it, and others ask whether there is one.

Owns where the file is and how it is looked at; the supervisor takes it. Imports nothing heavy: commands ask.
"""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path

LOCK = Path("run") / "supervisor.lock"
"""Below the data directory. The supervisor's process id is in it."""
PID_BYTES_MAX = 32


def holder(data: Path) -> str | None:
    """The process id of the supervisor that runs on a data directory, as it is written there; None if none runs.

    Holds the lock for an instant, which whoever takes it allows for.
    """
    with contextlib.suppress(OSError), (data / LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read(PID_BYTES_MAX).decode(errors="replace").strip()
    return None
