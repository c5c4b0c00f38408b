"""The machine that something is measured on, as results name it."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def described() -> str:
    """Cores, processor and Python of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    processor = next(named, platform.machine())
    return f"{os.cpu_count()} cores, {processor}, Python {platform.python_version()}"
