"""Who sits where: which seat is next, and why there is none.

The fullest healthy ship comes first, so that whole ships stay free and can be parked. Seats are kept in buckets by how
many a ship still offers: finding the next one does not look at every ship.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from mux.core.model import Doors, ShipId
from mux.core.plural import are
from mux.core.ships import Seat, Ship

HEAP_SLACK = 8
"""So many times as long as its bucket a heap may get before it is made anew."""


@dataclass(frozen=True, slots=True)
class WaitingView:
    """Why somebody has no seat.

    Args:
        position: 1 is next.
        total: people waiting.
        code: ``doors_closed``, ``doors_auto``, ``ships_booting``, ``not_now``, ``full``, ``no_ships``,
            ``launching_stopped``, ``seats_preparing``, ``assigning``.
        text: the true reason and what happens next, one or two sentences.
    """

    position: int
    total: int
    code: str
    text: str


class SeatIndex:
    """Ships that offer seats, by how many.

    Beside each bucket stands a heap of those that are in it, and of some that were.
    """

    def __init__(self) -> None:
        self._offers: dict[ShipId, int] = {}
        self._buckets: dict[int, set[ShipId]] = {}
        self._heaps: dict[int, list[ShipId]] = {}
        self.total = 0

    def set(self, ship: ShipId, offers: int) -> None:
        """Note that a ship offers that many seats now."""
        before = self._offers.pop(ship, 0)
        if before:
            bucket = self._buckets[before]
            bucket.discard(ship)
            if not bucket:
                del self._buckets[before], self._heaps[before]
        if offers:
            self._offers[ship] = offers
            bucket = self._buckets.setdefault(offers, set())
            bucket.add(ship)
            heap = self._heaps.setdefault(offers, [])
            heappush(heap, ship)
            if len(heap) > HEAP_SLACK * len(bucket) + HEAP_SLACK:
                self._heaps[offers] = sorted(bucket)
        self.total += offers - before

    def all(self) -> dict[ShipId, int]:
        """Every ship that offers seats, with how many."""
        return dict(self._offers)

    def fullest(self) -> ShipId | None:
        """The ship with the fewest free seats, but at least one; among equals the smallest id."""
        if not self._buckets:
            return None
        fewest = min(self._buckets)
        bucket, heap = self._buckets[fewest], self._heaps[fewest]
        while heap[0] not in bucket:
            heappop(heap)
        return heap[0]


def offered(ship: Ship, seat: Seat, ready: bool) -> bool:
    """Whether a seat can be given to a newcomer: nobody's, ready, on a healthy ship."""
    return seat.user is None and ready and ship.healthy


@dataclass(frozen=True, slots=True)
class Room:
    """What the explanation of a refusal is made from; counts of seats, people and ships.

    ``closed_text`` says why no seat is wanted at all now; empty when some are.
    """

    doors: Doors
    doors_open: bool
    ready_seats: int
    seats_ready: int
    seats_assigned: int
    seats_usable: int
    seats_wanted: int
    ships_booting: int
    launching: bool
    stopped_text: str
    closed_text: str = ""


def explain(room: Room, position: int, total: int) -> WaitingView:
    """Why somebody at ``position`` of ``total`` has no seat: the first filter that refuses, in the order applied."""
    code, text = _reason(room, position)
    return WaitingView(position=position, total=total, code=code, text=text)


def _reason(room: Room, position: int) -> tuple[str, str]:
    if not room.doors_open:
        if room.doors is Doors.CLOSED:
            return "doors_closed", "The doors are closed. An organizer opens them; this page enters by itself."
        have = room.seats_ready + room.seats_assigned
        return (
            "doors_auto",
            f"The doors open when {are(room.ready_seats, 'seat')} ready; {are(have)} so far. "
            "This page enters by itself.",
        )
    if room.seats_ready >= position:
        return "assigning", "Your seat is being assigned; this page enters by itself."
    if room.ships_booting:
        ships = are(room.ships_booting, "more ship")
        return "ships_booting", f"Every ready seat is taken; {ships} getting ready. This page enters by itself."
    if room.closed_text:
        return "not_now", room.closed_text
    if not room.launching:
        return (
            "launching_stopped",
            f"Every ready seat is taken and no ship is being launched: {room.stopped_text} Please tell an organizer.",
        )
    if room.seats_assigned >= room.seats_wanted:
        return (
            "full",
            f"{_all_seats(room.seats_wanted)} taken. "
            "You enter by yourself as soon as one becomes free; an organizer can add seats.",
        )
    if room.seats_usable == 0:
        return "no_ships", "No ship is up yet; ships are being launched. This page enters by itself."
    return "seats_preparing", "Every ready seat is taken; others are being prepared. This page enters by itself."


def _all_seats(number: int) -> str:
    return "The one seat of this event is" if number == 1 else f"All {number} seats of this event are"
