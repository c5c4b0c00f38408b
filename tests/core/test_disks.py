"""Disks of ships that run full: organizers are told once, and once again when there is room."""

from __future__ import annotations

from mux.core.disks import CONDITION, LOW_BYTES
from mux.core.events import FleetEnded, ShipReported
from mux.core.model import Resources, ShipId, ShipReport
from mux.core.views import ship_view
from tests.core.room import Room, event_spec

ONE = ShipId("ship-0001")
LARGE = 100 * LOW_BYTES


def said(room: Room, *, free: int, total: int = LARGE) -> list[str]:
    """What organizers are told when the ship says so much of its disk, and its conditions."""
    known = room.machines[ONE]
    ship = room.fleet.world.ships[ONE]
    known.seq += 1
    resources = Resources(disk_total_bytes=total, disk_free_bytes=free)
    assert known.link is not None
    words = tuple(known.running.values())
    before = len(room.notices)
    room.do(ShipReported(ONE, known.link, ShipReport(known.seq, ship.generation, "", words, resources)))
    room.answer()
    return [notice.code for notice in room.notices[before:]]


def one_ship() -> Room:
    """A ship that is ready, with somebody on it."""
    room = Room(event_spec(attendees=2, seats_per_ship=2, ready_seats=1))
    room.settle()
    room.log_in("ada")
    room.settle()
    return room


def test_a_disk_that_runs_full_is_told_once_and_again_when_there_is_room() -> None:
    room = one_ship()
    ship = room.fleet.world.ships[ONE]
    assert said(room, free=LOW_BYTES) == []
    assert said(room, free=LOW_BYTES - 1) == ["disk_low"]
    assert said(room, free=0) == []
    assert CONDITION in ship_view(room.fleet.world, ship).conditions
    assert said(room, free=LOW_BYTES + 1) == [], "it would come and go"
    assert said(room, free=2 * LOW_BYTES) == ["disk_has_room"]
    assert CONDITION not in ship_view(room.fleet.world, ship).conditions


def test_nobody_is_refused_for_a_full_disk() -> None:
    room = one_ship()
    said(room, free=0)
    room.log_in("bob")
    room.settle()
    assert set(map(str, room.seats())) == {"ada", "bob"}


def test_a_small_disk_is_full_later_and_an_unknown_one_never() -> None:
    room = one_ship()
    small = 1 << 30
    assert said(room, free=small // 10, total=small) == []
    assert said(room, free=0, total=0) == []
    assert said(room, free=small // 21, total=small) == ["disk_low"]


def test_a_ship_that_has_ended_is_not_remembered() -> None:
    room = one_ship()
    said(room, free=0)
    room.do(FleetEnded())
    room.settle()
    assert not room.fleet.world.disks_low
