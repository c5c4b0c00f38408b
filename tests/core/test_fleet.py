"""The core as a transcript: what happens, and what follows from it."""

from __future__ import annotations

import pytest

from mux.core.attendance import SESSIONS_MAX
from mux.core.commands import ForgetSession, Publish, SaveAssignment, SaveSession, SendDesired, TerminateShip
from mux.core.events import (
    DoorsSet,
    EventSpecApplied,
    FleetParked,
    FleetUnparked,
    LaunchingSet,
    LinkLost,
    LoggedIn,
    LoggedOut,
    MachinesListed,
    ProjectRequested,
    SeatReleased,
    ShipDeclaredLost,
    ShipDialed,
    ShipDrained,
    ShipReported,
    UserRevoked,
)
from mux.core.fleet import Fleet
from mux.core.model import (
    Doors,
    LinkId,
    Machine,
    MachineStatus,
    ProjectName,
    SessionHash,
    ShipId,
    ShipReport,
    ShipState,
    UserId,
)
from mux.core.views import attendee_view, fleet_status
from tests.core.room import Room, effects, event_spec, project

INTRO = ProjectName("intro")
ONE, TWO = ShipId("ship-0001"), ShipId("ship-0002")


def warm_room(**spec: float) -> Room:
    room = Room(event_spec(**spec))  # type: ignore[arg-type]
    room.settle()
    return room


def test_nothing_is_launched_before_the_provider_said_what_exists() -> None:
    room = Room()
    assert effects(room.pending) == ["ListMachines"]


def test_missing_seats_are_launched_and_become_available_when_every_seat_is_warm() -> None:
    room = warm_room()
    assert room.states() == {ONE: ShipState.AVAILABLE, TWO: ShipState.AVAILABLE}
    assert room.fleet.world.offers.total == 4


def test_a_ship_is_saved_before_it_is_launched() -> None:
    room = Room()
    commands = []
    room.pending.clear()
    commands = room.do(MachinesListed({}, room.now))
    names = [type(command).__name__ for command in commands]
    assert names.index("SaveShip") < names.index("LaunchShip")


def test_a_login_gets_a_seat_a_route_and_a_session_in_one_batch() -> None:
    room = warm_room()
    commands = room.log_in("ada")
    assert [c.session.user for c in commands if isinstance(c, SaveSession)] == ["ada"]
    assert [c.assignment.epoch for c in commands if isinstance(c, SaveAssignment)] == [1]
    published = [c for c in commands if isinstance(c, Publish)]
    assert list(published[0].routes) == [("ada", INTRO)]
    assert list(published[0].sessions) == ["session of ada"]
    desired = next(c for c in commands if isinstance(c, SendDesired)).desired
    assert [w.user for w in desired.workspaces if w.wanted == "bound"] == ["ada"]


def test_a_second_login_finds_the_same_seat() -> None:
    room = warm_room()
    room.log_in("ada")
    seat = room.seats()["ada"]  # type: ignore[index]
    room.do(LoggedOut(SessionHash("session of ada")))
    room.log_in("ada")
    assert room.seats() == {"ada": seat}


def test_the_fullest_healthy_ship_comes_first_so_that_whole_ships_stay_free() -> None:
    room = warm_room()
    room.log_in("ada")
    room.log_in("bob")
    assert {ship for ship, _ in room.seats().values()} == {ONE}
    room.log_in("eve")
    assert room.seats()[UserId("eve")][0] == TWO


def test_who_comes_when_no_seat_is_free_waits_in_order_and_enters_by_themselves() -> None:
    room = warm_room(attendees=2)
    room.log_in("ada", "bob", "eve", "dan")
    assert set(room.seats()) == {"ada", "bob"}
    view = attendee_view(room.fleet.world, UserId("dan")).waiting
    assert view is not None
    assert (view.position, view.total, view.code) == (2, 2, "full")
    room.do(SeatReleased(UserId("ada")))
    room.settle()
    assert set(room.seats()) == {"bob", "eve"}


def test_closed_doors_keep_newcomers_waiting_and_say_so() -> None:
    room = warm_room()
    room.do(DoorsSet(Doors.CLOSED))
    room.log_in("ada")
    view = attendee_view(room.fleet.world, UserId("ada")).waiting
    assert view is not None
    assert view.code == "doors_closed"
    room.do(DoorsSet(Doors.OPEN))
    assert set(room.seats()) == {"ada"}


def test_doors_open_at_ready_seats_and_stay_open() -> None:
    room = Room(event_spec(ready_seats=4))
    room.log_in("ada")
    room.answer_all()
    room.dial(ONE)
    room.answer_all()
    room.report(ONE)
    assert not room.seats()
    view = attendee_view(room.fleet.world, UserId("ada")).waiting
    assert view is not None
    assert (view.code, "2 are so far" in view.text) == ("doors_auto", True)
    room.settle()
    assert set(room.seats()) == {"ada"}
    room.machines[TWO].failing = frozenset({INTRO})
    room.report(TWO)
    room.log_in("bob")
    assert set(room.seats()) == {"ada", "bob"}


def test_a_released_seat_is_destroyed_not_reused() -> None:
    room = warm_room(attendees=2)
    room.log_in("ada")
    ship, seat = room.fleet.world.seat_of(UserId("ada")) or pytest.fail("no seat")
    before = seat.workspaces[INTRO]
    room.do(SeatReleased(UserId("ada")))
    assert before.state == "suspended", "until what it left is in a snapshot"
    room.answer_all()
    room.report(ship.id)
    assert before.state == "draining"
    assert seat.workspaces[INTRO].id != before.id
    assert seat.workspaces[INTRO].port != before.port
    room.settle()
    assert before.state == "stopped"
    assert before.id not in ship.workspaces


def test_logging_out_gives_nothing_back() -> None:
    room = warm_room()
    room.log_in("ada")
    commands = room.do(LoggedOut(SessionHash("session of ada")))
    assert [c for c in commands if isinstance(c, ForgetSession)] == [ForgetSession(SessionHash("session of ada"))]
    assert set(room.seats()) == {"ada"}
    assert room.routes() == {("ada", INTRO)}


def test_an_expired_session_ends_by_itself() -> None:
    room = warm_room()
    room.log_in("ada", expires_in=60)
    assert room.fleet.next_deadline() is not None
    commands = room.do(after=61)
    assert any(isinstance(c, ForgetSession) for c in commands)
    assert not room.fleet.published().sessions


def test_one_login_too_many_ends_the_oldest() -> None:
    room = warm_room()
    room.log_in("ada", "bob")
    for number in range(SESSIONS_MAX):
        room.do(LoggedIn(UserId("ada"), SessionHash(f"session {number}"), room.now + 100))
    published = room.fleet.published().sessions
    assert len(published) == SESSIONS_MAX + 1
    assert SessionHash("session of ada") not in published
    assert SessionHash("session of bob") in published
    assert SessionHash(f"session {SESSIONS_MAX - 1}") in published


def test_revoking_ends_every_session_and_can_release_the_seat() -> None:
    room = warm_room()
    room.log_in("ada")
    room.do(LoggedIn(UserId("ada"), SessionHash("another"), room.now + 100))
    room.do(UserRevoked(UserId("ada"), release=True))
    assert not room.fleet.published().sessions
    assert not room.routes()
    room.settle()
    assert not room.seats()


def test_silence_makes_a_ship_unreachable_and_no_more() -> None:
    room = warm_room()
    room.log_in("ada")
    link = room.machines[ONE].link
    assert link is not None
    room.do(LinkLost(ONE, link))
    room.do(after=room.spec.fleet.heartbeat_grace_s + 1)
    assert "unreachable" in list(room.fleet.world.ships[ONE].conditions())
    assert room.routes() == {("ada", INTRO)}
    assert not any(isinstance(effect, TerminateShip) for effect in room.pending)
    room.machines[ONE].link = None
    room.settle()
    assert not list(room.fleet.world.ships[ONE].conditions())


def test_an_unreachable_ship_gets_nobody_new() -> None:
    room = warm_room(attendees=2, seats_per_ship=2)
    room.do(LinkLost(ONE, room.machines[ONE].link or LinkId(0)))
    room.log_in("ada")
    assert not room.seats()


def test_a_ship_that_the_provider_no_longer_has_is_lost_and_its_attendees_move_with_a_higher_epoch() -> None:
    room = warm_room()
    room.log_in("ada")
    assert room.seats()[UserId("ada")][0] == ONE
    del room.machines[ONE]
    room.do(MachinesListed({s: k.machine for s, k in room.machines.items()}, room.now + 15), after=15)
    assert room.seats()[UserId("ada")][0] == ONE
    room.do(MachinesListed({s: k.machine for s, k in room.machines.items()}, room.now + 15), after=15)
    room.settle()
    assert room.seats()[UserId("ada")][0] == TWO
    assert room.kept.epochs[UserId("ada")] == 2


def test_a_ship_that_an_organizer_declares_lost_is_replaced() -> None:
    room = warm_room()
    room.log_in("ada")
    room.do(ShipDeclaredLost(ONE))
    room.settle()
    assert room.seats()[UserId("ada")][0] != ONE
    # It is still there, for what Ada did on it; another one stands in.
    assert len(room.states()) == 3


def test_a_lost_ships_attendees_come_before_those_who_wait() -> None:
    room = warm_room(attendees=2)
    room.log_in("ada", "bob", "eve")
    room.do(ShipDeclaredLost(ONE))
    assert list(room.fleet.world.waiting) == ["ada", "bob", "eve"]
    room.settle()
    assert set(room.seats()) == {"ada", "bob"}


def test_the_first_key_with_a_valid_token_is_bound_and_a_second_claimant_refused_and_reported() -> None:
    room = Room()
    room.answer_all()
    room.dial(ONE)
    room.answer_all()
    room.do(ShipDialed(ONE, LinkId(99), "another key", "boot 1", token_ok=True))
    room.answer_all()
    assert [(r.code, r.retry) for r in room.refused] == [("key_mismatch", False)]
    assert [n.code for n in room.notices if n.subject == ONE] == ["second_claimant"]


def test_a_ship_without_a_valid_token_is_not_bound() -> None:
    room = Room()
    room.answer_all()
    room.dial(ONE, token_ok=False)
    room.answer_all()
    assert [r.code for r in room.refused] == ["join_token"]


def test_the_bound_key_needs_no_token_again() -> None:
    room = warm_room()
    room.dial(ONE, token_ok=False)
    room.answer_all()
    assert not room.refused


def test_an_unknown_ship_is_refused() -> None:
    room = warm_room()
    room.do(ShipDialed(ShipId("ship-9999"), LinkId(99), "key", "boot", token_ok=True))
    room.answer_all()
    assert [r.code for r in room.refused] == ["unknown_ship"]


def test_a_late_report_and_one_over_an_old_link_are_ignored() -> None:
    room = warm_room()
    known = room.machines[ONE]
    assert known.link is not None
    late = ShipReport(1, 0)
    assert not [c for c in room.do(ShipReported(ONE, known.link, late)) if isinstance(c, Publish)]
    assert not room.do(ShipReported(ONE, LinkId(12345), ShipReport(10_000, 0)))
    assert room.fleet.world.offers.total == 4


def test_a_ship_that_is_behind_is_told_again() -> None:
    room = warm_room()
    known = room.machines[ONE]
    assert known.link is not None
    behind = ShipReport(known.seq + 1, 0, workspaces=tuple(known.running.values()))
    commands = room.do(ShipReported(ONE, known.link, behind), after=room.spec.fleet.heartbeat_s)
    assert [c.ship for c in commands if isinstance(c, SendDesired)] == [ONE]


def test_an_orphan_is_ended() -> None:
    room = warm_room()
    stray = ShipId("ship-0777")
    commands = room.do(MachinesListed({stray: Machine(stray, MachineStatus.RUNNING)}, room.now))
    assert TerminateShip(stray) in commands


def test_what_the_provider_refuses_for_now_is_asked_for_until_it_works() -> None:
    room = Room(event_spec(attendees=2, launch_failures_max=3, launch_backoff_s=2, launch_backoff_max_s=60))
    room.launches_fail = True
    room.answer_all()
    (ship,) = room.states()
    for _ in range(100):
        room.do(after=61)
        room.answer_all()
    assert room.states() == {ship: ShipState.PENDING}, "the same ship, however late"
    status = fleet_status(room.fleet.world)
    assert status.launching
    assert status.launching_text.startswith("failed 101 times in a row, and is tried until it works")
    assert len([notice for notice in room.notices if notice.code == "launch_failed"]) == 7, "ever more rarely"
    room.launches_fail = False
    room.do(after=61)
    room.answer_all()
    assert fleet_status(room.fleet.world).launching_text == "", "the order is taken"
    room.settle()
    assert room.states() == {ship: ShipState.AVAILABLE}
    assert room.fleet.world.controls.boot_s < 61, "what it waited for its machine is not its boot"


def test_launching_backs_off_and_is_given_up_loudly() -> None:
    room = Room(event_spec(attendees=2, launch_failures_max=3, launch_backoff_s=2))
    room.machines_fail = True
    for _ in range(10):
        room.answer_all()
        room.do(after=10)
    assert not room.fleet.world.controls.launching
    assert room.fleet.world.patience.machines == 3
    assert "launching_given_up" in [notice.code for notice in room.notices]
    assert not room.states()
    room.log_in("ada")
    room.do(DoorsSet(Doors.OPEN))
    view = attendee_view(room.fleet.world, UserId("ada")).waiting
    assert view is not None
    assert view.code == "launching_stopped"
    room.machines_fail = False
    room.do(LaunchingSet(enabled=True))
    room.settle()
    assert set(room.seats()) == {"ada"}


def test_a_ship_that_does_not_boot_in_time_is_replaced() -> None:
    room = Room(event_spec(attendees=2, boot_deadline_s=60))
    room.answer_all()
    assert list(room.states()) == [ONE]
    room.do(after=61)
    room.answer_all()
    room.do(after=5)
    room.settle()
    assert room.states() == {TWO: ShipState.AVAILABLE}


def test_whoever_reads_why_a_ship_failed_learns_whether_its_agent_ever_joined() -> None:
    room = Room(event_spec(attendees=4, boot_deadline_s=60, heartbeat_grace_s=900))
    room.answer_all()
    room.dial(ONE)
    room.answer_all()
    room.do(after=61)
    late = "not available within 60 s of its launch"
    assert room.fleet.world.ships[ONE].failed.startswith(late)
    assert "never joined" not in room.fleet.world.ships[ONE].failed
    assert room.fleet.world.ships[TWO].failed.startswith(f"{late}: its agent never joined; see what the console")


def test_what_projects_may_beyond_the_rule_is_shown() -> None:
    room = Room(event_spec(project("intro"), project("deep", allow=("root",))))
    assert fleet_status(room.fleet.world).opt_ins == {"deep": ("root",)}


def test_a_project_that_fails_on_several_ships_stops_holding_seats_back_and_is_reported() -> None:
    good, bad = project("intro"), project("bad")
    room = Room(event_spec(good, bad))
    room.answer_all()
    for known in room.machines.values():
        known.failing = frozenset({bad.name})
    room.settle()
    room.log_in("ada")
    assert room.routes() == {("ada", INTRO)}
    assert list(fleet_status(room.fleet.world).projects_broken) == ["bad"]
    assert [n.subject for n in room.notices if n.code == "project_broken"] == ["bad"]
    cards = {card.name: card.state for card in attendee_view(room.fleet.world, UserId("ada")).projects}
    assert cards == {"intro": "ready", "bad": "failed"}


def test_a_ship_on_which_a_good_project_keeps_failing_is_replaced() -> None:
    room = Room(event_spec(attendees=4))
    room.answer_all()
    room.machines[ONE].failing = frozenset({INTRO})
    for _ in range(12):
        room.settle()
        room.do(after=10)
    room.settle()
    assert ONE not in room.states()
    assert len(room.states()) == 2
    assert not room.fleet.world.broken


def test_a_project_on_use_starts_at_its_attendees_first_request() -> None:
    lazy = project("lazy", start="on_use")
    room = Room(event_spec(project(), lazy))
    room.settle()
    room.log_in("ada")
    assert room.routes() == {("ada", INTRO)}
    room.do(ProjectRequested(UserId("ada"), lazy.name))
    room.settle()
    assert room.routes() == {("ada", INTRO), ("ada", "lazy")}


def test_attendee_secrets_hold_the_route_back_until_the_ship_has_attached_them() -> None:
    room = Room(event_spec(project(has_secrets=True)))
    room.settle()
    room.log_in("ada")
    assert not room.routes()
    room.settle()
    assert room.routes() == {("ada", INTRO)}


def test_whoever_comes_to_another_seat_gets_no_route_until_the_ship_has_restored_their_files() -> None:
    room = warm_room()
    room.log_in("ada")
    assert room.routes() == {("ada", INTRO)}
    room.do(SeatReleased(UserId("ada")))
    room.answer_all()
    room.report(room.seats()[UserId("ada")][0])  # it has saved what she left
    assert room.fleet.world.assignments[UserId("ada")].epoch == 2
    assert not room.routes()
    room.settle()
    assert room.routes() == {("ada", INTRO)}


def test_parking_stops_machines_and_unparking_brings_everybody_back_to_their_seats() -> None:
    room = warm_room()
    room.log_in("ada")
    seats = room.seats()
    room.do(FleetParked())
    room.settle()
    assert set(room.states().values()) == {ShipState.PARKED}
    assert not room.routes()
    room.do(FleetUnparked())
    room.settle()
    assert room.seats() == seats
    assert room.routes() == {("ada", INTRO)}
    assert room.fleet.world.ships[ONE].boot == 2


def test_a_drained_ship_goes_once_nobody_is_on_it() -> None:
    room = warm_room()
    room.log_in("ada")
    room.do(ShipDrained(ONE))
    room.settle()
    assert ONE in room.states()
    room.do(SeatReleased(UserId("ada")))
    room.settle()
    assert ONE not in room.states()


def test_a_surplus_ship_is_ended_after_a_while_but_never_one_with_somebody_on_it() -> None:
    room = warm_room()
    room.log_in("ada")
    room.spec = event_spec(attendees=1)
    room.do(EventSpecApplied(room.spec))
    room.settle()
    assert len(room.states()) == 2
    room.do(after=room.spec.fleet.surplus_hold_s + 1)
    room.settle()
    assert list(room.states()) == [ONE]


def test_applying_another_image_changes_free_seats_at_once_and_leaves_bound_ones() -> None:
    room = warm_room(attendees=2)
    room.log_in("ada")
    bound = room.fleet.world.seat_of(UserId("ada")) or pytest.fail("no seat")
    before = {seat.index: seat.workspaces[INTRO].id for seat in bound[0].seats}
    room.spec = event_spec(project(digest="sha256:" + "1" * 64), attendees=2)
    room.do(EventSpecApplied(room.spec))
    room.settle()
    after = {seat.index: seat.workspaces[INTRO].id for seat in bound[0].seats}
    assert after[bound[1].index] == before[bound[1].index]
    other = 1 - bound[1].index
    assert after[other] != before[other]


def test_removing_a_project_drains_it_everywhere() -> None:
    room = Room(event_spec(project("intro"), project("extra")))
    room.settle()
    room.log_in("ada")
    room.spec = event_spec(project("intro"))
    room.do(EventSpecApplied(room.spec))
    room.settle()
    assert room.routes() == {("ada", INTRO)}


def test_after_a_kill_routes_sessions_and_seats_are_as_they_were_before_any_ship_is_heard() -> None:
    room = warm_room()
    room.log_in("ada", "bob")
    published, seats = room.fleet.published(), room.seats()
    room.restart()
    assert room.fleet.published() == published
    assert room.seats() == seats
    room.settle()
    assert room.fleet.published() == published
    assert room.kept.epochs == {"ada": 1, "bob": 1}


def test_a_clock_that_goes_back_stands_still() -> None:
    room = warm_room()
    room.fleet.handle(now=room.now - 500)
    room.fleet.validate()
    assert room.fleet.world.now == room.now


def test_a_mux_that_is_cut_off_from_most_ships_launches_nothing() -> None:
    room = Room(event_spec(attendees=8))
    room.settle()
    assert len(room.states()) == 4
    for ship, known in room.machines.items():
        room.do(LinkLost(ship, known.link or LinkId(0)))
    room.do(after=room.spec.fleet.heartbeat_grace_s + 1)
    room.answer_all()
    assert len(room.states()) == 4


def test_equal_inputs_give_equal_outputs() -> None:
    def run() -> list[str]:
        room = warm_room()
        return [repr(command) for command in room.log_in("ada", "bob", "eve")]

    assert run() == run()


def test_the_invariants_notice_a_double_seat() -> None:
    """The net itself must hold: a broken world does not pass."""
    room = warm_room()
    room.log_in("ada")
    world = room.fleet.world
    world.assignments[UserId("eve")] = world.assignments[UserId("ada")]
    with pytest.raises(Exception, match="a seat has two attendees"):
        Fleet(world).validate()


def test_everybody_in_the_queue_is_told_their_place_after_each_change() -> None:
    room = Room(event_spec(attendees=1, seats_per_ship=1))
    room.log_in("ada", "bob", "eve", "dan")

    def places() -> list[int]:
        views = [attendee_view(room.fleet.world, UserId(name)).waiting for name in ("ada", "bob", "eve", "dan", "kim")]
        return [view.position for view in views if view]

    assert places() == [1, 2, 3, 4, 5]
    room.do(LoggedOut(SessionHash("session of bob")))
    assert places() == [1, 4, 2, 3, 4]
    room.settle()
    assert places() == [3, 1, 2, 3]
    room.do(ShipDeclaredLost(ShipId("ship-0001")))
    assert places() == [1, 4, 2, 3, 4]
