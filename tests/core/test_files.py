"""Wishes to start files over: told to the ship until another one takes their place, and never lost."""

from __future__ import annotations

from mux.core.commands import SaveShip, SendDesired
from mux.core.events import SeatReleased, StartOverAsked
from mux.core.files import PATH_CHARS_MAX, FilesView, files_views
from mux.core.model import ProjectName, StartedOver, StartOver, UserId
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


def test_without_a_workspace_there_is_nothing_to_start_over() -> None:
    room = seated()
    assert room.do(StartOverAsked(ADA, LAZY), StartOverAsked(UserId("eve"), INTRO)) == []
    assert room.do(StartOverAsked(ADA, INTRO, "a" * (PATH_CHARS_MAX + 1))) == []
    room.do(StartOverAsked(ADA, INTRO))
    room.do(SeatReleased(ADA))
    room.settle()
    room.settle()
    assert [view.wish for view in files(room).values()] == [None, None]
