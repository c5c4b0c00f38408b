"""Wishes to start files over: told to the ship until another one takes their place, and never lost."""

from __future__ import annotations

from mux.core.commands import SaveShip, SendDesired
from mux.core.events import LinkLost, SeatReleased, ShipDeclaredLost, StartOverAsked
from mux.core.files import BEHIND_SHOWN_S, PATH_CHARS_MAX, FilesView, files_views
from mux.core.model import ProjectName, ShipId, StartedOver, StartOver, UserId
from mux.core.views import attendee_view
from mux.core.world import Behind
from mux.store.records import dump_ship, load_ship
from tests.core.room import Room, event_spec, project

ADA, INTRO, LAZY = UserId("ada"), ProjectName("intro"), ProjectName("lazy")


def seated() -> Room:
    """A room in which Ada has a seat."""
    room = Room(event_spec(project(), project("lazy", start="on_use")))
    room.settle()
    room.log_in("ada")
    room.settle()
    return room


def files(room: Room) -> dict[ProjectName, FilesView]:
    return {view.project: view for view in files_views(room.fleet.world, ADA)}


def test_a_wish_is_saved_then_told_and_its_end_is_shown() -> None:
    room = seated()
    assert files(room) == {INTRO: FilesView(INTRO, held=True), LAZY: FilesView(LAZY)}

    commands = room.do(StartOverAsked(ADA, INTRO, "a%20b.ipynb"))
    (told,) = [command.desired for command in commands if isinstance(command, SendDesired)]
    wish = StartOver(told.generation, "a%20b.ipynb")
    assert [workspace.start_over for workspace in told.workspaces if workspace.user == ADA] == [wish]
    (saved,) = [command.ship for command in commands if isinstance(command, SaveShip)]
    assert [kept.start_over for kept in load_ship(dump_ship(saved)).workspaces if kept.start_over] == [wish]
    assert files(room)[INTRO] == FilesView(INTRO, held=True, wish=wish)

    room.settle()
    assert files(room)[INTRO].ended == StartedOver(wish.number, done=True, kept="before-reset")


def test_a_later_wish_has_a_larger_number_and_no_end_of_the_one_before() -> None:
    room = seated()
    room.do(StartOverAsked(ADA, INTRO, "one"))
    room.settle()
    first = files(room)[INTRO].wish
    room.do(StartOverAsked(ADA, INTRO, "one"))
    view = files(room)[INTRO]
    assert first is not None
    assert view.wish is not None
    assert view.wish.number > first.number
    assert view.ended is None


def test_a_wish_outlives_the_mux() -> None:
    room = seated()
    room.do(StartOverAsked(ADA, INTRO))
    wish = files(room)[INTRO].wish
    room.restart()
    assert files(room)[INTRO].wish == wish
    room.settle()
    assert files(room)[INTRO].ended == StartedOver(wish.number if wish else 0, done=True, kept="before-reset")


def tell(room: Room, ship: ShipId, behind_s: float) -> None:
    """A ship reports that its snapshots are behind."""
    room.machines[ship].behind_s = behind_s
    room.machines[ship].settle()
    room.report(ship)


def told(room: Room) -> Behind | None:
    return attendee_view(room.fleet.world, ADA).projects[0].behind


def test_who_was_moved_is_told_how_old_their_files_are_for_a_while() -> None:
    room = seated()
    ship = room.seats()[ADA][0]
    tell(room, ship, 12.5)
    assert told(room) is None, "nobody has moved"
    room.do(ShipDeclaredLost(ship))
    room.settle()
    assert room.seats()[ADA][0] != ship
    moved = told(room)
    assert moved is not None
    assert (moved.seconds, moved.unheard_s) == (12.5, 0.0)
    assert attendee_view(room.fleet.world, ADA, room.now + BEHIND_SHOWN_S).projects[0].behind is None


def test_what_a_silent_ship_may_not_have_told_is_said_too() -> None:
    room = seated()
    ship = room.seats()[ADA][0]
    link, heard_at = room.machines[ship].link, room.now
    assert link is not None
    room.do(LinkLost(ship, link))
    room.machines[ship].link, room.machines[ship].accepted = None, False
    room.do(after=room.spec.fleet.heartbeat_grace_s + 1)
    room.do(ShipDeclaredLost(ship))
    room.settle()
    moved = told(room)
    assert moved is not None
    assert moved.seconds == 0.0
    assert moved.unheard_s == moved.at - heard_at > room.spec.fleet.heartbeat_grace_s


def test_who_loses_nothing_is_told_nothing() -> None:
    room = seated()
    ship = room.seats()[ADA][0]
    tell(room, ship, 3.0)
    tell(room, ship, 0.0)
    room.do(ShipDeclaredLost(ship))
    room.settle()
    assert told(room) is None


def test_without_a_workspace_there_is_nothing_to_start_over() -> None:
    room = seated()
    assert room.do(StartOverAsked(ADA, LAZY), StartOverAsked(UserId("eve"), INTRO)) == []
    assert room.do(StartOverAsked(ADA, INTRO, "a" * (PATH_CHARS_MAX + 1))) == []
    room.do(StartOverAsked(ADA, INTRO))
    room.do(SeatReleased(ADA))
    room.settle()
    room.settle()
    assert [view.wish for view in files(room).values()] == [None, None]
