"""The machine that something is measured on, and what is measured, as results name them."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def described() -> str:
    """Cores, processor and Python of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    processor = next(named, platform.machine())
    return f"{os.cpu_count()} cores, {processor}, Python {platform.python_version()}"


def commit() -> str:
    """What is measured: the short name of the commit that this tree is at; empty where git is not."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
