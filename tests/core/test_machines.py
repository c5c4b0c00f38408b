"""Machines as the provider tells of them: launches under way, and addresses that are used again."""

from __future__ import annotations

from dataclasses import replace

from mux.core.commands import LaunchShip, ListMachines
from mux.core.events import (
    EventSpecApplied,
    FleetEnded,
    LaunchFailed,
    LaunchingSet,
    LaunchSucceeded,
    ListingFailed,
    MachinesListed,
    ShipDrained,
)
from mux.core.model import Machine, MachineStatus, ProjectName, ShipId
from mux.core.warming_views import warming_view
from tests.core.room import Room, event_spec

ONE, TWO, THREE = ShipId("ship-0001"), ShipId("ship-0002"), ShipId("ship-0003")


def test_launches_that_are_tried_again_count_among_those_under_way() -> None:
    room = Room(event_spec(attendees=8, seats_per_ship=1, launches_in_flight_max=2, launch_failures_max=99))
    room.pending.clear()
    commands = room.do(MachinesListed({}, room.now))
    for _ in range(4):
        launched = [command.ship for command in commands if isinstance(command, LaunchShip)]
        assert len(launched) == 2
        room.do(*(LaunchFailed(ship, "no capacity") for ship in launched))
        commands = room.do(after=120)


def test_a_failed_launch_is_tried_again_before_another_ship_is_made() -> None:
    room = Room(event_spec(attendees=8, seats_per_ship=1, launches_in_flight_max=2))
    room.pending.clear()
    room.do(MachinesListed({}, room.now))
    room.do(LaunchFailed(ONE, "no capacity"))
    commands = room.do(after=30)
    assert [command.ship for command in commands if isinstance(command, LaunchShip)] == [ONE]


def test_an_address_that_another_ship_was_given_is_no_longer_routed_to() -> None:
    """A machine vanishes, and its address is given to a new one before two listings have missed it."""
    room = Room()
    room.settle()
    room.log_in("ada")
    ship, _ = room.seats()["ada"]  # type: ignore[index]
    other = TWO if ship == ONE else ONE
    gone = room.machines.pop(ship).machine
    kept = room.machines[other]
    kept.machine = replace(gone, ship=other, status=MachineStatus.RUNNING)
    room.do(MachinesListed({other: kept.machine}, room.now))
    assert room.routes() == set()
    assert room.seats()["ada"] == (ship, 0)  # type: ignore[index]


def test_a_listing_that_lags_behind_does_not_give_an_address_back_to_a_machine_that_is_gone() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=2))
    room.settle()
    room.log_in("ada")
    gone = room.machines[ONE].machine
    room.do(EventSpecApplied(event_spec(attendees=4, seats_per_ship=2)), after=60)
    new = replace(gone, ship=TWO)
    room.do(LaunchSucceeded(TWO, new), after=1)
    assert room.routes() == set()
    for machines in ({ONE: gone, TWO: new}, {TWO: new, ONE: gone}, {ONE: gone}):
        room.do(MachinesListed(machines, room.now), after=1)
        assert room.routes() == set()
        assert room.fleet.world.ships[TWO].host == gone.host


def test_a_ship_without_an_address_is_still_missed_after_a_restart() -> None:
    room = Room()
    room.settle()
    room.log_in("ada")
    ship, _ = room.seats()["ada"]  # type: ignore[index]
    other = TWO if ship == ONE else ONE
    room.machines[other].machine = replace(room.machines.pop(ship).machine, ship=other)
    room.do(MachinesListed({other: room.machines[other].machine}, room.now))
    room.restart()
    for _ in range(2):
        room.do(MachinesListed({other: room.machines[other].machine}, room.now + 1), after=20)
    assert list(room.fleet.world.waiting) == ["ada"]


def test_a_ship_that_moves_leaves_its_address_to_others() -> None:
    room = Room()
    room.settle()
    room.log_in("ada", "bob", "eve", "dan")
    first, second = room.machines[ONE].machine, room.machines[TWO].machine
    moved = replace(first, host="127.0.0.9")
    room.do(MachinesListed({ONE: moved, TWO: second}, room.now))
    room.do(MachinesListed({ONE: moved, TWO: replace(first, ship=TWO)}, room.now))
    assert {place.host for place in room.fleet.published().routes.values() if place} == {"127.0.0.9", first.host}
    assert len(room.routes()) == 4


def test_a_project_that_fails_on_one_new_ship_after_the_other_is_at_fault_and_not_they() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=1, heartbeat_grace_s=1e6))
    room.settle()
    room.log_in("ada", "bob")
    room.settle()
    good = set(room.machines)
    room.do(EventSpecApplied(event_spec(attendees=3, seats_per_ship=1, heartbeat_grace_s=1e6)))
    for _ in range(40):
        room.answer_all()
        for ship, known in list(room.machines.items()):
            known.failing = frozenset() if ship in good else frozenset({ProjectName("intro")})
            if known.link is None:
                room.dial(ship)
                room.answer_all()
            if ship in room.machines:
                room.report(ship)
        room.do(after=20)
    assert set(room.fleet.world.broken) == {"intro"}
    assert room.fleet.world.controls.ships_made == 4
    assert room.fleet.world.controls.launching


def test_a_listing_asked_for_before_a_slow_launch_was_answered_is_no_evidence_against_the_machine() -> None:
    room = Room(event_spec(attendees=1, seats_per_ship=1))
    room.answer()  # the listing: a launch is asked for
    room.pending.clear()
    asked_at = room.now + 10
    machine = Machine(ONE, MachineStatus.PENDING)
    room.do(LaunchSucceeded(ONE, machine), after=20)
    room.do(MachinesListed({}, asked_at), after=1)
    room.do(MachinesListed({}, room.now + 10), after=15)
    assert not room.fleet.world.ships[ONE].gone
    room.do(MachinesListed({}, room.now + 10), after=15)
    assert room.fleet.world.ships[ONE].gone


def test_a_listing_out_of_turn_says_no_more_of_a_machine_than_the_one_just_before_it() -> None:
    room = Room(event_spec(attendees=1, seats_per_ship=1))
    room.answer()  # the listing: a launch is asked for
    room.pending.clear()
    room.do(LaunchSucceeded(ONE, Machine(ONE, MachineStatus.PENDING)), LaunchingSet(False), after=20)
    room.do(MachinesListed({}, room.now + 1), after=9)
    assert ListMachines() in room.do(LaunchingSet(True), after=1)
    room.do(MachinesListed({}, room.now), after=1)
    assert not room.fleet.world.ships[ONE].gone, "its provider's listing may still lag behind"
    room.do(MachinesListed({}, room.now + 14), after=15)
    assert room.fleet.world.ships[ONE].gone


def test_a_machine_is_missed_after_a_restart_with_a_clock_that_was_set_back() -> None:
    room = Room(event_spec(attendees=1, seats_per_ship=1))
    room.settle()
    room.machines.clear()
    room.now -= 900
    room.restart()
    for _ in range(2):
        room.do(MachinesListed({}, room.now + 14), after=15)
    assert room.fleet.world.ships[ONE].gone


def test_an_event_that_is_over_ends_every_ship_and_launches_none() -> None:
    room = Room(event_spec(attendees=4, seats_per_ship=2))
    room.settle()
    room.log_in("ada")
    room.settle()
    room.do(FleetEnded())
    room.settle()
    room.do(after=600)
    room.settle()
    assert room.states() == {}
    assert room.machines == {}
    assert not room.fleet.world.controls.launching


def test_a_launch_that_fails_after_its_ship_was_ended_makes_the_pause_longer() -> None:
    room = Room(event_spec(attendees=4, seats_per_ship=2, launch_backoff_s=2))
    room.answer()
    room.do(LaunchFailed(ONE, "no capacity"))
    room.do(ShipDrained(TWO), after=1)
    assert room.fleet.world.ships[TWO].gone
    room.do(LaunchFailed(TWO, "no capacity"))
    assert not [c for c in room.do(after=1.5) if isinstance(c, LaunchShip)]
    assert [c for c in room.do(after=0.6) if isinstance(c, LaunchShip)]
    assert room.fleet.world.patience.failures == 1


def test_launches_that_fail_together_are_one_failure() -> None:
    room = Room(event_spec(attendees=20, seats_per_ship=1, launch_failures_max=3, launch_backoff_s=2))
    room.launches_fail = True
    room.answer_all()
    assert room.fleet.world.patience.failures == 1
    assert room.fleet.world.controls.launching
    assert len([notice for notice in room.notices if notice.code == "launch_failed"]) == 1
    room.launches_fail = False
    room.do(after=2.1)
    room.settle()
    assert len(room.states()) == 20


def test_a_ship_that_is_drained_while_the_fleet_is_paused_goes_once_it_is_resumed() -> None:
    room = Room(event_spec(attendees=2, seats_per_ship=2))
    room.settle()
    (ship,) = room.states()
    room.do(LaunchingSet(enabled=False))
    room.do(ShipDrained(ship, evict=False))
    room.settle()
    assert set(room.states()) == {ship}, "paused: nothing is launched or ended"
    room.restart()
    room.do(LaunchingSet(enabled=True))
    room.settle()
    assert ship not in room.states()
    assert ship not in room.machines
    assert len(room.states()) == 1


def test_a_provider_that_cannot_be_asked_is_told_once_and_shown_until_it_answers() -> None:
    room = Room(event_spec(attendees=4, listing_s=15.0))
    room.pending.clear()
    for _ in range(5):
        room.do(ListingFailed("AWS does not accept mux's credentials (ExpiredToken)."))
        room.do(after=15)
    assert room.states() == {}, "what exists already is not known"
    view = warming_view(room.fleet.world, room.now)
    assert "which machines there are: AWS does not accept mux's credentials" in view.launching_text
    room.answer_all()  # the questions that are open
    room.settle()
    assert len(room.states()) == 2
    told = {notice.code: notice for notice in room.notices if notice.code.startswith("listing")}
    assert "none is launched or ended before it does" in told["listing_failed"].text
    assert [notice.code for notice in room.notices if notice.code in told] == ["listing_failed", "listing_back"]
    view = warming_view(room.fleet.world, room.now)
    assert (view.launching_text, view.reasons) == ("", ())


def test_listings_that_fail_while_there_are_ships_are_a_reason_that_is_shown_and_end_nothing() -> None:
    room = Room(event_spec(attendees=4))
    room.settle()
    before = room.states()
    for _ in range(2):
        room.do(ListingFailed("EC2 did not answer."))
    room.answer_all()
    assert "listing_failed" not in {notice.code for notice in room.notices}
    room.do(ListingFailed("EC2 did not answer."))
    assert room.states() == before
    view = warming_view(room.fleet.world, room.now)
    assert ("machines cannot be listed: EC2 did not answer.", 1) in view.reasons
    assert not view.launching_text, "it launches all the same"
