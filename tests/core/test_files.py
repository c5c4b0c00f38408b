"""Wishes to start files over: told to the ship until another one takes their place, never lost, through moves."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from mux.core.commands import Behind, SaveShip, SendDesired
from mux.core.events import (
    DoorsSet,
    LinkLost,
    ProjectRequested,
    SeatReleased,
    ShipDeclaredLost,
    ShipReported,
    StartOverAsked,
    UserRevoked,
    WishesWithdrawn,
)
from mux.core.files import BEHIND_SHOWN_S, PATH_CHARS_MAX, FilesView, files_views
from mux.core.model import Doors, ProjectName, ShipId, StartedOver, StartOver, UserId
from mux.core.views import attendee_view, fleet_status
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


def test_who_was_moved_is_told_after_a_restart_of_the_mux_too_and_no_longer_than_without() -> None:
    room = seated()
    ship = room.seats()[ADA][0]
    tell(room, ship, 12.5)
    room.do(ShipDeclaredLost(ship))
    room.restart()
    room.settle()
    assert room.seats()[ADA][0] != ship
    moved = told(room)
    assert moved is not None
    assert (moved.seconds, moved.unheard_s) == (12.5, 0.0)
    assert room.kept.behind == {ADA: {INTRO: moved}}
    room.restart()
    room.do(after=moved.at + BEHIND_SHOWN_S - room.now)
    assert told(room) is None
    assert room.kept.behind == room.fleet.world.behind == {}


def test_nothing_is_told_of_files_that_were_deleted() -> None:
    room = seated()
    ship = room.seats()[ADA][0]
    tell(room, ship, 12.5)
    room.do(ShipDeclaredLost(ship))
    assert room.kept.behind
    room.do(WishesWithdrawn(ADA))
    assert room.kept.behind == room.fleet.world.behind == {}


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


def wishes_told(room: Room, ship: ShipId) -> list[StartOver]:
    """What a ship was told last of starting over."""
    desired = room.machines[ship].desired
    assert desired is not None
    return [workspace.start_over for workspace in desired.workspaces if workspace.start_over is not None]


def test_a_wish_that_was_not_carried_out_follows_to_the_next_seat_once() -> None:
    room = seated()
    first = room.seats()[ADA][0]
    room.do(StartOverAsked(ADA, INTRO, "a%20b.ipynb"))
    room.do(ShipDeclaredLost(first))
    for _ in range(3):
        room.settle()
    second = room.seats()[ADA][0]
    assert second != first
    (wish,) = wishes_told(room, second)
    assert wish.path == "a%20b.ipynb"
    assert files(room)[INTRO] == FilesView(
        INTRO, held=True, wish=wish, ended=StartedOver(wish.number, done=True, kept="before-reset")
    )
    room.do(ShipDeclaredLost(second))
    for _ in range(3):
        room.settle()
    assert room.seats()[ADA][0] not in (first, second)
    assert [view.wish for view in files(room).values()] == [None, None], "what is done is not done again"
    assert room.fleet.world.wishes == room.kept.wishes == {}


def test_a_wish_that_has_ended_does_not_follow_though_the_mux_started_anew() -> None:
    room = seated()
    room.do(StartOverAsked(ADA, INTRO))
    room.settle()
    first, ended = room.seats()[ADA][0], files(room)[INTRO].ended
    room.restart()
    assert files(room)[INTRO].ended == ended is not None
    room.do(ShipDeclaredLost(first))
    for _ in range(3):
        room.settle()
    assert room.seats()[ADA][0] != first
    assert files(room)[INTRO] == FilesView(INTRO, held=True)


def test_a_wish_that_cannot_be_carried_out_does_not_follow() -> None:
    room = seated()
    first = room.seats()[ADA][0]
    room.do(StartOverAsked(ADA, INTRO))
    wish = files(room)[INTRO].wish
    assert wish is not None
    room.answer_all()
    known = room.machines[first]
    known.settle()
    failed = StartedOver(wish.number, done=False, detail="the disk is full")
    known.running = {
        name: replace(said, started_over=failed) if said.started_over else said for name, said in known.running.items()
    }
    assert known.link is not None
    room.do(ShipReported(first, known.link, known.report()))
    assert files(room)[INTRO].ended == failed
    room.do(ShipDeclaredLost(first))
    for _ in range(3):
        room.settle()
    assert files(room)[INTRO] == FilesView(INTRO, held=True)


def test_a_wish_waits_for_a_seat_through_a_restart_of_the_mux() -> None:
    room = seated()
    room.do(StartOverAsked(ADA, INTRO, "one"), DoorsSet(Doors.CLOSED))
    room.do(SeatReleased(ADA))
    room.settle()
    assert room.seats() == {}
    assert files(room)[INTRO] == FilesView(INTRO)
    room.restart()
    room.settle()
    room.do(DoorsSet(Doors.OPEN))
    wish = files(room)[INTRO].wish
    assert wish is not None
    assert wish.path == "one"
    room.restart()
    assert files(room)[INTRO].wish == wish
    room.settle()
    assert files(room)[INTRO].ended == StartedOver(wish.number, done=True, kept="before-reset")


def test_a_wish_for_a_project_that_is_started_on_use_waits_for_its_use_and_a_later_one_takes_its_place() -> None:
    room = seated()
    room.do(ProjectRequested(ADA, LAZY))
    room.settle()
    room.do(StartOverAsked(ADA, LAZY, "one"))
    room.do(ShipDeclaredLost(room.seats()[ADA][0]))
    for _ in range(3):
        room.settle()
    assert room.fleet.world.wishes == {ADA: {LAZY: "one"}}
    room.do(ProjectRequested(ADA, LAZY))
    assert room.fleet.world.wishes == {}
    ship = room.fleet.world.ships[room.seats()[ADA][0]]
    (given,) = [each.start_over for each in ship.workspaces.values() if each.start_over is not None]
    assert given.path == "one"
    room.settle()
    room.do(StartOverAsked(ADA, LAZY, "two"))
    room.do(ShipDeclaredLost(ship.id))
    assert room.fleet.world.wishes == {ADA: {LAZY: "two"}}


def test_who_is_moved_twice_before_anything_was_ready_keeps_the_wish() -> None:
    room = seated()
    room.do(StartOverAsked(ADA, INTRO, "one"))
    room.do(ShipDeclaredLost(room.seats()[ADA][0]))
    while ADA not in room.seats():
        room.settle(1)
    room.do(ShipDeclaredLost(room.seats()[ADA][0]))
    for _ in range(3):
        room.settle()
    (wish,) = wishes_told(room, room.seats()[ADA][0])
    assert wish.path == "one"
    assert files(room)[INTRO].ended == StartedOver(wish.number, done=True, kept="before-reset")


def test_the_wish_of_a_lost_ship_does_no_harm_when_that_returns() -> None:
    room = seated()
    first = room.seats()[ADA][0]
    lost = room.machines[first]
    room.do(StartOverAsked(ADA, INTRO))
    room.answer_all()
    old = wishes_told(room, first)
    assert lost.link is not None
    room.do(LinkLost(first, lost.link))
    lost.link, lost.accepted = None, False
    room.do(after=room.spec.fleet.heartbeat_grace_s + 1)
    room.do(ShipDeclaredLost(first))
    assert room.fleet.world.ships[first].kept, "it may come back, and keeps their work"
    # Away from the mux, it carries out what it was told last.
    lost.settle()
    for _ in range(3):
        room.settle()
    now = room.seats()[ADA][0]
    assert now != first
    assert wishes_told(room, first) == []
    assert len(old) == len(wishes_told(room, now)) == 1
    ended = files(room)[INTRO].ended
    assert ended == StartedOver(wishes_told(room, now)[0].number, done=True, kept="before-reset")


def test_who_sits_on_the_seat_next_does_not_get_the_wish() -> None:
    room = seated()
    room.do(StartOverAsked(ADA, INTRO))
    room.do(UserRevoked(ADA, release=True))
    room.log_in("bob")
    room.settle()
    assert [wish for ship in room.machines for wish in wishes_told(room, ship)] == []


def happens(room: Room, luck: Random) -> None:
    """One thing of those that move people, kill the mux or let the world go on."""
    ships = sorted(room.machines)
    match luck.randrange(6):
        case 0:
            room.restart()
        case 1 if ships:
            room.do(ShipDeclaredLost(luck.choice(ships)))
        case 2:
            room.do(SeatReleased(ADA))
        case 3:
            room.do(ProjectRequested(ADA, LAZY))
        case 4:
            room.settle(1)
        case _:
            room.settle()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_a_wish_is_carried_out_or_stands_or_waits(seed: int) -> None:
    luck, room, pending = Random(seed), seated(), dict[ProjectName, str]()
    for number in range(30):
        name = luck.choice((INTRO, LAZY))
        if luck.random() < 0.4 and files(room)[name].held:
            pending[name] = f"{number}.ipynb"
            room.do(StartOverAsked(ADA, name, pending[name]))
        happens(room, luck)
        world = room.fleet.world
        assert room.kept.wishes == world.wishes
        found = world.seat_of(ADA)
        for project_name, path in list(pending.items()):
            workspace = found[1].workspaces.get(project_name) if found is not None else None
            stands = workspace.start_over.path if workspace is not None and workspace.start_over is not None else ""
            if path in room.carried_out:
                del pending[project_name]
            else:
                assert path in (stands, world.wishes.get(ADA, {}).get(project_name)), f"{path} is lost"


def test_no_wish_outlives_the_deletion_of_its_attendees_files() -> None:
    room = seated()
    first = room.seats()[ADA][0]
    room.do(StartOverAsked(ADA, INTRO, "diary.ipynb"))
    room.do(WishesWithdrawn(ADA))
    assert wishes_told(room, first) == []
    room.do(StartOverAsked(ADA, INTRO, "diary.ipynb"))
    room.do(UserRevoked(ADA, release=True))
    room.do(WishesWithdrawn(ADA))
    room.do(after=60.0)
    room.settle()
    assert ADA not in room.seats()
    assert room.fleet.world.wishes == room.kept.wishes == {}


def test_what_a_loss_would_cost_is_shown_of_every_home_while_its_ship_is_up() -> None:
    room = Room(event_spec(project(), heartbeat_grace_s=10.0))
    room.settle()
    room.log_in("ada", "bob")
    room.settle()
    assert (fleet_status(room.fleet.world).snapshot_lag_s, fleet_status(room.fleet.world).homes_behind) == (0.0, 0)

    ship, seat = room.seats()[ADA]
    tell(room, ship, 12.5)
    status = fleet_status(room.fleet.world)
    (shown,) = (view.seats[seat] for view in status.ships if view.id == ship)
    assert shown.snapshot_lag_s == {INTRO: 12.5}
    assert (status.snapshot_lag_s, status.homes_behind) == (12.5, 2)

    room.do(after=11.0)
    assert fleet_status(room.fleet.world).snapshot_lag_s == 12.5 + 11.0, "nothing has been heard since"
    tell(room, ship, 0.0)
    assert (fleet_status(room.fleet.world).snapshot_lag_s, fleet_status(room.fleet.world).homes_behind) == (0.0, 0)
