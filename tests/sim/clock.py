"""Virtual time, and chance that can be repeated.

Nothing here waits: the next thing that happens is the earliest in the heap. Chance is a function of the seed and of
what it is rolled for, never of what was rolled before, so that leaving out one action of a history does not change the
luck of all others: a failing history stays failing while it is made smaller.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

_T = TypeVar("_T")


class Timeline:
    """What will happen, in order of time, and of arrival among equals. Seconds since the beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._made = 0

    def after(self, seconds: float, act: Callable[..., object], *args: Any) -> None:
        """Have ``act(*args)`` happen so many seconds from now."""
        self._made += 1
        heapq.heappush(self._heap, (self.now + max(0.0, seconds), self._made, act, args))

    def at(self, when: float, act: Callable[..., object], *args: Any) -> None:
        """Have ``act(*args)`` happen then, or now if then is past."""
        self.after(when - self.now, act, *args)

    @property
    def next_at(self) -> float | None:
        """When the next thing happens; None when nothing is left."""
        return self._heap[0][0] if self._heap else None

    def run(self, until: float) -> int:
        """Let everything happen that is due by ``until``. Returns how much did."""
        happened = 0
        while self._heap and self._heap[0][0] <= until:
            self.now, _, act, args = heapq.heappop(self._heap)
            act(*args)
            happened += 1
        self.now = max(self.now, until)
        return happened


class Dice:
    """Chance by name.

    Args:
        seed: another seed is other luck everywhere.
    """

    def __init__(self, seed: int) -> None:
        self._key = seed.to_bytes(8, "big")

    def roll(self, *what: object) -> float:
        """A number in [0, 1) for this seed and what it is rolled for."""
        digest = blake2b(repr(what).encode(), digest_size=6, key=self._key).digest()
        return int.from_bytes(digest, "big") / (1 << 48)

    def between(self, low: float, high: float, *what: object) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.roll(*what)

    def pick(self, options: Sequence[_T], *what: object) -> _T:
        """One of several."""
        return options[int(self.roll(*what) * len(options))]
