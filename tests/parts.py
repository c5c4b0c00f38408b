"""Real parts that tests need and a machine may lack: Chromium, a source distribution, root.

A missing part skips a test here, with the reason. In continuous integration (``CI`` is set) it fails the test instead:
a green run there means that everything ran.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

STEADY_CHROMIUM = Path(__file__).with_name("steady_chromium.py")


def missing(part: str, remedy: str) -> NoReturn:
    """End the test for want of a part.

    Args:
        part: what is missing, e.g. ``chromium``.
        remedy: what to do about it.
    """
    text = f"{part} is missing: {remedy}"
    if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def chromium() -> str:
    """What starts Debian's Chromium so that networks that other tests make do not disturb it."""
    require("chromium")
    return str(STEADY_CHROMIUM)


def require(program: str, remedy: str = "") -> str:
    """The path of a program on PATH; without it the test is skipped, or failed in continuous integration."""
    found = shutil.which(program)
    if found is None:
        missing(program, remedy or f"Debian: apt-get install {program}")
    return found
