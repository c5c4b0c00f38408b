"""An event loop whose time is virtual: when nothing is left to do, it is at once as late as the next alarm.

For what talks inside one process only. What waits for a socket, a thread or a child cannot be seen coming: give
``patience_s`` then, real seconds to wait for it before time moves on.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Impatient(selectors.DefaultSelector):
    """Waits for files no longer than its patience, and lets time pass instead of waiting for alarms."""

    def __init__(self, loop: VirtualLoop, patience_s: float) -> None:
        super().__init__()
        self._loop = loop
        self._patience_s = patience_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no alarm is set: only a file can wake the loop
            return super().select(None)
        ready = super().select(min(timeout, self._patience_s))
        if not ready:
            self._loop.pass_time(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. ``time()`` begins at 0."""

    def __init__(self, patience_s: float = 0.0) -> None:
        self._virtual_s = 0.0
        super().__init__(_Impatient(self, patience_s))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_s

    def pass_time(self, seconds: float) -> None:
        """It is later now."""
        self._virtual_s += max(0.0, seconds)


def run_virtually(work: Coroutine[Any, Any, _T], *, patience_s: float = 0.0) -> _T:
    """Run to completion in virtual time, as ``asyncio.run`` does in real time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(patience_s)) as runner:
        return runner.run(work)
