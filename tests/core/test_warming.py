"""How many seats are wanted: organizers' words, the timetable, the spend limit, and stages of a boot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mux.core.commands import LaunchShip, Notify, ParkShip, SaveControls, SaveSpend, StartShip, TerminateShip
from mux.core.events import (
    BootTold,
    EventSpecApplied,
    FleetCooled,
    FleetParked,
    FleetUnparked,
    FleetWarmed,
    LaunchingSet,
    MachinesListed,
    ShipReleased,
    ShipReplaced,
    ShipReported,
    SpendAllowed,
    UserRevoked,
)
from mux.core.model import BootStage, EventSpec, ShipId, ShipReport, ShipState, ShipWanted, UserId
from mux.core.spend import SpendSpec
from mux.core.timetable import Timetable
from mux.core.views import attendee_view, fleet_status
from mux.core.warming_views import forecast, warming_view
from tests.core.room import Room, event_spec

ONE, TWO, THREE = ShipId("ship-0001"), ShipId("ship-0002"), ShipId("ship-0003")
CALLS = (LaunchShip, StartShip, ParkShip, TerminateShip)


def spec(*, timetable: Timetable | None = None, spend: SpendSpec | None = None, **sizes: float) -> EventSpec:
    """An event of one project; ``sizes`` as `event_spec` has them."""
    made = event_spec(**sizes)  # type: ignore[arg-type]
    return replace(made, timetable=timetable or Timetable(), spend=spend or SpendSpec())


def wait(room: Room, seconds: float, step_s: float = 5.0) -> None:
    """Let time pass while machines answer, dial and report."""
    until = room.now + seconds
    while room.now < until:
        room.do(after=min(step_s, until - room.now))
        room.settle()


def codes(room: Room) -> list[str]:
    return [notice.code for notice in room.notices]


# --- words of organizers ----------------------------------------------------------------------------------------------


def test_a_warm_target_counts_instead_of_attendees_and_spare_seats() -> None:
    room = Room(spec(attendees=4))
    room.settle()
    commands = room.do(FleetWarmed(seats=7))
    assert [command.ship for command in commands if isinstance(command, LaunchShip)] == [THREE, "ship-0004"]
    room.settle()
    assert room.fleet.world.offers.total == 8
    assert fleet_status(room.fleet.world).seats_wanted == 7


def test_a_target_is_saved_and_survives_a_restart() -> None:
    room = Room(spec(attendees=4))
    room.settle()
    commands = room.do(FleetWarmed(seats=8, spend_limit=50.0))
    saved = next(command for command in commands if isinstance(command, SaveControls))
    assert (saved.target_seats, saved.target_at, saved.spend_allowed) == (8, room.now, 50.0)
    room.restart()
    room.settle()
    assert len(room.states()) == 4


@pytest.mark.parametrize("how", ["end", "park"])
def test_cooling_lets_free_ships_go_at_once_and_never_one_with_people(how: str) -> None:
    room = Room(spec(attendees=6, timetable=Timetable(cool="park" if how == "park" else "end")))
    room.settle()
    room.log_in("ada")
    commands = room.do(FleetCooled())
    wanted = ParkShip if how == "park" else TerminateShip
    assert {command.ship for command in commands if isinstance(command, CALLS)} == {TWO, THREE}
    assert {type(command) for command in commands if isinstance(command, CALLS)} == {wanted}
    room.settle()
    assert room.states()[ONE] is ShipState.RUNNING
    assert room.routes() == {("ada", "intro")}
    room.do(UserRevoked(UserId("ada"), release=True))
    room.settle()
    wait(room, room.spec.fleet.surplus_hold_s + 10)
    assert room.states().get(ONE) is (ShipState.PARKED if how == "park" else None)


def test_warming_after_cooling_starts_parked_ships_before_it_launches_others() -> None:
    room = Room(spec(attendees=4, timetable=Timetable(cool="park")))
    room.settle()
    room.do(FleetCooled())
    room.settle()
    assert set(room.states().values()) == {ShipState.PARKED}
    commands = room.do(FleetWarmed(seats=2))
    assert [command for command in commands if isinstance(command, CALLS)] == [StartShip(ONE)]
    room.settle()
    commands = room.do(FleetWarmed(seats=6))
    assert [c for c in commands if isinstance(c, CALLS)] == [StartShip(TWO), LaunchShip(THREE)]


def test_warming_a_parked_fleet_starts_every_ship_with_people_on_it() -> None:
    room = Room(spec(attendees=4))
    room.settle()
    room.log_in("ada", "ben", "cy")
    room.do(FleetParked())
    room.settle()
    commands = room.do(FleetWarmed(seats=1))
    assert [c for c in commands if isinstance(c, CALLS)] == [StartShip(ONE), StartShip(TWO)]
    room.settle()
    assert {user for user, _ in room.routes()} == {"ada", "ben", "cy"}


def test_parking_a_ship_that_the_provider_never_took_is_no_loss() -> None:
    room = Room(spec(attendees=2))
    room.launches_fail = True
    room.answer_all()
    assert room.fleet.world.ships[ONE].unordered
    room.do(FleetParked())
    room.launches_fail = False
    wait(room, 4 * room.spec.fleet.listing_s)
    assert "ship_lost" not in codes(room)
    assert room.states() == {}
    room.do(FleetUnparked())
    wait(room, 10)
    assert room.fleet.world.offers.total == 2


def test_people_who_wait_while_no_seat_is_wanted_are_told_so() -> None:
    room = Room(spec(attendees=2, ready_seats=1))
    room.settle()
    room.do(FleetCooled())
    room.settle()
    room.log_in("ada")
    waiting = attendee_view(room.fleet.world, UserId("ada")).waiting
    assert waiting is not None and waiting.code == "not_now"


def test_unparking_is_a_word_too_where_the_fleet_was_cooled() -> None:
    room = Room(spec(attendees=4))
    room.settle()
    room.do(FleetCooled())
    room.do(FleetParked())
    room.settle()
    room.do(FleetWarmed(seats=4))
    room.settle()
    room.do(FleetParked())
    room.settle()
    room.do(FleetCooled())
    room.do(FleetUnparked())
    room.settle()
    wait(room, room.spec.fleet.surplus_hold_s + 10)
    assert room.fleet.world.offers.total == 4


def test_other_sizes_in_an_applied_file_are_the_last_word_on_a_warmed_fleet_and_not_on_a_cooled_one() -> None:
    room = Room(spec(attendees=4))
    room.settle()
    room.do(FleetWarmed(seats=2))
    room.do(EventSpecApplied(spec(attendees=6)))
    assert fleet_status(room.fleet.world).seats_wanted == 6
    room.do(FleetCooled())
    room.do(EventSpecApplied(spec(attendees=8)))
    assert fleet_status(room.fleet.world).seats_wanted == 0


# --- by when ----------------------------------------------------------------------------------------------------------


def test_warming_begins_as_late_as_the_measured_boot_time_allows() -> None:
    room = Room(spec(attendees=2, seats_per_ship=2))
    room.answer_all()
    room.dial(ONE)
    room.answer_all()
    room.now += 40
    room.report(ONE)
    assert room.fleet.world.controls.boot_s == pytest.approx(40, abs=1)
    commands = room.do(FleetWarmed(seats=4, by=room.now + 600))
    assert not [command for command in commands if isinstance(command, CALLS)]
    begins = room.fleet.world.deadlines.get(("moment", ""))
    assert begins == pytest.approx(room.now + 600 - 1.5 * room.fleet.world.controls.boot_s)
    wait(room, 500)
    assert len(room.states()) == 1
    wait(room, 60)
    assert len(room.states()) == 2
    assert room.fleet.world.offers.total == 4


def test_what_has_begun_goes_on_after_a_restart_and_when_boots_turn_out_shorter() -> None:
    room = Room(spec(attendees=1, seats_per_ship=1, boot_deadline_s=600))
    room.settle()
    room.fleet.world.controls = replace(room.fleet.world.controls, boot_s=100.0)
    room.do(FleetWarmed(seats=3, by=room.now + 140))
    assert len(room.states()) == 3
    room.fleet.world.controls = replace(room.fleet.world.controls, boot_s=1.0)
    room.do(after=1)
    room.restart()
    room.settle()
    assert len(room.states()) == 3


def test_seats_that_will_be_late_are_told_once() -> None:
    room = Room(spec(attendees=2, seats_per_ship=2))
    room.answer_all()
    assert room.do(FleetWarmed(seats=4, by=room.now + 60))
    room.answer_all()
    room.do(after=16)
    room.do(after=16)
    assert codes(room).count("warming_late") == 0  # notices are effects: they wait to be carried out
    room.answer_all()
    assert codes(room).count("warming_late") == 1


def test_seats_are_not_expected_sooner_than_the_pace_of_so_far_allows() -> None:
    room = Room(spec(attendees=10, seats_per_ship=1, heartbeat_grace_s=1e6))
    room.settle()
    world = room.fleet.world
    room.launches_fail = True
    room.do(FleetWarmed(seats=30))
    room.answer_all()
    world.controls = replace(world.controls, boot_s=40.0)
    assert warming_view(world, room.now).expected_at == pytest.approx(world.patience.not_before + 40, abs=1)
    world.watch = replace(world.watch, first_at=room.now - 100, first_seats=2)
    assert warming_view(world, room.now).expected_at == pytest.approx(room.now + 20 * 100 / 8)
    world.watch = replace(world.watch, first_at=room.now - 200)
    assert warming_view(world, room.now).expected_at == pytest.approx(room.now + 20 * 200 / 8), "the longer it stands"


def test_what_is_cooled_while_the_fleet_is_paused_goes_as_soon_as_it_is_resumed() -> None:
    room = Room(spec(attendees=4, seats_per_ship=2))
    room.settle()
    room.log_in("ada")
    room.do(LaunchingSet(enabled=False))
    room.do(FleetCooled())
    room.do(after=1)
    room.settle()
    assert len(room.states()) == 2
    room.do(LaunchingSet(enabled=True))
    room.do()
    room.settle()
    assert room.states() == {ONE: ShipState.RUNNING}


# --- the timetable ----------------------------------------------------------------------------------------------------


def test_the_timetable_warms_cools_and_stops_by_itself() -> None:
    table = Timetable(warm_at=2_000.0, cool_at=3_000.0, hard_stop=6_000.0, stop="park")
    room = Room(spec(attendees=4, timetable=table))
    room.settle()
    assert not room.states()
    wait(room, 1_010)
    assert room.fleet.world.offers.total == 4
    room.log_in("ada")
    wait(room, 1_000)
    assert set(room.states()) == {ONE}
    wait(room, 2_200, step_s=20)
    assert room.states() == {ONE: ShipState.RUNNING}
    wait(room, 1_000, step_s=20)
    assert room.states() == {ONE: ShipState.PARKED}
    assert not room.routes()
    assert room.seats() == {UserId("ada"): (ONE, 0)}


def test_attendees_and_organizers_are_warned_before_the_hard_stop() -> None:
    room = Room(spec(attendees=2, timetable=Timetable(hard_stop=3_000.0, stop="end")))
    room.settle()
    room.log_in("ada")
    ada = UserId("ada")
    assert attendee_view(room.fleet.world, ada).notice == ""
    wait(room, 1_105)
    assert "ends in 15 minutes" in attendee_view(room.fleet.world, ada).notice
    assert "not kept" in attendee_view(room.fleet.world, ada).notice
    assert [n.text.split(":")[0] for n in room.notices if n.code == "hard_stop"] == ["The hard stop is in 15 minutes"]
    wait(room, 600)
    assert "ends in 5 minutes" in attendee_view(room.fleet.world, ada, now=2_700.0).notice
    assert [n.text.split(":")[0] for n in room.notices if n.code == "hard_stop"][1] == "The hard stop is in 5 minutes"
    wait(room, 320)
    assert not room.states()
    assert attendee_view(room.fleet.world, ada).notice == "The event has ended."


def test_an_organizers_word_counts_until_the_next_moment_of_the_timetable() -> None:
    room = Room(spec(attendees=4, timetable=Timetable(warm_at=2_000.0, cool_at=3_000.0)))
    room.settle()
    room.do(FleetWarmed(seats=2))  # a try the day before
    room.settle()
    assert len(room.states()) == 1
    wait(room, 1_010)
    assert len(room.states()) == 2
    room.do(FleetCooled())
    room.settle()
    wait(room, 100)
    assert not room.states()
    room.do(FleetWarmed(seats=2))
    room.settle()
    wait(room, 1_000)
    assert not room.states()


def test_the_hard_stop_does_not_come_again_after_an_organizer_has_warmed_the_fleet() -> None:
    room = Room(spec(attendees=4, timetable=Timetable(hard_stop=1_100.0)))
    room.settle()
    wait(room, 110)
    assert set(room.states().values()) == {ShipState.PARKED}
    room.do(FleetWarmed(seats=4))
    room.settle()
    room.restart()
    room.settle()
    wait(room, 60)
    assert room.fleet.world.offers.total == 4


def test_with_the_time_by_which_alone_warming_begins_early_enough() -> None:
    room = Room(spec(attendees=2, boot_deadline_s=600, timetable=Timetable(full_at=3_000.0)))
    room.settle()
    wait(room, 1_090, step_s=10)
    assert not room.states()
    wait(room, 20, step_s=10)
    assert len(room.states()) == 1
    room.restart()
    room.settle()
    wait(room, 60)
    assert len(room.states()) == 1


# --- the stop switch --------------------------------------------------------------------------------------------------


def test_nothing_is_launched_parked_started_or_ended_while_paused_and_it_is_all_done_afterwards() -> None:
    room = Room(spec(attendees=4, boot_deadline_s=60))
    room.settle()
    room.do(LaunchingSet(enabled=False))
    room.restart()
    assert fleet_status(room.fleet.world).launching is False
    stray = room.machines[ONE].machine
    done = [
        *room.do(FleetWarmed(seats=8)),
        *room.do(FleetCooled()),
        *room.do(FleetParked()),
        *room.do(MachinesListed({ShipId("ship-0099"): stray}, room.now)),
        *room.do(after=1_000),
    ]
    assert not [command for command in done if isinstance(command, CALLS)]
    room.settle()
    room.do(LaunchingSet(enabled=True))
    room.settle()
    assert set(room.states().values()) == {ShipState.PARKED}


def test_deadlines_of_a_boot_do_not_run_while_paused_and_begin_anew() -> None:
    room = Room(spec(attendees=2, boot_deadline_s=60))
    room.answer_all()
    room.do(LaunchingSet(enabled=False), after=50)
    room.do(after=500)
    assert room.states() == {ONE: ShipState.PENDING}
    room.do(LaunchingSet(enabled=True))
    room.do(after=59)
    assert not room.fleet.world.ships[ONE].failed
    room.do(after=2)
    assert room.fleet.world.ships[ONE].failed


# --- stages of a boot -------------------------------------------------------------------------------------------------


def say(room: Room, ship: ShipId, stage: BootStage, phase: str = "") -> None:
    known = room.machines[ship]
    assert known.link is not None
    known.seq += 1
    room.do(ShipReported(ship, known.link, ShipReport(known.seq, 0, phase, stage=stage)))


def test_a_ship_that_is_stuck_in_a_stage_is_replaced_before_the_whole_boot_is_overdue() -> None:
    room = Room(spec(attendees=2, boot_deadline_s=1_000, pull_deadline_s=100, heartbeat_grace_s=900))
    room.answer_all()
    room.dial(ONE)
    room.answer_all()
    say(room, ONE, BootStage.INSTALLING)
    room.now += 90
    say(room, ONE, BootStage.PULLING, "pulling 1 of 5 layers")
    room.do(after=99)
    assert not room.fleet.world.ships[ONE].failed
    room.do(after=2)
    assert room.fleet.world.ships[ONE].failed.startswith("stuck in pulling for 100 s, last heard: pulling 1 of 5")
    wait(room, 10)
    assert set(room.states()) == {TWO}


def test_a_stage_that_goes_on_in_time_is_no_failure_and_none_is_watched_once_the_ship_is_available() -> None:
    room = Room(spec(attendees=2, start_deadline_s=100, heartbeat_grace_s=1e6))
    room.settle()
    assert room.states() == {ONE: ShipState.AVAILABLE}
    room.do(after=500)
    assert room.states() == {ONE: ShipState.AVAILABLE}


def test_warming_that_stalls_is_told_with_its_reasons_grouped() -> None:
    room = Room(spec(attendees=4, warming_stall_s=100, boot_deadline_s=1e6, heartbeat_grace_s=1e6))
    room.answer_all()
    for ship in (ONE, TWO):
        room.dial(ship)
        room.answer_all()
        say(room, ship, BootStage.PULLING)
    for _ in range(20):
        room.do(after=15)
    room.answer_all()
    stalled = [notice for notice in room.notices if notice.code == "warming_stalled"]
    assert len(stalled) == 1
    assert "0 of 4 are" in stalled[0].text and "2 × pulling" in stalled[0].text


# --- before there is an agent -----------------------------------------------------------------------------------------


def doing(room: Room) -> dict[str, int]:
    return dict(warming_view(room.fleet.world, room.now).ships_by_state)


def test_a_machine_that_installs_says_so_before_its_agent_does() -> None:
    room = Room(spec(attendees=4))
    room.answer_all()
    assert doing(room) == {"pending": 2}
    room.do(BootTold(ONE, "installing docker.io iptables"))
    assert doing(room) == {"pending": 1, "installing": 1}
    assert warming_view(room.fleet.world, room.now).reasons == (("installing", 1), ("waiting for its machine", 1))
    shown = {ship.id: ship for ship in fleet_status(room.fleet.world).ships}
    assert (shown[ONE].state, shown[ONE].phase) == (ShipState.PENDING, "installing docker.io iptables")
    room.dial(ONE)
    room.answer_all()
    assert doing(room) == {"pending": 1, "booting": 1}, "now the agent says how it goes on"
    assert {ship.phase for ship in fleet_status(room.fleet.world).ships} == {""}
    room.settle()
    assert doing(room) == {"available": 2}


def test_an_installation_that_is_stuck_is_replaced_before_the_whole_boot_is_overdue() -> None:
    room = Room(spec(attendees=2, boot_deadline_s=1_000, install_deadline_s=100))
    room.answer_all()
    room.do(after=300)
    room.do(BootTold(ONE, "installing docker.io iptables"))
    room.do(BootTold(ONE, "fetching the agent from the mux"), after=90)
    room.do(after=9)
    assert not room.fleet.world.ships[ONE].failed
    room.do(after=2)
    why = "stuck in installing for 100 s, last heard: fetching the agent from the mux"
    assert room.fleet.world.ships[ONE].failed == why
    wait(room, 10)
    assert set(room.states()) == {TWO}


def test_a_machine_that_gives_up_is_replaced_at_once_and_those_that_do_so_alike_are_one_group() -> None:
    room = Room(spec(attendees=4, launch_backoff_s=60))
    room.answer_all()
    room.do(LaunchingSet(enabled=False))
    for ship in (ONE, TWO):
        room.do(BootTold(ship, "its disk is full; give ships a larger one", failed=True))
    (group, *_) = warming_view(room.fleet.world, room.now).reasons
    assert group == ("failed: its installation failed: its disk is full; give ships a larger one", 2)
    assert doing(room) == {"failed": 2}
    room.restart()
    assert all(room.fleet.world.ships[ship].failed for ship in (ONE, TWO)), "it is not forgotten"
    commands = room.do(LaunchingSet(enabled=True))
    assert {command.ship for command in commands if isinstance(command, TerminateShip)} == {ONE, TWO}
    told = [command.text for command in commands if isinstance(command, Notify) and command.code == "ship_failed"]
    why = "its installation failed: its disk is full; give ships a larger one"
    assert told == [f"{ship} failed and is replaced: {why}" for ship in (ONE, TWO)]


def test_machines_that_all_give_up_end_launching_with_their_reason() -> None:
    room = Room(spec(attendees=2, launch_failures_max=3))
    for number in range(1, 4):
        ship = ShipId(f"ship-{number:04d}")
        room.answer_all()
        room.do(BootTold(ship, "its disk is full", failed=True))
        room.answer_all()
        room.do(after=120)
    assert "its installation failed: its disk is full" in fleet_status(room.fleet.world).launching_text
    assert not room.fleet.world.controls.launching


def test_a_ship_whose_agent_has_joined_is_not_talked_down() -> None:
    room = Room(spec(attendees=2))
    room.settle()
    before = room.fleet.world.ships[ONE].record()
    for event in (BootTold(ONE, "gone", failed=True), BootTold(ShipId("ship-9999"), "gone", failed=True)):
        assert [command for command in room.do(event) if not isinstance(command, Notify)] == []
    assert room.fleet.world.ships[ONE].record() == before
    room.do(FleetParked())
    room.settle()
    room.do(BootTold(ONE, "gone", failed=True))
    room.do(FleetUnparked())
    room.do(BootTold(ONE, "gone", failed=True))
    assert doing(room) == {"pending": 1}, "nothing of the boot before stands"
    room.settle()
    assert room.states() == {ONE: ShipState.AVAILABLE}


def test_a_machine_that_is_parked_before_its_agent_has_joined_is_ended() -> None:
    """It was switched off in the middle of its installation: started again, it would never become a ship."""
    room = Room(spec(attendees=4))
    room.answer_all()
    room.dial(TWO)
    room.do(BootTold(ONE, "installing docker.io iptables"))
    room.answer_all()
    commands = room.do(FleetParked())
    assert [command for command in commands if isinstance(command, CALLS)] == [TerminateShip(ONE), ParkShip(TWO)]
    room.settle()
    commands = room.do(FleetUnparked())
    assert [command for command in commands if isinstance(command, CALLS)] == [StartShip(TWO), LaunchShip(THREE)]
    room.settle()
    assert set(room.states().values()) == {ShipState.AVAILABLE}


# --- money ------------------------------------------------------------------------------------------------------------

DIME = SpendSpec(price_micros=100_000, limit=2.0, hours=10.0)
"""A ship costs 0.10 an hour: two of them, for ten hours, are the limit."""


def test_no_ship_is_launched_beyond_the_limit_without_the_organizers_word() -> None:
    room = Room(spec(attendees=8, spend=DIME))
    room.settle()
    assert len(room.states()) == 2
    told = [notice for notice in room.notices if notice.code == "spend_limit"]
    assert len(told) == 1 and "4 seats are missing" in told[0].text
    commands = room.do(SpendAllowed(3.0))
    assert [command.ship for command in commands if isinstance(command, LaunchShip)] == [THREE]
    room.settle()
    room.restart()
    room.settle()
    assert len(room.states()) == 3
    room.do(FleetWarmed(seats=8, spend_limit=4.1))
    room.settle()
    assert len(room.states()) == 4


def test_what_ships_cost_is_metered_by_the_second_and_survives_a_restart() -> None:
    room = Room(spec(attendees=4, spend=replace(DIME, limit=None)))
    room.settle()
    room.do(after=3_600)
    meter = room.fleet.world.meter.read(room.now)
    assert meter.ships == 2
    assert [meter.spent, meter.ship_seconds] == pytest.approx([0.2, 7_200])
    room.now += 3_600  # the mux is away, the ships are not
    room.restart()
    room.settle()
    room.do(FleetCooled())
    room.settle()
    assert room.fleet.world.meter.read(room.now).spent == pytest.approx(0.4)
    room.do(after=3_600)
    assert room.fleet.world.meter.read(room.now).spent == pytest.approx(0.4)
    assert room.kept.meter is not None and room.kept.meter.ships == 0


def test_the_meter_is_saved_when_the_rate_changes_and_not_with_every_report() -> None:
    room = Room(spec(attendees=4))
    room.settle()
    known = room.machines[ONE]
    assert known.link is not None
    commands = room.do(ShipReported(ONE, known.link, known.report()), after=5)
    assert not [command for command in commands if isinstance(command, SaveSpend)]


def test_ships_that_are_on_their_way_out_hold_nothing_back() -> None:
    """Cooled, and warmed again before the machines are gone: they cost until then, and not for the whole event."""
    room = Room(spec(attendees=4, spend=replace(DIME, limit=2.1)))
    room.settle()
    room.do(FleetCooled())
    assert {ship.wanted for ship in room.fleet.world.ships.values()} == {ShipWanted.GONE}
    assert room.fleet.world.tally.rate_micros == 200_000, "they are paid for"
    assert forecast(room.fleet.world, room.now, 4, 0.0).event == pytest.approx(2.0, rel=1e-2)
    commands = room.do(FleetWarmed(seats=4))
    assert len([command for command in commands if isinstance(command, LaunchShip)]) == 2
    assert codes(room).count("spend_limit") == 0


def test_a_limit_that_has_been_spent_is_told_and_ends_nothing() -> None:
    room = Room(spec(attendees=2, spend=replace(DIME, limit=1.0)))
    room.settle()
    for _ in range(11):
        room.do(after=3_600)
        room.settle()
    assert codes(room).count("spend_limit_passed") == 1
    assert len(room.states()) == 1


def test_the_timetable_says_how_long_ships_run() -> None:
    spend = replace(DIME, limit=1.0)
    room = Room(spec(attendees=8, spend=spend, timetable=Timetable(cool_at=1_000.0 + 2.5 * 3_600)))
    room.settle()
    assert len(room.states()) == 4


SPOT_FIRST = SpendSpec(
    price_micros=90_000,
    prices_micros={"large": 100_000},
    spot_price_micros=30_000,
    spot_prices_micros={"large": 25_000},
    kinds=("large", "small"),
    markets=(True, False),
    limit=2.0,
    hours=10.0,
)


def test_what_is_not_known_costs_the_most_that_it_may_and_what_is_known_its_own_price() -> None:
    price = SPOT_FIRST.price
    assert [price("large", spot=False), price("small", spot=False)] == [100_000, 90_000]
    assert [price("large", spot=True), price("small", spot=True)] == [25_000, 30_000]
    assert price("", spot=False) == SPOT_FIRST.dearest_micros == 100_000
    assert replace(SPOT_FIRST, markets=(True,)).price("", spot=False) == 30_000
    alike = replace(SPOT_FIRST, spot_price_micros=None)
    assert [alike.price("large", spot=True), alike.price("small", spot=True)] == [25_000, 90_000]


def test_ships_are_launched_at_the_dearer_price_and_metered_at_their_own() -> None:
    room = Room(spec(attendees=16, spend=SPOT_FIRST))
    room.answer_all()
    # Two at the price on demand are the limit.
    assert forecast(room.fleet.world, room.now, 16, 0.0).event == pytest.approx(8.0)
    assert set(room.states()) == {ONE, TWO}
    assert room.fleet.world.tally.rate_micros == 200_000
    for spot, ship in ((True, ONE), (False, TWO)):
        known = room.machines[ship]
        known.machine = replace(known.machine, kind="large", spot=spot)
    room.do(MachinesListed({ship: known.machine for ship, known in room.machines.items()}, room.now))
    assert room.fleet.world.tally.rate_micros == 125_000, "one of them came cheaper"
    room.answer_all()
    assert set(room.states()) == {ONE, TWO}, "another one might be as dear as can be"
    room.restart()
    assert room.fleet.world.tally.rate_micros == 125_000
    room.do(after=3_600)
    assert room.fleet.world.meter.read(room.now).spent == pytest.approx(0.125, rel=1e-3)


# --- one ship in place of another -------------------------------------------------------------------------------------


def test_a_ship_is_replaced_once_another_has_seats_for_those_who_sit_there() -> None:
    room = Room(spec(attendees=2))
    room.settle()
    room.log_in("ada", "bob")
    commands = room.do(ShipReplaced(ONE))
    assert [command for command in commands if isinstance(command, CALLS)] == [LaunchShip(TWO)]
    assert room.seats() == {UserId("ada"): (ONE, 0), UserId("bob"): (ONE, 1)}
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {TWO}
    assert set(room.states()) == {TWO}
    assert not [n for n in room.notices if isinstance(n, Notify) and n.severity == "error"]


def test_nobody_is_moved_off_a_ship_that_is_replaced_before_what_they_left_is_in_a_snapshot() -> None:
    room = Room(spec(attendees=2))
    room.settle()
    room.log_in("ada", "bob")
    room.machines[ONE].saves = False
    room.do(ShipReplaced(ONE))
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {ONE}
    assert not room.routes()
    room.machines[ONE].saves = True
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {TWO}
    assert set(room.states()) == {TWO}


@pytest.mark.parametrize("silent_at_first", [True, False])
def test_a_silent_ship_is_replaced_without_waiting_for_it_and_keeps_what_it_has(silent_at_first: bool) -> None:
    room = Room(spec(attendees=2))
    room.settle()
    room.log_in("ada", "bob")
    room.machines[ONE].saves = False
    if silent_at_first:
        room.machines[ONE].accepted = False
        room.do(ShipReplaced(ONE), after=room.spec.fleet.heartbeat_grace_s + 1)
    else:
        room.do(ShipReplaced(ONE))
        room.settle()
        room.machines[ONE].accepted = False
        room.do(after=room.spec.fleet.heartbeat_grace_s + 1)
    room.settle()
    assert {ship for ship, _ in room.seats().values()} == {TWO}
    assert set(room.states()) == {ONE, TWO}  # it keeps their work
    room.do(ShipReleased(ONE))
    room.settle()
    assert set(room.states()) == {TWO}
