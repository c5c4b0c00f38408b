"""What owners of machines announce: newcomers stay away, people leave in time. Machines that ended by themselves."""

from __future__ import annotations

import pytest

from mux.core.commands import LaunchShip, TerminateShip
from mux.core.events import FleetCooled, MachineEnded, MachineNoticed, ProviderNoticed, ShipCordoned, ShipReported
from mux.core.model import ShipId, ShipNotice, ShipState
from mux.store.records import dump_ship, load_ship
from tests.core.room import Room, event_spec

FIRST = ShipId("ship-0001")


def ready_room() -> Room:
    """Two ships that are ready, two people on the first."""
    room = Room(event_spec(attendees=4, seats_per_ship=2, ready_seats=1, heartbeat_grace_s=1e6))
    room.settle()
    room.log_in("ada", "bob")
    room.settle()
    [ship] = {ship for ship, _ in room.seats().values()}
    assert ship == FIRST
    return room


def test_people_leave_a_ship_that_is_taken_back_at_once() -> None:
    room = ready_room()
    room.do(MachineNoticed(FIRST, ShipNotice("interruption", room.now + 120, "spot")))
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {ShipId("ship-0002")}
    assert len(room.seats()) == 2
    [notice] = [notice for notice in room.notices if notice.code == "machine_noticed"]
    assert "moved now" in notice.text
    assert FIRST not in room.states()
    assert len(room.states()) == 2


def test_a_retirement_days_ahead_keeps_newcomers_away_and_people_where_they_are() -> None:
    room = ready_room()
    room.do(MachineNoticed(FIRST, ShipNotice("maintenance", room.now + 7200, "instance-retirement")))
    room.log_in("cyd")
    room.settle()
    places = {str(user): ship for user, (ship, _) in room.seats().items()}
    assert places["ada"] == places["bob"] == FIRST
    assert places["cyd"] != FIRST
    room.do(after=7200 - 599)
    room.settle()
    assert FIRST not in {ship for ship, _ in room.seats().values()}


def test_a_notice_that_is_repeated_is_told_once_and_an_organizer_may_know_better() -> None:
    room = ready_room()
    notice = MachineNoticed(FIRST, ShipNotice("rebalance", None, ""))
    room.do(notice)
    assert room.fleet.world.ships[FIRST].cordoned
    room.fleet.world.ships[FIRST].cordoned = False
    room.do(notice, notice)
    room.answer_all()
    assert not room.fleet.world.ships[FIRST].cordoned
    assert len([each for each in room.notices if each.code == "machine_noticed"]) == 1
    assert {ship for ship, _ in room.seats().values()} == {FIRST}


def test_a_mux_that_is_killed_after_a_notice_moves_people_when_it_would_have_though_nobody_says_it_again() -> None:
    room = ready_room()
    room.do(MachineNoticed(FIRST, ShipNotice("maintenance", room.now + 7200, "instance-retirement")))
    room.restart()
    assert room.fleet.world.ships[FIRST].noticed
    room.do(after=7200 - 601)
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {FIRST}
    room.restart()
    room.do(after=2)
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {ShipId("ship-0002")}
    assert len(room.seats()) == 2


def test_a_mux_that_was_away_when_people_should_have_left_has_them_leave_at_once() -> None:
    room = ready_room()
    room.do(MachineNoticed(FIRST, ShipNotice("maintenance", room.now + 7200, "instance-retirement")))
    room.now += 7200 - 300
    room.restart()
    room.settle()
    assert FIRST not in {ship for ship, _ in room.seats().values()}
    assert len(room.seats()) == 2


@pytest.mark.parametrize("killed", [False, True])
def test_nobody_is_moved_for_an_announcement_that_an_organizer_has_overruled(killed: bool) -> None:
    room = ready_room()
    notice = MachineNoticed(FIRST, ShipNotice("maintenance", room.now + 7200, "instance-retirement"))
    room.do(notice)
    room.do(ShipCordoned(FIRST, cordoned=False))
    room.answer_all()
    assert [each.subject for each in room.notices if each.code == "notice_overruled"] == [FIRST]
    if killed:
        room.restart()
    room.do(notice)
    room.do(after=7200)
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {FIRST}
    assert not room.fleet.world.ships[FIRST].draining


def test_what_an_organizer_knows_better_stands_after_a_restart_though_the_notice_is_repeated() -> None:
    room = ready_room()
    notice = MachineNoticed(FIRST, ShipNotice("rebalance", None, ""))
    room.do(notice, ShipCordoned(FIRST, cordoned=False))
    room.answer_all()
    room.restart()
    room.do(notice)
    room.answer_all()
    assert not room.fleet.world.ships[FIRST].cordoned
    assert len([each for each in room.notices if each.code == "machine_noticed"]) == 1


def test_people_leave_for_a_notice_once_also_when_the_mux_is_killed_after_it() -> None:
    room = ready_room()
    room.do(MachineNoticed(FIRST, ShipNotice("interruption", room.now + 120, "spot")))
    room.settle()
    record = room.kept.ships[FIRST]
    assert record.leave_at is None
    assert record.notices == (("interruption", room.now + 120),)
    assert load_ship(dump_ship(record)) == record


def test_seats_that_an_announcement_keeps_newcomers_from_are_launched_elsewhere() -> None:
    room = ready_room()
    other = ShipId("ship-0002")
    commands = room.do(MachineNoticed(other, ShipNotice("rebalance", None, "")))
    assert [command.ship for command in commands if isinstance(command, LaunchShip)] == ["ship-0003"]
    room.settle()
    room.log_in("cyd", "dee")
    assert {ship for ship, _ in room.seats().values()} == {FIRST, "ship-0003"}
    assert room.states()[other] is ShipState.AVAILABLE, "it may yet stay: an organizer may know better"
    commands = room.do(MachineNoticed(FIRST, ShipNotice("rebalance", None, "")))
    assert not any(isinstance(command, LaunchShip) for command in commands), "nobody leaves it for that"
    room.do(after=room.spec.fleet.surplus_hold_s + 1)
    room.settle()
    assert set(room.states()) == {FIRST, "ship-0003"}, "nobody is on it, and nobody will be"


def test_a_ship_that_an_announcement_keeps_empty_is_let_go_with_all_others() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=2))
    room.settle()
    room.do(MachineNoticed(FIRST, ShipNotice("rebalance", None, "")), FleetCooled())
    room.settle()
    assert room.states() == {}


def test_an_organizer_who_knows_better_has_its_seats_back() -> None:
    room = ready_room()
    other = ShipId("ship-0002")
    room.do(MachineNoticed(other, ShipNotice("maintenance", room.now + 1e6, "")))
    room.settle()
    room.do(ShipCordoned(other, cordoned=False))
    room.do(after=room.spec.fleet.surplus_hold_s + 1)
    room.settle()
    assert set(room.states()) == {FIRST, other}, "the one that was launched for it is surplus now"


def test_a_ship_that_says_so_itself_is_believed_about_itself_and_bounded() -> None:
    room = ready_room()
    known = room.machines[FIRST]
    for number in range(100):
        report = known.report()
        object.__setattr__(report, "notices", (ShipNotice("rebalance", float(number), "x"),))
        assert known.link is not None
        room.do(ShipReported(FIRST, known.link, report))
    room.answer_all()
    assert room.fleet.world.ships[FIRST].cordoned
    assert len([each for each in room.notices if each.code == "machine_noticed"]) <= 16


def test_a_machine_that_ended_before_it_was_ready_is_a_failed_launch() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=2))
    room.answer_all()
    assert room.states() == {FIRST: ShipState.PENDING}
    room.do(MachineEnded(FIRST, "its machine ended without mux: x."))
    assert any(isinstance(effect, TerminateShip) for effect in room.pending)
    assert room.fleet.world.patience.failures == 1
    room.do(after=60)
    room.settle()
    assert ShipId("ship-0002") in room.states()


def test_a_quota_that_ends_machines_ends_launching() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=2))
    room.answer_all()
    room.do(MachineEnded(FIRST, "the account's quota of gp3 storage is used up", fatal=True))
    room.settle()
    assert not room.fleet.world.controls.launching
    assert any("gp3" in notice.text for notice in room.notices if notice.code == "launching_given_up")


def test_a_ready_ship_whose_machine_ended_is_lost_and_its_people_move() -> None:
    room = ready_room()
    room.do(MachineEnded(FIRST, "EC2 took its spot machine back"))
    room.settle()
    assert FIRST not in {ship for ship, _ in room.seats().values()}
    assert room.fleet.world.controls.launching
    assert any("took its spot machine back" in notice.text for notice in room.notices if notice.code == "ship_lost")


def test_what_the_provider_says_reaches_the_organizers() -> None:
    room = ready_room()
    room.do(ProviderNoticed("warning", "foreign_machines", "", "two machines belong to another mux"))
    room.answer_all()
    assert room.notices[-1].code == "foreign_machines"
