"""The control process's clock: seconds since the epoch that never jump.

What the wall clock said when the process started, counted on by the machine's steady clock. Organizers and time servers
may set the wall clock at any moment; if the core followed it, a step forward would make every ship look silent and have
two listings follow each other at once, and after a step back no deadline would pass until the time was made up for.

Rules: one clock for the engine, its effects and whoever makes sessions, so that their times can be compared. The next
start takes the wall clock as it is then. Proxies are told what it says, since they end sessions, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class SteadyClock:
    """Call it for the time, in seconds since the epoch.

    Args:
        wall: what the wall clock says, in seconds since the epoch.
        steady: seconds since any moment, that go on while the machine is suspended if the system has such a clock.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] | None = None) -> None:
        self._steady = steady or _since_boot
        self._ahead = wall() - self._steady()

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self._ahead + self._steady()


def _since_boot() -> float:
    """Linux counts suspended time in a clock of its own (clock_gettime(2)); elsewhere the monotonic one will do."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)
