"""An image that a rollout has put in force: ships that come later, clocks that go back, attendees who never pause."""

from __future__ import annotations

from dataclasses import replace

from mux.core.events import AttendeesActive, EventSpecApplied
from mux.core.model import UserId
from mux.core.rollout import Pace, RolloutState
from tests.core.room import DIGEST, Room
from tests.core.test_rollouts import INTRO, NEW, digests, held, push, room, run, state


def larger(found: Room, attendees: int) -> None:
    """More seats are wanted, so ships are launched."""
    spec = found.fleet.world.spec
    found.do(EventSpecApplied(replace(spec, fleet=replace(spec.fleet, attendees=attendees))))


def test_a_wave_is_not_watched_for_ever_after_the_clock_was_set_back() -> None:
    found = room(people=1)
    push(found)
    for _ in range(20):
        found.settle()
        if found.fleet.world.rollouts[INTRO].watched_until:
            break
        found.do(after=2.0)
    assert found.fleet.world.rollouts[INTRO].watched_until
    found.now -= 900.0
    found.restart()
    run(found, 4)
    assert state(found) is RolloutState.DONE
    assert digests(found) == {"ada": NEW}
    assert found.fleet.world.rollouts[INTRO].waves_s >= 0


def test_what_a_restart_with_the_clock_set_back_makes_of_a_swap_is_saved() -> None:
    found = room(people=1)
    found.do(after=10.0)
    found.settle()
    push(found)
    ships = found.fleet.world.ships
    for turn in range(40):
        if any(each.swap_until for ship in ships.values() for each in ship.workspaces.values()):
            break
        found.answer_all()
        found.report(list(found.machines)[turn % len(found.machines)])
    else:
        raise AssertionError("nobody is swapped")
    found.now -= 3.0  # later than the launches
    found.restart()
    assert found.kept.ships == {ship.id: ship.record() for ship in found.fleet.world.ships.values()}


def test_a_ship_that_comes_later_and_does_not_run_the_image_has_the_one_before() -> None:
    found = room(people=2)
    push(found)
    run(found)
    assert state(found) is RolloutState.DONE
    known = set(found.machines)
    larger(found, 8)
    for _ in range(6):
        found.answer_all()
        for ship in found.machines.keys() - known:
            found.machines[ship].bad_digests = frozenset({NEW})
        found.settle()
        found.do(after=5.0)
    rollout = found.fleet.world.rollouts[INTRO]
    late = found.machines.keys() - known
    assert late and {ship for ship, _ in rollout.refused} <= late
    assert rollout.state is RolloutState.DONE, "most ships run it"
    for ship in late:
        assert {each.digest for each in found.fleet.world.ships[ship].workspaces.values()} == {DIGEST}
    assert set(digests(found).values()) == {NEW}, "nobody else is touched"


def test_an_image_that_most_later_ships_do_not_run_is_in_force_no_more() -> None:
    found = room(people=0, failures_max=0)
    push(found)
    run(found)
    assert state(found) is RolloutState.DONE
    known = set(found.machines)
    larger(found, 12)
    for _ in range(12):
        found.answer_all()
        for ship in found.machines.keys() - known:
            found.machines[ship].bad_digests = frozenset({NEW})
        found.settle()
        found.do(after=5.0)
    assert state(found) is RolloutState.STOPPED
    assert "does not run on" in found.fleet.world.rollouts[INTRO].why


def test_somebody_who_was_busy_gets_the_image_when_idle_though_the_rollout_is_done() -> None:
    found = room(people=2)
    place = found.fleet.world.assignments[UserId("bob")]
    ship = found.fleet.world.ships[place.ship]
    rollouts = found.fleet.world.rollouts
    push(found, pace=Pace(count=1))
    run(found)
    rollouts[INTRO] = replace(rollouts[INTRO], pace=Pace(count=1, idle=True))
    ship.seats[place.seat].workspaces[INTRO].digest = DIGEST
    found.do(AttendeesActive(((UserId("bob"), INTRO),)))
    found.fleet.world.touch(ship)
    found.do()
    assert set(digests(found).values()) == {DIGEST, NEW}, "bob is not idle yet"
    for _ in range(60):
        for each in found.machines:
            found.report(each)
        found.do(after=9.0)
    run(found, 3)
    assert set(digests(found).values()) == {NEW}
    assert held(found) == set()
