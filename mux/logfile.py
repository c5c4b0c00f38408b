"""Logs of a mux's processes in a file, for those who watch a terminal: `mux demo`, `mux image try`.

Owns where descriptor 2 leads meanwhile, which children inherit and log to. What this process says goes where it always
went.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mux.child import SAID

STDERR = 2
"""The descriptor that children inherit, and log to."""
LAST_WORDS_MAX = 5
"""Lines for people that are told again: one, or one for each fault of a file."""


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Within, whatever is started logs to ``path``, which is made anew, 0600. Raises OSError."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    before, terminal = sys.stderr, os.dup(STDERR)
    os.dup2(log, STDERR)
    os.close(log)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace", closefd=False)
    try:
        yield
    finally:
        sys.stderr = before
        os.dup2(terminal, STDERR)
        os.close(terminal)


def last_words(path: Path) -> list[str]:
    """What processes said to people there, the latest; nothing if the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.removeprefix(SAID) for line in lines if line.startswith(SAID)][-LAST_WORDS_MAX:]
