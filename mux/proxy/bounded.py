"""A map that forgets: what is remembered to save work must not grow with what strangers send.

Knows nothing of what it holds. Two generations: what is put goes into the young one; when that is full it becomes the
old one, and the old one is forgotten. What is used is kept, since finding it in the old generation makes it young.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Between ``size`` and twice as many entries, the ones used last.

    Args:
        size: entries of one generation.
        entry_bytes_max: what is larger is not worth its memory; see ``keep``.
    """

    __slots__ = ("_entry_bytes_max", "_old", "_once", "_size", "young")

    def __init__(self, size: int, entry_bytes_max: int = 0) -> None:
        self._size = size
        self._entry_bytes_max = entry_bytes_max
        self.young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._once: set[int] = set()

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def get(self, key: K) -> V | None:
        """What is remembered, or None."""
        value = self.young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember, and perhaps forget others."""
        if len(self.young) >= self._size:
            self._old, self.young = self.young, {}
        self.young[key] = value

    def keep(self, key: K, size: int, value: V | None) -> V | None:
        """What was found out about a key: remembered if it was asked about before, and returned.

        Args:
            key: that was not known.
            size: of what it stands for, in bytes.
            value: None if there is nothing to remember.
        """
        if value is None or size > self._entry_bytes_max:
            return value
        number = hash(key)
        if number in self._once:
            self.put(key, value)
        else:  # what comes once is not worth its memory
            if len(self._once) >= self._size:
                self._once.clear()
            self._once.add(number)
        return value
