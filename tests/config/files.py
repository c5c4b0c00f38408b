"""Event files for tests: a valid one, and a directory that it loads in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mux.config import ConfigError, EventFile, Fault, parse, starter_files

VALID = """
[event]
name = "camp-2026"
public_address = "http://localhost:8000"
admin_address = "http://127.0.0.1:8001"

[[project]]
name = "intro"
image = "images/intro"
memory = "2GiB"

[[project]]
name = "streaming"
image = "images/intro"
kind = "http"
start = "on_use"
command = ["python3", "-m", "http.server", "{port}"]
environment = { COURSE = "2026", LEVEL = "three" }

[fleet]
attendees = 6
seats_per_ship = 2
spare_seats = 1
"""


def event_directory(directory: Path) -> Path:
    """A directory that `VALID` loads in."""
    for path, text in starter_files().items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8")
    return directory


def changed(old: str, new: str, text: str = VALID) -> str:
    """`VALID` with one piece replaced; the piece must be there."""
    assert old in text
    return text.replace(old, new, 1)


def parsed(text: str, **environ: str) -> EventFile:
    """Parsed without the files that it names."""
    return parse(text, base=Path("/event"), environ=environ, files=False)


def faults_of(call: Callable[[], object]) -> dict[str, Fault]:
    """What a call is refused for, by key; each key once."""
    with pytest.raises(ConfigError) as refused:
        call()
    faults = refused.value.faults
    by_key = {fault.key: fault for fault in faults}
    assert len(by_key) == len(faults), f"a key was reported twice:\n{refused.value}"
    return by_key


def faults_in(text: str, **environ: str) -> dict[str, Fault]:
    """What the text of an event file is refused for, by key."""
    return faults_of(lambda: parsed(text, **environ))
