"""Whose fault a failure is, and that nothing stays blamed once it works again."""

from __future__ import annotations

import pytest

from mux.core.events import (
    EventSpecApplied,
    FleetParked,
    FleetUnparked,
    LaunchSucceeded,
    LinkLost,
    MachinesListed,
    ProjectRequested,
    SeatReleased,
    ShipReported,
)
from mux.core.model import (
    LinkId,
    Machine,
    MachineStatus,
    ProjectName,
    ReportedState,
    ShipId,
    ShipReport,
    ShipState,
    UserId,
    WorkspaceReport,
)
from mux.core.views import attendee_view
from tests.core.room import Room, effects, event_spec, project

INTRO, BAD = ProjectName("intro"), ProjectName("bad")
ONE, TWO = ShipId("ship-0001"), ShipId("ship-0002")


def set_failing(room: Room, *projects: ProjectName) -> None:
    for known in room.machines.values():
        known.failing = frozenset(projects)


def let_pass(room: Room, heartbeats: int, seconds: float = 5) -> None:
    for _ in range(heartbeats):
        room.do(after=seconds)
        for ship in list(room.machines):
            room.report(ship)
        room.settle()


def test_failures_of_a_broken_project_are_not_held_against_ships() -> None:
    """A project that fails for an hour, then one single failure of a good one: no ship is to blame."""
    room = Room(event_spec(project("intro"), project("bad")))
    room.answer_all()
    set_failing(room, BAD)
    room.settle()
    let_pass(room, 200)
    assert list(room.fleet.world.broken) == ["bad"]
    set_failing(room, BAD, INTRO)
    ship = room.fleet.world.ships[ONE]
    workspace = ship.seats[0].workspaces[INTRO]
    known = room.machines[ONE]
    known.running[workspace.id] = WorkspaceReport(workspace.id, ReportedState.FAILED, reason="exited")
    known.seq += 1
    assert known.link is not None
    room.do(ShipReported(ONE, known.link, ShipReport(known.seq, ship.generation, "", tuple(known.running.values()))))
    assert not ship.failed
    set_failing(room, BAD)
    let_pass(room, 4)
    assert room.fleet.world.offers.total == 4


def test_a_failed_ship_with_an_attendee_offers_its_seats_again_once_its_workspaces_start() -> None:
    """All workspaces healthy and no seat on offer must not last."""
    room = Room(event_spec(attendees=4))
    room.settle()
    room.log_in("ada")
    room.machines[ONE].failing = frozenset({INTRO})
    free = next(seat for seat in room.fleet.world.ships[ONE].seats if seat.user is None)
    for _ in range(40):
        room.do(after=10)
        bound = {w.id for seat in room.fleet.world.ships[ONE].seats if seat.user for w in seat.workspaces.values()}
        known = room.machines[ONE]
        known.settle()
        for identity in bound:  # the attendee's goes on
            known.running[identity] = WorkspaceReport(identity, ReportedState.HEALTHY, epoch=1)
        assert known.link is not None
        room.do(ShipReported(ONE, known.link, known.report()))
        room.answer_all()
        if room.fleet.world.ships[ONE].failed:
            break
    assert room.fleet.world.ships[ONE].failed
    room.machines[ONE].failing = frozenset()
    let_pass(room, 80)
    assert not room.fleet.world.ships[ONE].failed
    assert free.workspaces[INTRO].healthy
    assert room.fleet.world.offers.total >= 3


def test_a_project_that_is_mended_needs_fresh_failures_on_several_ships_to_be_broken_again() -> None:
    room = Room(event_spec(project("intro"), project("bad"), attendees=6))
    room.answer_all()
    set_failing(room, BAD)
    room.settle()
    let_pass(room, 3)
    assert len(room.fleet.world.project_failures[BAD]) == 3
    three = ShipId("ship-0003")
    room.machines[ONE].failing = frozenset()
    while room.fleet.world.broken:
        room.do(after=5)
        room.report(ONE)
        room.answer_all()
    for _ in range(2):  # it still fails on the third ship
        room.do(after=20)
        room.report(three)
        room.answer_all()
    assert list(room.fleet.world.project_failures[BAD]) == [three]
    assert not room.fleet.world.broken
    assert three in room.states(), "nor is the ship to blame for failures of that time"


def test_what_attendees_do_to_their_workspaces_does_not_make_a_project_broken() -> None:
    room = Room(event_spec(attendees=4))
    room.settle()
    room.log_in("ada", "bob", "eve")
    for ship in (ONE, TWO):
        known = room.machines[ship]
        known.running = {
            identity: WorkspaceReport(identity, ReportedState.FAILED, reason="exited", epoch=1)
            if room.fleet.world.ships[ship].seats[room.fleet.world.ships[ship].workspaces[identity].seat].user
            else word
            for identity, word in known.running.items()
        }
        known.seq += 1
        assert known.link is not None
        room.do(ShipReported(ship, known.link, ShipReport(known.seq, 99, "", tuple(known.running.values()))))
    assert not room.fleet.world.broken
    assert [notice.code for notice in room.pending if hasattr(notice, "code")].count("workspace_failed") == 3


def test_nothing_is_kept_of_failures_on_ships_that_have_ended() -> None:
    room = Room(event_spec(attendees=4))
    room.answer_all()
    room.machines[ONE].failing = frozenset({INTRO})
    for _ in range(12):
        room.settle()
        room.do(after=10)
    assert ONE not in room.states()
    assert room.fleet.world.project_failures == {}


def test_a_machine_that_boots_again_and_again_is_replaced_at_its_deadline() -> None:
    room = Room(event_spec(attendees=2, boot_deadline_s=60))
    room.answer_all()
    for _ in range(8):
        if ONE not in room.machines:
            break
        room.machines[ONE].boot += 1
        room.dial(ONE)
        room.answer_all()
        room.do(after=10)
        room.answer_all()
    assert ONE not in room.states()


def test_a_ship_that_fails_to_come_back_with_attendees_on_it_is_reported_and_kept() -> None:
    room = Room(event_spec(attendees=2, boot_deadline_s=60))
    room.settle()
    room.log_in("ada")
    room.do(FleetParked())
    room.settle()
    room.do(FleetUnparked())
    room.answer_all()
    room.do(after=61)
    room.answer_all()
    told = [notice for notice in room.notices if notice.code == "ship_failed"]
    assert [notice.subject for notice in told] == [ONE]
    assert "which had joined before it was parked, has not come back; see what the console" in told[0].text
    assert room.seats()[UserId("ada")] == (ONE, 0)
    room.settle()
    assert room.states()[ONE] is ShipState.RUNNING
    assert not room.fleet.world.ships[ONE].failed


def test_a_ship_that_was_silent_while_it_should_be_parked_is_watched_again_after_unparking() -> None:
    room = Room(event_spec(attendees=2))
    room.settle()
    room.do(FleetParked())
    room.pending.clear()  # the call hangs
    room.do(LinkLost(ONE, room.machines[ONE].link or LinkId(0)), after=30)
    room.do(FleetUnparked())
    room.do(after=room.spec.fleet.heartbeat_grace_s + 1)
    assert room.fleet.world.ships[ONE].unreachable


def test_ships_of_another_size_are_surplus_only_as_whole_ships() -> None:
    """Six seats a ship before an apply, two after it: one seat too many is no reason to end a ship of six."""
    room = Room(event_spec(attendees=12, seats_per_ship=6))
    room.settle()
    assert len(room.states()) == 2
    room.spec = event_spec(attendees=9, seats_per_ship=2)
    room.do(EventSpecApplied(room.spec))
    for _ in range(30):
        room.do(after=10)
        for ship in list(room.machines):
            room.report(ship)
        room.settle()
    assert list(room.states()) == [ONE, TWO]


def test_a_machine_without_an_address_yet_is_not_ordered_again_and_again() -> None:
    room = Room(event_spec(attendees=2))
    room.pending.clear()
    commands = room.do(MachinesListed({}, room.now))
    assert effects(commands).count("LaunchShip") == 1
    commands = room.do(LaunchSucceeded(ONE, Machine(ONE, MachineStatus.PENDING)))
    assert "LaunchShip" not in effects(commands)
    for _ in range(2):
        commands = room.do(MachinesListed({}, room.now + 15), after=15)
    assert "TerminateShip" in effects(commands), "one that never appears is lost"


def test_an_orphan_is_reported_once_and_one_that_has_just_ended_is_none() -> None:
    room = Room(event_spec(attendees=2))
    room.settle()
    stray = Machine(ShipId("ship-0777"), MachineStatus.RUNNING)
    known = room.machines[ONE].machine
    for _ in range(3):
        room.do(MachinesListed({stray.ship: stray, ONE: known}, room.now))
    room.answer_all()
    assert [notice.code for notice in room.notices].count("orphan") == 1


def test_who_is_released_while_logged_in_waits_for_another_seat() -> None:
    room = Room(event_spec(attendees=2))
    room.settle()
    room.log_in("ada", "bob", "eve")
    room.do(SeatReleased(UserId("ada")))
    room.answer_all()
    room.report(room.seats()[UserId("ada")][0])  # it has saved what she left
    assert list(room.fleet.world.waiting) == ["eve", "ada"], "at the end of the queue"
    room.do(SeatReleased(UserId("bob")))
    room.settle()
    assert set(room.seats()) == {"eve", "ada"}


@pytest.mark.parametrize("start", ["warm", "on_use"])
def test_a_project_that_an_apply_adds_is_prepared_everywhere(start: str) -> None:
    room = Room(event_spec(project()))
    room.settle()
    room.log_in("ada")
    room.spec = event_spec(project(), project("new", start=start))
    room.do(EventSpecApplied(room.spec))
    assert room.fleet.world.offers.total == (0 if start == "warm" else 3)
    assert room.routes() == {("ada", INTRO)}, "who works goes on"
    room.settle()
    assert room.fleet.world.offers.total == 3
    assert (("ada", "new") in room.routes()) == (start == "warm")


def test_a_parked_ship_that_the_provider_no_longer_has_is_lost() -> None:
    room = Room(event_spec(attendees=4))
    room.settle()
    room.log_in("ada")
    room.do(FleetParked())
    room.settle()
    del room.machines[ONE]
    for _ in range(2):
        room.do(MachinesListed({s: k.machine for s, k in room.machines.items()}, room.now + 15), after=15)
    room.answer_all()
    assert ONE not in room.states()
    room.do(FleetUnparked())
    room.settle()
    assert room.seats()[UserId("ada")][0] == TWO


def test_a_late_report_of_the_old_epoch_does_not_open_the_route_before_the_secrets_are_there() -> None:
    room = Room(event_spec(project(has_secrets=True)))
    room.settle()
    room.log_in("ada")
    known = room.machines[ONE]
    assert known.link is not None
    for generation in (0, 99):  # what was warm, said again, late; then with an epoch of somebody before
        for epoch in (0, 7):
            known.seq += 1
            words = tuple(WorkspaceReport(w, ReportedState.HEALTHY, epoch=epoch) for w in known.running)
            room.do(ShipReported(ONE, known.link, ShipReport(known.seq, generation, workspaces=words)))
            assert not room.routes()
    room.restart()
    room.dial(ONE)
    room.answer_all()
    known.seq += 1
    words = tuple(WorkspaceReport(w, ReportedState.HEALTHY, epoch=0) for w in known.running)
    room.do(ShipReported(ONE, known.link, ShipReport(known.seq, 0, workspaces=words)))
    assert not room.routes()
    room.report(ONE)
    assert room.routes() == {("ada", INTRO)}


@pytest.mark.parametrize(("reason", "blamed"), [("restore_failed", False), ("exited", True)])
def test_files_that_cannot_be_had_are_no_fault_of_the_project(reason: str, blamed: bool) -> None:
    lazy = ProjectName("lazy")
    room = Room(event_spec(project("intro"), project("lazy", start="on_use"), attendees=2, seats_per_ship=1))
    room.settle()
    room.log_in("ada", "bob")
    room.settle()
    for known in room.machines.values():
        known.bad_reason, known.failing = reason, frozenset({lazy})
    room.do(*(ProjectRequested(UserId(name), lazy) for name in ("ada", "bob")))
    room.settle()
    assert (lazy in room.fleet.world.broken) == blamed
    texts = {card.name: card.text for card in attendee_view(room.fleet.world, UserId("ada")).projects}
    assert ("Your files cannot be had" in texts[lazy]) != blamed
    assert [notice.code for notice in room.notices].count("workspace_failed") == 2
