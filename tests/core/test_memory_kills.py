"""Programs of a workspace that are killed for memory while it goes on: organizers are told, and not each time."""

from __future__ import annotations

from dataclasses import replace

from mux.core.events import ShipReported
from mux.core.model import ShipId, ShipReport
from tests.core.room import Room, event_spec

ONE = ShipId("ship-0001")


def test_the_first_the_second_and_the_fourth_are_told() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=2, ready_seats=1))
    room.settle()
    room.log_in("ada")
    room.settle()
    known, told = room.machines[ONE], []
    for kills in (0, 1, 1, 2, 3, 4, 0, 1):
        known.seq += 1
        assert known.link is not None
        generation = room.fleet.world.ships[ONE].generation
        first, *others = known.running.values()
        words = (replace(first, memory_kills=kills), *others)
        room.do(ShipReported(ONE, known.link, ShipReport(known.seq, generation, "", words)))
        before = len(room.notices)
        room.answer()
        told.append([notice.code for notice in room.notices[before:]])
    assert [bool(each) for each in told] == [False, True, False, True, False, True, False, True]
    assert "4 times by now" in next(n.text for n in room.notices if "4 times" in n.text)
