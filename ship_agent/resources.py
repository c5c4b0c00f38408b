"""The machine's resources, as psutil sees them. Blocking for microseconds; call it in a thread when disks may hang."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from ship_agent.protocol.messages import Resources


def resources(directory: Path) -> Resources:
    """Cores, load over one minute, memory, and the disk that holds ``directory``."""
    memory = psutil.virtual_memory()
    try:
        disk = shutil.disk_usage(directory)
        total, free = disk.total, disk.free
    except OSError:  # the directory is gone; the agent is about to notice
        total, free = 0, 0
    return Resources(
        cpus=psutil.cpu_count() or 1,
        load_1m=min(1e6, max(0.0, psutil.getloadavg()[0])),
        memory_total_bytes=memory.total,
        memory_available_bytes=memory.available,
        disk_total_bytes=total,
        disk_free_bytes=free,
    )
