"""How fast EC2 may be called: its published token buckets, as numbers and time. Pure: time is handed in.

A call reserves its turn and is told how long to wait for it, so that turns are kept in order without a queue. Where EC2
throttles all the same (others use the account too, or a mux has just been restarted), the bucket is taken for empty and
its refill for slower; each call that goes well makes it faster again.

Where a call draws on two buckets, that of its requests is taken for the empty one: EC2 names neither. That of machines
is suspected too where it is low by our own count, or where a slower pace did not help. A fleet tells them apart: what
is refused is its request, what is throttled inside of it are its machines.

Source: Amazon EC2 API throttling, "Request token bucket sizes and refill rates" and "Resource token bucket sizes".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MARGIN = 0.95
"""Of the published rates is used: a request's time here is not its time there."""
SLOWEST = 1 / 16
"""Of the published rate, however often EC2 throttles."""
RECOVERY = 1.1
"""By so much a call that went well quickens a slowed bucket."""
SLOWER_S = 5.0
"""Between two slowdowns of a bucket: calls that were made at once are throttled at once, and that is one piece of news;
how the slower pace does is seen once those made at it are answered."""
LOW = 0.5
"""Of its capacity: a bucket of machines with more than that left is not the one that a throttled call has emptied."""


@dataclass(slots=True)
class Bucket:
    """One token bucket. The level may be negative: turns that are given and not yet due.

    Args:
        capacity: tokens at most, and at first.
        refill: tokens a second.
    """

    capacity: float
    refill: float
    level: float = 0.0
    at: float = float("-inf")
    quickness: float = 1.0
    slowed_at: float = float("-inf")

    def reserve(self, tokens: float, now: float) -> float:
        """Take tokens; returns the seconds to wait before they may be used."""
        self._fill(now)
        self.level -= tokens
        return max(0.0, -self.level / (self.refill * self.quickness))

    def throttled(self, now: float) -> bool:
        """EC2 says that the bucket is empty. Returns whether it said so of a bucket that is slowed already."""
        self._fill(now)
        self.level = min(self.level, 0.0)
        if now - self.slowed_at < SLOWER_S:
            return False
        again = self.quickness < 1.0
        self.slowed_at = now
        self.quickness = max(SLOWEST, self.quickness / 2)
        return again

    def low(self, now: float) -> bool:
        """Whether much of it is used up by our own count."""
        self._fill(now)
        return self.level < LOW * self.capacity

    def went_well(self) -> None:
        """A call was taken."""
        self.quickness = min(1.0, self.quickness * RECOVERY)

    def _fill(self, now: float) -> None:
        if self.at == float("-inf"):
            self.level = self.capacity
        else:
            self.level = min(self.capacity, self.level + max(0.0, now - self.at) * self.refill * self.quickness)
        self.at = now


@dataclass(frozen=True, slots=True)
class Rates:
    """A published bucket: capacity, and refill per second."""

    capacity: float
    refill: float

    def bucket(self) -> Bucket:
        """A full one, with our margin."""
        return Bucket(max(1.0, self.capacity * MARGIN), self.refill * MARGIN)


REQUESTS: Mapping[str, Rates] = MappingProxyType(
    {
        "describe": Rates(100, 20),
        "run": Rates(5, 2),
        "terminate": Rates(100, 5),
        "tag": Rates(100, 10),
        "change": Rates(50, 5),
    }
)
"""By class of call."""
MACHINES: Mapping[str, Rates] = MappingProxyType({"run": Rates(1000, 2), "terminate": Rates(1000, 20)})
"""By class of call: what each machine takes beside the request. Starting draws on the same bucket as launching."""
CLASSES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "RunInstances": ("run", "run"),
        "CreateFleet": ("change", "run"),
        "StopInstances": ("change", "terminate"),
        "StartInstances": ("run", "run"),
        "TerminateInstances": ("terminate", "terminate"),
        "CreateTags": ("tag", ""),
    }
)
"""Class of requests and of machines by action; Describe… are ``describe``, whatever else is ``change``. Each action has
a bucket of its own for requests; machines of a class share one."""


class Pace:
    """Every bucket of an account in a region."""

    def __init__(self) -> None:
        self._requests: dict[str, Bucket] = {}
        self._machines = {name: rates.bucket() for name, rates in MACHINES.items()}

    def reserve(self, action: str, machines: int, now: float) -> float:
        """Take a turn.

        Args:
            action: of the API.
            machines: how many it makes, starts or ends.
            now: seconds of any steady clock.

        Returns:
            Seconds to wait before the call may be made.
        """
        return max(bucket.reserve(tokens, now) for bucket, tokens in self._buckets(action, machines))

    def throttled(self, action: str, now: float, *, inside: bool = False) -> None:
        """EC2 throttled such a call; ``inside``: it took the request, and throttled the machines of it."""
        (requests, _), *others = self._buckets(action, 1)
        again = not inside and requests.throttled(now)
        for machines, _ in others:
            if inside or (action != "CreateFleet" and (again or machines.low(now))):
                machines.throttled(now)

    def went_well(self, action: str) -> None:
        """EC2 took such a call."""
        for bucket, _ in self._buckets(action, 1):
            bucket.went_well()

    def _buckets(self, action: str, machines: int) -> list[tuple[Bucket, float]]:
        kind, of_machines = CLASSES.get(action, ("describe" if action.startswith("Describe") else "change", ""))
        found = [(self._requests.setdefault(action, REQUESTS[kind].bucket()), 1.0)]
        if of_machines:
            found.append((self._machines[of_machines], float(machines)))
        return found
