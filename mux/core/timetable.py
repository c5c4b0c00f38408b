"""The timetable of an event: when the fleet is to be warm, full, cool and gone.

Pure data and comparison of times. Knows no ship. Times are seconds since the epoch: whoever reads the event file turns
local times into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LetGo = Literal["park", "end"]
"""What becomes of a ship that is not needed any more: stopped with its disk kept, or ended with all that is on it."""
Phase = Literal["open", "early", "warm", "cool", "stop"]
"""Where a timetable stands: it says nothing yet (open), nothing before the warm-up (early), or its last moment."""

STOP_WARNINGS_S = (900.0, 300.0)
"""How long before the hard stop everybody is told: a quarter of an hour to finish, five minutes to save."""
WARM_MARGIN = 1.5
"""Warming begins so many times the measured boot time before its seats are due: one failed ship may be replaced."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """What happens by itself, and when. None: it does not.

    Args:
        warm_at: warming begins.
        full_at: every seat should be ready. Without ``warm_at`` warming begins as early as the boot time asks for.
        cool_at: ships without people are let go, and no more are launched.
        hard_stop: every ship is let go.
        cool: what becomes of ships at ``cool_at``, and when organizers cool the fleet.
        stop: what becomes of ships at ``hard_stop``.
    """

    warm_at: float | None = None
    full_at: float | None = None
    cool_at: float | None = None
    hard_stop: float | None = None
    cool: LetGo = "end"
    stop: LetGo = "park"

    def begins_at(self, boot_s: float) -> float | None:
        """When warming begins if a ship takes ``boot_s`` to become available; None if no time is set."""
        if self.warm_at is not None or self.full_at is None:
            return self.warm_at
        return begins_at(self.full_at, boot_s)

    def last_moment(self, now: float, begun_at: float | None) -> tuple[Phase, float]:
        """The last moment that has passed, and when that was.

        Args:
            now: seconds since the epoch.
            begun_at: when warming begins, or has begun.
        """
        # With equal times the later word wins: the event is over, whatever was to begin then.
        moments: list[tuple[float, int, Phase]] = []
        for rank, (phase, at) in enumerate((("warm", begun_at), ("cool", self.cool_at), ("stop", self.hard_stop))):
            if at is not None and at <= now:
                moments.append((at, rank, phase))  # type: ignore[arg-type]
        if moments:
            at, _, phase = max(moments)
            return phase, at
        return ("open" if begun_at is None else "early"), float("-inf")

    def runs_until(self, now: float) -> float | None:
        """When most ships are let go, if that is still to come."""
        return min((at for at in (self.cool_at, self.hard_stop) if at is not None and at > now), default=None)

    def stops_in(self, now: float) -> float | None:
        """Seconds until the hard stop once people have been warned, 0 after it; None before."""
        if self.hard_stop is None or now < self.hard_stop - STOP_WARNINGS_S[0]:
            return None
        return max(0.0, self.hard_stop - now)


def begins_at(by: float, boot_s: float) -> float:
    """When warming has to begin so that ships that take ``boot_s`` are available ``by`` then."""
    return by - WARM_MARGIN * boot_s
