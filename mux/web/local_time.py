"""Times as organizers write them, in the event's time zone: which moment is meant, and how a moment is told.

Pure. Rules: what is written is a wall clock's time. A time of day alone is the next one; where clocks go back it comes
twice, and the next one is meant; where they go forward it does not exist, and is refused, never guessed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

DATE_TIME, TIME = "%Y-%m-%d %H:%M", "%H:%M"
YEARS_MAX = 2
"""Nobody plans an event further ahead; what is further away is a slip of the pen."""
WRITTEN = "a time such as 08:45, or 2027-05-14 08:45, from 00:00 to 23:59"


class NoMomentError(Exception):
    """What is written is no moment to come: a code for machines, a sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def moment(written: str, now: float, zone: str) -> float:
    """The moment that is meant, in seconds since the epoch.

    Args:
        written: a time of day, or a date with one.
        now: seconds since the epoch.
        zone: IANA name.

    Raises:
        NoMomentError: ``invalid``, ``missing`` (clocks go forward over it), ``past`` or ``far``.
    """
    here = ZoneInfo(zone)
    today = datetime.fromtimestamp(now, here)
    for shown in _meant(written.strip(), today):
        if shown.year > today.year + YEARS_MAX:
            raise NoMomentError("far", f"{written} is more than {YEARS_MAX} years away; correct the year")
        if shown.year < today.year - 1:
            break
        found = _moments(shown, here)
        if not found and shown.replace(tzinfo=here).timestamp() > now:
            day = f"{shown:%Y-%m-%d} in {zone}"
            raise NoMomentError("missing", f"clocks go forward over {shown:%H:%M} on {day}; say a time before or after")
        coming = min((at for at in found if at > now), default=None)
        if coming is not None:
            return coming
    raise NoMomentError("past", f"{written} has passed in {zone}")


def told(at: float, zone: str) -> str:
    """A moment on a wall clock there, to the minute."""
    return f"{datetime.fromtimestamp(at, ZoneInfo(zone)):{DATE_TIME}} ({zone})"


def _meant(written: str, now: datetime) -> list[datetime]:
    """What a wall clock shows then, the likeliest first."""
    try:
        return [datetime.strptime(written.replace("T", " ", 1), DATE_TIME)]  # noqa: DTZ007 - a wall clock's
    except ValueError:
        pass
    try:
        time = datetime.strptime(written, TIME).time()  # noqa: DTZ007 - as above
    except ValueError:
        raise NoMomentError("invalid", f"a time is written as {WRITTEN}") from None
    today = datetime.combine(now.date(), time)
    return [today, today + timedelta(days=1)]


def _moments(shown: datetime, zone: ZoneInfo) -> list[float]:
    """When a wall clock shows that: once, twice where clocks go back, never where they go forward over it."""
    both = {shown.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1)}
    return [at for at in both if datetime.fromtimestamp(at, zone).replace(tzinfo=None) == shown]
