"""Files that cannot be kept apart from their ships: told once for each reason, and to whom it concerns."""

from __future__ import annotations

from mux.core.events import FleetEnded
from mux.core.keeping import PAUSE_S, TOLD_AFTER_S
from mux.core.model import ShipId, UserId
from mux.core.views import attendee_view
from tests.core.room import Room, event_spec

ADA, BOB = UserId("ada"), UserId("bob")
AWAY = "the store of files answered with 503"


def two_ships() -> tuple[Room, ShipId, ShipId]:
    """Ada and Bob, each on a ship."""
    room = Room(event_spec(attendees=2, seats_per_ship=1, ready_seats=2))
    room.settle()
    room.log_in("ada", "bob")
    room.settle()
    return room, room.seats()[ADA][0], room.seats()[BOB][0]


def says(room: Room, ship: ShipId, why: str, *, after: float = 0.0) -> list[str]:
    """What organizers are told when a ship says that after some seconds."""
    room.do(after=after)
    before = len(room.notices)
    room.machines[ship].unkept = why
    room.report(ship)
    room.answer()
    return [notice.code for notice in room.notices[before:] if notice.code.startswith("files")]


def told(room: Room, user: UserId) -> bool:
    return any(card.unkept_since for card in attendee_view(room.fleet.world, user, room.now).projects)


def test_what_cannot_be_kept_for_a_while_is_told_once_and_again_when_it_can() -> None:
    room, one, other = two_ships()
    assert says(room, one, AWAY) == []
    assert says(room, one, AWAY, after=TOLD_AFTER_S - 1) == []
    assert not told(room, ADA)
    assert says(room, one, AWAY, after=1) == ["files_not_kept"]
    assert AWAY in room.notices[-1].text
    assert (told(room, ADA), told(room, BOB)) == (True, False)
    assert says(room, other, AWAY) == says(room, one, AWAY) == []
    assert says(room, other, AWAY, after=TOLD_AFTER_S) == [], "one word is enough for all ships"
    assert told(room, BOB)
    assert says(room, one, "") == [], "it goes on elsewhere"
    assert not told(room, ADA)
    assert says(room, other, "") == ["files_kept_again"]
    assert not told(room, BOB)


def test_a_moment_without_a_store_is_not_worth_a_word() -> None:
    room, one, _ = two_ships()
    for _ in range(5):
        assert says(room, one, AWAY, after=TOLD_AFTER_S / 2) == []
        assert says(room, one, "", after=TOLD_AFTER_S / 4) == []


def test_another_reason_is_told_too_but_not_as_often_as_a_ship_likes() -> None:
    room, one, _ = two_ships()
    says(room, one, AWAY)
    assert says(room, one, AWAY, after=TOLD_AFTER_S) == ["files_not_kept"]
    assert says(room, one, "the disk is full", after=PAUSE_S - 1) == []
    assert told(room, ADA)
    assert says(room, one, "the disk is full", after=1) == ["files_not_kept"]
    assert [says(room, one, f"reason {number}") for number in range(20)] == [[]] * 20
    assert len(room.fleet.world.unkept_told) <= 1


def test_a_ship_that_has_ended_is_not_remembered() -> None:
    room, one, _ = two_ships()
    says(room, one, AWAY)
    says(room, one, AWAY, after=TOLD_AFTER_S)
    room.do(FleetEnded())
    room.settle()
    world = room.fleet.world
    assert (world.unkept, world.unkept_told, world.unkept_warned) == ({}, {}, {})
