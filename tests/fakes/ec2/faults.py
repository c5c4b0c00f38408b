"""What goes wrong between a client and the service: by chance with a seed, or as a test says."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping
from enum import Enum

from tests.sim.clock import Dice


class Fault(Enum):
    """What happens to a request."""

    RESET = "the connection is cut before anything has happened"
    LOST = "the connection is cut after it has happened"
    ERROR_BEFORE = "InternalError, and nothing has happened"
    ERROR_AFTER = "Unavailable, although it has happened"
    THROTTLED = "RequestLimitExceeded, whatever the buckets say"
    SLOW = "it happens, and the answer comes late"
    ZONE_EMPTY = "a zone has no capacity left for a while; the request goes on"


class Faults:
    """Which request meets which fault.

    Args:
        seed: another seed is other luck everywhere.
        rates: how likely each fault is for a request.
        actions: only these can meet one; None is all.
        most: no more than so many in all; None is no bound.
    """

    def __init__(
        self,
        seed: int = 0,
        rates: Mapping[Fault, float] | None = None,
        *,
        actions: Collection[str] | None = None,
        most: int | None = None,
    ) -> None:
        self.dice = Dice(seed)
        self.injected: Counter[Fault] = Counter()
        self._rates = dict(rates or {})
        self._actions = actions
        self._most = most
        self._seen: Counter[str] = Counter()
        self._script: defaultdict[str, deque[Fault]] = defaultdict(deque)

    def script(self, action: str, *faults: Fault) -> None:
        """Have the next requests of an action meet these, in this order."""
        self._script[action] += faults

    def meet(self, action: str) -> Fault | None:
        """What the next request of this action meets."""
        fault = self._script[action].popleft() if self._script[action] else self._by_chance(action)
        if fault:
            self.injected[fault] += 1
        return fault

    def _by_chance(self, action: str) -> Fault | None:
        self._seen[action] += 1
        spent = self._most is not None and self.injected.total() >= self._most
        if spent or (self._actions is not None and action not in self._actions):
            return None
        roll = self.dice.roll(action, self._seen[action])
        for fault, rate in self._rates.items():
            if roll < rate:
                return fault
            roll -= rate
        return None
