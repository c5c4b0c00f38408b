"""Who is kept out for a while, because what they sent ended the control process.

Pure. An exception of the core is a defect; the process ends, and starts again from the store, which is right: nothing
half decided stays. But whoever sent the event that did it would send it again. So the process leaves a note before it
ends, and the next one keeps that ship's link or that attendee's requests out until the note has expired.

Rules: only what ships and attendees send is held against them; an organizer's command, a provider's answer and the
passing of time are not. Where the guilty one of several events is not known, nobody is: the next process takes events
one at a time for a while (``careful``), so that it is known the next time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mux.core.events import Event, LoggedIn, ProjectRequested, ShipDialed, ShipReported, StartOverAsked, UpdateAccepted

QUARANTINE_S = 300.0
"""How long one is kept out: long enough for the rest of the room not to notice, short enough to try again."""
CAREFUL_S = 300.0
"""How long events are taken one at a time after an end that nobody is known to have caused."""
ENTRIES_MAX = 100
"""Ships and attendees kept out at once; the oldest are let in again. More means a defect that all can trigger."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Who is kept out, and until when.

    Args:
        until: by name (see :func:`sender`) when it ends, in seconds since the epoch.
        careful_until: events are taken one at a time until then.
    """

    until: Mapping[str, float] = field(default_factory=dict)
    careful_until: float = 0.0

    def holds(self, event: Event, now: float) -> bool:
        """Whether an event is not to be taken in now."""
        name = sender(event)
        return name is not None and self.until.get(name, 0.0) > now

    def careful(self, now: float) -> bool:
        """Whether events are to be taken one at a time."""
        return self.careful_until > now

    def after(self, batch: Sequence[Event], now: float) -> Quarantine:
        """What holds from now on, when handling ``batch`` has failed."""
        until = {name: end for name, end in self.until.items() if end > now}
        if len(batch) != 1:
            return Quarantine(until, now + CAREFUL_S)
        name = sender(batch[0])
        if name is not None:
            until.pop(name, None)
            until[name] = now + QUARANTINE_S
        return Quarantine(dict(list(until.items())[-ENTRIES_MAX:]), now + CAREFUL_S)


def sender(event: Event) -> str | None:
    """Who sent an event, if it was a ship or an attendee."""
    match event:
        case ShipDialed(ship=ship) | ShipReported(ship=ship):
            return f"ship {ship}"
        case LoggedIn(user=user) | ProjectRequested(user=user) | StartOverAsked(user=user) | UpdateAccepted(user=user):
            return f"user {user}"
        case _:
            return None
