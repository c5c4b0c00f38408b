"""Deadlines by key, cheap to move: what the core must look at again, and when.

A heap with one entry per key. Moving a deadline later costs nothing until the old one comes due, which is what a
heartbeat does thousands of times.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

_K = TypeVar("_K", bound=tuple[str, str])


class Deadlines(Generic[_K]):
    """Maps keys to times, in seconds since the epoch."""

    def __init__(self) -> None:
        self._at: dict[_K, float] = {}
        self._queued: dict[_K, float] = {}
        self._heap: list[tuple[float, _K]] = []

    def set(self, key: _K, at: float) -> None:
        """Set or move a deadline."""
        self._at[key] = at
        queued = self._queued.get(key)
        if queued is None or at < queued:
            self._queued[key] = at
            heapq.heappush(self._heap, (at, key))

    def set_once(self, key: _K, at: float) -> None:
        """Set a deadline unless the key has one."""
        if key not in self._at:
            self.set(key, at)

    def clear(self, key: _K) -> None:
        """Forget a deadline; one that is not set is fine."""
        self._at.pop(key, None)

    def get(self, key: _K) -> float | None:
        """When a key is due, or None."""
        return self._at.get(key)

    def next(self) -> float | None:
        """The earliest deadline, or None."""
        self._settle()
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[_K]:
        """The keys whose deadlines have passed, earliest first; they are cleared."""
        found: list[_K] = []
        while True:
            self._settle()
            if not self._heap or self._heap[0][0] > now:
                return found
            _, key = heapq.heappop(self._heap)
            del self._queued[key]
            del self._at[key]
            found.append(key)

    def _settle(self) -> None:
        """Bring the head of the heap up to date: drop what was cleared, requeue what was moved later."""
        while self._heap:
            queued_at, key = self._heap[0]
            if self._queued.get(key) != queued_at:
                heapq.heappop(self._heap)
                continue
            at = self._at.get(key)
            if at == queued_at:
                return
            heapq.heappop(self._heap)
            if at is None:
                del self._queued[key]
            else:
                self._queued[key] = at
                heapq.heappush(self._heap, (at, key))
