"""What the organizers' status page says of the fleet, as words and figures.

Pure: from `FleetStatus` to values for the template. Texts of ships pass through as they are; the template escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mux.core.model import Doors, ProjectName
from mux.core.views import FleetStatus, SeatView, ShipView

DOOR_CHOICES = ((Doors.AUTO, "Automatic"), (Doors.OPEN, "Open"), (Doors.CLOSED, "Closed"))
"""Values of the doors' form and the words on its buttons."""
LAG_SHOWN_S = 60.0
"""Work that is not kept apart from its ship is worth a word from here on: twice the longest time between two snapshots
of a home that goes on changing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the room, and what it counts."""

    name: str
    value: int | str
    text: str


def figures(status: FleetStatus) -> tuple[Figure, ...]:
    """The room in numbers."""
    return (
        Figure("Ready seats", status.seats_ready, "free, can be taken now"),
        Figure("Assigned seats", status.seats_assigned, f"of {status.seats_total} there are"),
        Figure("Wanted seats", status.seats_wanted, "attendees and spare seats"),
        Figure("Waiting", status.waiting, "people in the queue"),
        Figure("Sessions", status.sessions, "logins in force"),
    )


def doors_text(status: FleetStatus) -> str:
    """What the doors do now, in one sentence."""
    if status.doors is Doors.CLOSED:
        return "The doors are closed: newcomers wait; whoever has a seat goes on."
    if status.doors_open:
        return "The doors are open: newcomers get seats as they come."
    return "The doors open by themselves once enough seats are ready."


def lag_text(status: FleetStatus) -> str:
    """How much work would be missing if ships were lost now, in one sentence; empty while that is next to nothing."""
    large = [lag for lag in status.snapshot_lags_s if lag >= LAG_SHOWN_S]
    if not large:
        return ""
    where = "one home is on its ship" if len(large) == 1 else f"{len(large)} homes is on their ships"
    return f"Up to {duration(max(large))} of work in {where} alone, and lost if the ship is."


def seat_lags(seat: SeatView) -> dict[ProjectName, str]:
    """Projects of a seat of which much work would be lost with the ship, and how much."""
    return {name: duration(lag) for name, lag in seat.snapshot_lag_s.items() if lag >= LAG_SHOWN_S}


def ship_text(ship: ShipView) -> str:
    """What a ship is doing and how it fares, in one line."""
    parts = []
    if ship.phase:
        parts.append(ship.phase)
    if ship.generation_reached < ship.generation:
        parts.append(f"on its way to generation {ship.generation} (at {ship.generation_reached})")
    if ship.last_seen_s is not None:
        parts.append(f"heard from {duration(ship.last_seen_s)} ago")
    of = ship.resources
    if of.cpus:
        parts.append(f"load {of.load_1m:.1f} on {of.cpus} {'core' if of.cpus == 1 else 'cores'}")
    if of.memory_total_bytes:
        parts.append(f"memory {size(of.memory_available_bytes)} of {size(of.memory_total_bytes)} free")
    if of.disk_total_bytes:
        parts.append(f"disk {size(of.disk_free_bytes)} of {size(of.disk_total_bytes)} free")
    if ship.boot > 1:
        parts.append(f"boot {ship.boot}")
    return " · ".join(parts) or "Nothing has been heard from it yet."


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def size(count_bytes: int) -> str:
    """Bytes in the binary unit that reads best."""
    value = float(count_bytes)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def clock_time(at: float) -> str:
    """Time of day in UTC of seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def iso_time(at: float) -> str:
    """ISO 8601 of seconds since the epoch, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
