"""Planned moves: nobody's seat is given up before what they left is saved and in a snapshot; nobody waits for ever."""

from __future__ import annotations

import pytest

from mux.core.commands import SendDesired
from mux.core.events import (
    EventSpecApplied,
    FleetParked,
    FleetUnparked,
    LinkLost,
    MachineNoticed,
    PageGone,
    PageSaid,
    ProjectPushed,
    ProjectRequested,
    SeatReleased,
    ShipDeclaredLost,
    ShipDrained,
    ShipReleased,
    ShipReported,
    UserRevoked,
)
from mux.core.leaving import LEAVE_MAX_S, LEAVE_MIN_S, SAVE_SHARE
from mux.core.model import LinkId, ProjectName, ShipId, ShipNotice, UserId
from mux.core.pages import PAGES_BACK_S, SAVE_MAX_S, NotebookView, notebook_view
from mux.core.rollout import Pace
from mux.core.views import attendee_view
from tests.core.room import Room, event_spec, project

ONE, TWO = ShipId("ship-0001"), ShipId("ship-0002")
ADA, BOB = UserId("ada"), UserId("bob")
EVICTED = ShipDrained(ONE, evict=True)
TAKEN_BACK = MachineNoticed(ONE, ShipNotice("interruption", 1_120.0))


def seated(*, saves: bool = False) -> Room:
    """Two ships that are ready, Ada and Bob on the first, which brings what they leave if it ``saves``."""
    room = Room(event_spec(project(), project("lazy", start="on_use")))
    room.settle()
    room.log_in("ada", "bob")
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {ONE}
    room.machines[ONE].saves = saves
    return room


def ships(room: Room) -> dict[str, ShipId]:
    return {str(user): ship for user, (ship, _) in room.seats().items()}


@pytest.mark.parametrize("event", [EVICTED, TAKEN_BACK])
def test_a_seat_is_given_up_once_what_was_left_there_is_in_a_snapshot(event: ShipDrained | MachineNoticed) -> None:
    room = seated()
    commands = room.do(event)
    (told,) = [command.desired for command in commands if isinstance(command, SendDesired)]
    assert {(workspace.user, workspace.wanted) for workspace in told.workspaces} == {
        (ADA, "suspended"), (BOB, "suspended")
    }  # fmt: skip
    assert not room.routes()
    room.settle()
    assert set(ships(room).values()) == {ONE}
    assert "moved to another machine" in attendee_view(room.fleet.world, ADA).projects[0].text

    room.machines[ONE].saves = True
    room.settle()
    assert set(ships(room).values()) == {TWO}
    assert {user for user, _ in room.routes()} == {ADA, BOB}
    assert ONE not in room.states()


def test_a_ship_that_brings_nothing_holds_nobody_up_for_longer_than_the_bound_and_keeps_what_it_has() -> None:
    room = seated()
    room.machines[ONE].behind_s = 12.5
    room.do(EVICTED)
    room.settle()
    room.do(after=LEAVE_MAX_S - 0.1)
    assert set(ships(room).values()) == {ONE}
    room.do(after=0.2)
    room.settle()
    assert set(ships(room).values()) == {TWO}
    behind = attendee_view(room.fleet.world, ADA).projects[0].behind
    assert behind is not None
    assert behind.seconds == 12.5
    assert set(room.fleet.world.ships[ONE].kept_of) == {ADA, BOB}
    (notice,) = [notice.text for notice in room.notices if notice.code == "moved_unsaved"]
    assert "2 attendees" in notice
    assert "mux ship release" in notice
    room.do(ShipReleased(ONE))
    room.settle()
    assert ONE not in room.states()


def test_a_machine_that_ends_soon_is_waited_for_no_longer_than_it_lasts() -> None:
    for lasts_s, waits_s in ((12.0, 12.0), (1.0, LEAVE_MIN_S), (600.0, LEAVE_MAX_S)):
        room = seated()
        room.do(MachineNoticed(ONE, ShipNotice("interruption", room.now + lasts_s)))
        room.do(after=waits_s - 0.1)
        assert set(ships(room).values()) == {ONE}
        room.do(after=0.2)
        assert ONE not in ships(room).values()


def test_a_move_goes_on_over_a_restart_of_the_mux() -> None:
    room = seated()
    room.do(EVICTED)
    room.settle()
    room.restart()
    room.settle()
    assert set(ships(room).values()) == {ONE}
    assert not room.routes()
    room.restart()
    room.machines[ONE].saves = True
    room.settle()
    assert set(ships(room).values()) == {TWO}

    room = seated()
    room.do(EVICTED)
    room.restart()
    room.do(after=LEAVE_MAX_S + 1)
    room.settle()
    assert set(ships(room).values()) == {TWO}


def test_whoever_leaves_alone_leaves_the_others_where_they_are() -> None:
    room = seated()
    room.do(SeatReleased(ADA))
    room.do(SeatReleased(ADA), ProjectRequested(ADA, ProjectName("lazy")))
    room.settle()
    assert {user for user, _ in room.routes()} == {BOB}
    before = room.seats()
    room.do(after=LEAVE_MAX_S + 1)
    room.settle()
    assert room.fleet.world.assignments[ADA].epoch == 2
    assert room.seats()[BOB] == before[BOB]
    assert not room.fleet.world.ships[ONE].kept
    assert [notice.code for notice in room.notices].count("moved_unsaved") == 1


def test_who_has_saved_does_not_wait_for_those_who_have_not() -> None:
    room = seated()
    room.do(EVICTED)
    room.answer_all()
    known = room.machines[ONE]
    known.saves = True
    known.settle()
    assert known.desired is not None
    (bobs,) = (each.id for each in known.desired.workspaces if each.user == BOB)
    del known.running[bobs]  # the ship has it not yet, and has not got so far as to say that there is none
    known.desired, told = None, known.desired
    assert known.link is not None
    room.do(ShipReported(ONE, known.link, known.report()))
    assert ships(room) == {"ada": TWO, "bob": ONE}
    known.desired = told
    room.settle()
    assert ships(room) == {"ada": TWO, "bob": TWO}


def test_a_ship_that_is_lost_in_the_middle_keeps_what_was_left() -> None:
    room = seated()
    room.do(EVICTED)
    room.settle()
    room.do(ShipDeclaredLost(ONE))
    assert set(room.fleet.world.ships[ONE].kept_of) == {ADA, BOB}
    assert ONE not in ships(room).values()
    assert not room.fleet.world.leaving


def test_a_project_that_is_removed_in_the_middle_holds_nobody_up() -> None:
    room = seated()
    room.do(EVICTED)
    room.settle()
    room.spec = event_spec(project("other"))
    room.do(EventSpecApplied(room.spec))
    room.settle()
    assert ONE not in ships(room).values()


def test_those_who_leave_a_draining_ship_one_after_the_other_go_together_and_it_keeps_what_all_left() -> None:
    room = seated()
    room.do(SeatReleased(ADA))
    room.do(EVICTED, after=10.0)
    room.do(after=LEAVE_MAX_S - 10.0 + 0.1)
    assert set(ships(room)) == {"ada", "bob"}
    room.do(after=10.0)
    room.settle()
    assert ONE not in ships(room).values()
    assert set(room.fleet.world.ships[ONE].kept_of) == {ADA, BOB}


INTRO, PAGE = ProjectName("intro"), "a" * 16


def says(room: Room, *, saved: int = 0) -> None:
    """Ada's page, which has an unsaved edit until it has saved."""
    room.do(PageSaid(ADA, INTRO, PAGE, 1, int(not saved), saved))


def told(room: Room) -> NotebookView:
    view = notebook_view(room.fleet.world, ADA, INTRO)
    assert view is not None
    return view


def asked(event: ShipDrained | MachineNoticed | SeatReleased = EVICTED) -> Room:
    """Ada's page is open, she is to leave, and has been asked to save."""
    room = seated(saves=True)
    says(room)
    room.do(event)
    assert told(room).save
    return room


@pytest.mark.parametrize("event", [EVICTED, TAKEN_BACK, SeatReleased(ADA)])
def test_nobodys_workspace_is_stopped_before_their_pages_have_saved(
    event: ShipDrained | MachineNoticed | SeatReleased,
) -> None:
    room = asked(event)
    before = room.seats()[ADA]
    room.settle()
    assert room.seats()[ADA] == before
    assert (ADA, INTRO) in room.routes()
    run = told(room).run
    says(room, saved=told(room).save)
    assert (ADA, INTRO) not in room.routes()
    assert (told(room).save, told(room).updating) == (0, True)
    room.settle()
    assert room.fleet.world.assignments[ADA].epoch == 2
    assert told(room).run != run
    assert not room.fleet.world.save_requests


def test_a_page_that_does_not_save_holds_its_attendee_up_for_no_longer_than_it_may() -> None:
    room = asked()
    room.do(PageGone(ADA, INTRO, PAGE, 1))
    room.do(after=SAVE_MAX_S - 0.1)
    assert (ADA, INTRO) in room.routes()
    room.do(after=0.2)
    room.settle()
    assert ships(room)["ada"] == TWO


def test_a_machine_that_ends_soon_gives_pages_a_part_of_what_is_left() -> None:
    room = seated(saves=True)
    says(room)
    room.do(MachineNoticed(ONE, ShipNotice("interruption", room.now + 9.0)))
    room.do(after=9.0 * SAVE_SHARE - 0.1)
    assert (ADA, INTRO) in room.routes()
    room.do(after=0.2)
    room.settle()
    assert ships(room)["ada"] == TWO


def test_somebody_whose_logins_were_ended_is_not_asked_since_they_cannot_save() -> None:
    room = seated(saves=True)
    says(room)
    room.do(UserRevoked(ADA, release=True))
    assert (ADA, INTRO) not in room.routes()
    room.settle()
    assert ADA not in room.seats()


def test_over_a_restart_of_the_mux_pages_have_time_to_come_back_and_are_asked_anew() -> None:
    room = asked()
    number = told(room).save
    room.do(after=1.0)
    room.restart()
    room.settle()
    assert (told(room).save, ships(room)["ada"]) == (0, ONE)
    says(room)
    room.do(after=PAGES_BACK_S)
    assert told(room).save > number
    assert (ADA, INTRO) in room.routes()
    says(room, saved=told(room).save)
    room.settle()
    assert ships(room)["ada"] == TWO


def test_over_a_restart_of_the_mux_a_page_that_does_not_come_back_is_not_waited_for() -> None:
    room = asked()
    room.restart()
    room.settle()
    room.do(after=PAGES_BACK_S)
    room.settle()
    assert ships(room)["ada"] == TWO


def test_who_was_asked_for_a_swap_and_leaves_is_moved_once_they_have_saved_and_not_swapped() -> None:
    room = seated(saves=True)
    says(room)
    room.do(ProjectPushed(INTRO, "images/intro", "sha256:" + "1" * 64, Pace(count=1)))
    room.settle()
    assert told(room).save
    room.do(EVICTED)
    before = room.fleet.world.ships[ONE].seats[room.seats()[ADA][1]].workspaces[INTRO]
    was = before.digest
    says(room, saved=told(room).save)
    room.settle()
    assert before.digest == was
    assert ships(room)["ada"] == TWO


def test_the_time_of_those_who_leave_a_parked_ship_begins_once_it_is_up() -> None:
    room = seated(saves=True)
    room.machines[ONE].saves = False
    room.do(SeatReleased(ADA))
    room.do(FleetParked())
    room.settle()
    room.do(after=10 * LEAVE_MAX_S)
    before = room.seats()[ADA]
    room.restart()
    room.settle()
    room.do(after=10 * LEAVE_MAX_S)
    assert room.seats()[ADA] == before
    room.do(FleetUnparked())
    room.answer_all()
    room.do(after=2 * LEAVE_MAX_S)
    assert room.seats()[ADA] == before
    room.machines[ONE].saves = True
    room.settle()
    assert room.fleet.world.assignments[ADA].epoch == 2
    assert "moved_unsaved" not in [notice.code for notice in room.notices]


def test_a_ship_that_does_not_come_up_again_is_waited_for_no_longer_than_it_may_take_to_boot() -> None:
    room = seated()
    room.do(EVICTED)
    room.do(FleetParked())
    room.settle()
    room.do(FleetUnparked())
    room.machines[ONE].boot += 1
    boot_max_s = room.spec.fleet.boot_deadline_s
    room.do(after=boot_max_s + LEAVE_MAX_S - 1)
    assert ships(room)["ada"] == ONE
    room.do(after=2.0)
    assert ADA not in room.seats()
    assert set(room.fleet.world.ships[ONE].kept_of) == {ADA, BOB}


def test_a_ship_that_boots_again_and_again_wins_no_time_by_that() -> None:
    room = seated()
    room.do(EVICTED)
    limit = room.now + room.spec.fleet.boot_deadline_s + LEAVE_MAX_S
    while room.now < limit:
        assert ships(room)["ada"] == ONE
        room.machines[ONE].boot += 1
        room.dial(ONE)
        room.do(LinkLost(ONE, LinkId(room.links)), after=LEAVE_MAX_S - 1)
        room.do(after=1.0)
    assert ADA not in room.seats()
