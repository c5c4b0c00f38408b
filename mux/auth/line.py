"""Who is next for a password check: a line for each address, and in it one for each login name.

Owns who waits, in which order they are served, and who has to leave when there are too many. Pure: no time, no threads;
knows no password, and no account: a name is whatever was typed, so that waiting tells nothing about who exists.

Rules:
- Addresses are served in turn, and within an address its names: many requests of one keep nobody else waiting.
- A conference is one address. So each name that entered with a password from an address gives it one more check in each
  of its turns: after a few rounds a room is served as the many people that it is, a guesser as one.
- When all places are taken, the newest of the longest line leaves. A line is as long as it has people waiting, times
  the wrong passwords from that address, by the names that entered from there.
- State is bounded: how it went at the address that was least recently heard of is forgotten first.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

ADDRESSES_MAX = 10_000
"""Addresses of which is remembered how their checks went: a few MB at most."""
ENTERED_MAX = 1_000
"""Names that count for one address: more people than a room has."""
WRONG_MAX = 100
"""Wrong passwords that count against one address. A guesser has as many within minutes; beyond that one person in a
room could make the line of all others there ever longer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants a check.

    Args:
        address: see `mux.core.forwarded.address_key`.
        name: fold of what was typed as login name.
    """

    address: str
    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Waiting(Generic[T]):
    """One who waits. ``number`` counts those who ever came."""

    asker: Asker
    item: T
    number: int


@dataclass(slots=True)
class _Record:
    """How the checks of one address went."""

    wrong: int = 0
    entered: set[str] = field(default_factory=set)


_Names = OrderedDict[str, deque[Waiting[T]]]


class Line(Generic[T]):
    """Those who wait for a check.

    Args:
        places: how many may wait.
        addresses_max: see ADDRESSES_MAX.
    """

    def __init__(self, places: int, *, addresses_max: int = ADDRESSES_MAX) -> None:
        self._places = places
        self._addresses_max = addresses_max
        # Addresses in the order of their turns, and in each its names likewise. None is empty.
        self._addresses: OrderedDict[str, _Names[T]] = OrderedDict()
        self._turns = 0  # that the first address still has; 0: its turn has not begun
        self._count = 0
        self._numbers = itertools.count()
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def join(self, asker: Asker, item: T) -> tuple[Waiting[T], Waiting[T] | None]:
        """Wait for a turn.

        Returns:
            The newcomer, and who had to leave for want of a place: None, somebody else, or the newcomer.
        """
        newcomer = Waiting(asker, item, next(self._numbers))
        self._addresses.setdefault(asker.address, OrderedDict()).setdefault(asker.name, deque()).append(newcomer)
        self._count += 1
        if self._count <= self._places:
            return newcomer, None
        refused = self._newest_of_the_longest()
        self.leave(refused)
        return newcomer, refused

    def leave(self, waiting: Waiting[T]) -> None:
        """Wait no longer. Nothing happens for one who does not wait any more."""
        address, name = waiting.asker.address, waiting.asker.name
        names = self._addresses.get(address)
        line = names.get(name) if names is not None else None
        if names is None or line is None or waiting not in line:
            return
        line.remove(waiting)
        self._count -= 1
        if not line:
            del names[name]
        if not names:
            if next(iter(self._addresses)) == address:
                self._turns = 0
            del self._addresses[address]

    def next(self) -> Waiting[T] | None:
        """Whose turn it is; they wait no longer. None when nobody waits."""
        if not self._addresses:
            return None
        address, names = next(iter(self._addresses.items()))
        if self._turns == 0:
            self._turns = 1 + self._entered(address)
        name, line = next(iter(names.items()))
        served = line[0]
        self._turns -= 1
        self.leave(served)
        if name in names:
            names.move_to_end(name)
        if self._turns == 0 and address in self._addresses:
            self._addresses.move_to_end(address)
        return served

    def was_right(self, asker: Asker) -> None:
        """Somebody entered with a password."""
        record = self._record(asker.address)
        if len(record.entered) < ENTERED_MAX:
            record.entered.add(asker.name)

    def was_wrong(self, asker: Asker) -> None:
        """A password was wrong, or there was none to compare it with."""
        record = self._record(asker.address)
        record.wrong = min(record.wrong + 1, WRONG_MAX)

    def _record(self, address: str) -> _Record:
        record = self._records.setdefault(address, _Record())
        self._records.move_to_end(address)
        if len(self._records) > self._addresses_max:
            self._records.popitem(last=False)
        return record

    def _entered(self, address: str) -> int:
        record = self._records.get(address)
        return len(record.entered) if record is not None else 0

    def _newest_of_the_longest(self) -> Waiting[T]:
        """Looks at each who waits, which is done only while all places are taken."""
        longest = max(self._addresses, key=self._length)
        return max(self._addresses[longest].values(), key=lambda line: (len(line), line[-1].number))[-1]

    def _length(self, address: str) -> tuple[float, int]:
        """How long the line of an address is; of two that are alike, the one that somebody joined last is longer."""
        lines = self._addresses[address].values()
        record = self._records.get(address, _Record())
        length = sum(map(len, lines)) * (1 + record.wrong) / (1 + len(record.entered))
        return length, max(line[-1].number for line in lines)
