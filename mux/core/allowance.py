"""How often something may happen: so much at once, and then so much in a time.

A token bucket whose time is handed in. Who shares one is for its owner to say: what one party uses up must not be
another's.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Allowance:
    """Of one party.

    Args:
        burst: so often at once.
        per_s: so often a second, in the long run.
        now: seconds, on whichever clock `take` is told.
    """

    burst: float
    per_s: float
    now: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.burst

    def take(self, now: float) -> bool:
        """Whether it may happen once more; if so, it counts. A clock that went back counts as standing still."""
        self.left = min(self.burst, self.left + max(0.0, now - self.now) * self.per_s)
        self.now = max(now, self.now)
        if self.left < 1:
            return False
        self.left -= 1
        return True
