"""An organizer's word on a rollout, in every moment of it, and with the mux killed in that moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mux.core.events import EventSpecApplied, ProjectPushed, RolloutSteered, UserRevoked
from mux.core.model import UserId
from mux.core.rollout import Pace, RolloutState
from tests.core.room import DIGEST, Room, event_spec, project
from tests.core.test_rollouts import INTRO, NEW, NEWER, PEOPLE, digests, push, room, run, state

MOMENTS = (0, 1, 2, 3, 4, 6, 8, 11, 14, 17)
"""Steps after a push: the first are pulling and proving, then come waves of one, and the last is after its end."""
STEP_S = 3.0


def moment(steps: int, *, killed: bool, pace: Pace = Pace(count=1)) -> Room:  # noqa: B008 - frozen
    """A room in some moment of a push."""
    found = room()
    push(found, pace=pace)
    for _ in range(steps):
        found.settle(1)
        found.do(after=STEP_S)
    if killed:
        found.restart()
    return found


def order(found: Room, word: str, *, killed: bool) -> None:
    """An organizer's word, and perhaps the end of the mux once it is persisted."""
    found.do(RolloutSteered(INTRO, word))  # type: ignore[arg-type]
    if killed:
        found.restart()


def everybody_works(found: Room) -> None:
    """All are led to their workspace, and nothing is on trial any more."""
    assert {str(user) for user, _ in found.routes()} == set(PEOPLE)
    assert not any(place.hold for place in found.fleet.published().routes.values() if place)
    workspaces = [each for ship in found.fleet.world.ships.values() for each in ship.workspaces.values()]
    assert not any(each.previous for each in workspaces)
    assert not any(ship.trials for ship in found.fleet.world.ships.values())


each_moment = pytest.mark.parametrize("steps", MOMENTS)
killed_too = pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])


@each_moment
@killed_too
def test_a_rollback_gives_everybody_the_image_before(steps: int, *, killed: bool) -> None:
    found = moment(steps, killed=killed)
    order(found, "rollback", killed=killed)
    run(found, 20)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {DIGEST})
    everybody_works(found)


@each_moment
@killed_too
def test_an_abort_touches_nobody_further(steps: int, *, killed: bool) -> None:
    found = moment(steps, killed=killed)
    before = digests(found)
    over = state(found) is RolloutState.DONE
    order(found, "abort", killed=killed)
    run(found, 20)
    assert (state(found), digests(found)) == (RolloutState.DONE if over else RolloutState.ABORTED, before)
    everybody_works(found)


@each_moment
@killed_too
def test_a_pause_touches_nobody_further_until_it_is_over(steps: int, *, killed: bool) -> None:
    found = moment(steps, killed=killed)
    before = digests(found)
    order(found, "pause", killed=killed)
    run(found, 20)
    assert digests(found) == before
    everybody_works(found)
    order(found, "resume", killed=killed)
    run(found, 20)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})
    everybody_works(found)


@each_moment
@killed_too
def test_of_two_pushes_the_later_wins(steps: int, *, killed: bool) -> None:
    found = moment(steps, killed=killed)
    push(found, NEWER)
    if killed:
        found.restart()
    run(found, 30)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEWER})
    everybody_works(found)


@each_moment
@killed_too
def test_a_push_during_a_rollback_wins_and_goes_back_to_what_was_rolled_back_to(steps: int, *, killed: bool) -> None:
    found = room()
    push(found)
    run(found, 20)
    order(found, "rollback", killed=False)
    for _ in range(steps):
        found.settle(1)
        found.do(after=STEP_S)
    push(found, NEWER)
    if killed:
        found.restart()
    run(found, 30)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEWER})
    order(found, "rollback", killed=killed)
    run(found, 30)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {DIGEST})
    everybody_works(found)


@each_moment
def test_an_attendee_who_is_removed_in_the_middle_holds_nobody_up(steps: int) -> None:
    found = moment(steps, killed=False)
    found.do(UserRevoked(UserId("bob"), release=True))
    run(found, 20)
    assert state(found) is RolloutState.DONE
    assert digests(found) == dict.fromkeys(("ada", "cyd", "dan"), NEW)


def test_a_mux_that_was_down_at_the_time_that_was_set_begins_when_it_is_back() -> None:
    found = room()
    push(found, pace=Pace(count=4, not_before=found.now + 300))
    run(found, 5)
    found.now += 3_600.0
    found.restart()
    run(found)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})


def test_a_clock_that_was_set_back_over_a_restart_is_waited_for() -> None:
    found = room()
    at = found.now + 300
    push(found, pace=Pace(count=4, not_before=at))
    run(found, 5)
    found.now -= 900.0
    found.restart()
    while found.now < at - 30.0:
        run(found, 1)
    assert set(digests(found).values()) == {DIGEST}
    run(found)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})


def test_a_rollout_that_waits_for_its_time_is_begun_by_another_push_without_one() -> None:
    found = room()
    push(found, pace=Pace(count=4, not_before=found.now + 3_000))
    run(found, 3)
    push(found)
    run(found)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})
    order(found, "rollback", killed=False)
    run(found)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {DIGEST})


def test_limits_that_an_event_file_lowers_in_the_middle_hold_from_then_on() -> None:
    found = room(failures_max=2)
    push(found, pace=Pace())
    world = found.fleet.world
    found.do(EventSpecApplied(replace(world.spec, rollout=replace(world.spec.rollout, share=1.0))))
    found.settle()
    assert len(world.rollouts[INTRO].wave) == 4
    run(found)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})


def test_two_projects_are_pushed_at_once_each_in_its_own_waves() -> None:
    found = Room(event_spec(project(), project("stats")))
    found.settle()
    found.log_in(*PEOPLE)
    found.settle()
    stats = found.spec.projects[1].name
    found.do(ProjectPushed(INTRO, "new", NEW, Pace(count=1)), ProjectPushed(stats, "newer", NEWER, Pace(count=2)))
    run(found, 20)
    assert {each.state for each in found.fleet.world.rollouts.values()} == {RolloutState.DONE}
    seats = [seat for ship in found.fleet.world.ships.values() for seat in ship.seats if seat.user is not None]
    assert {(seat.workspaces[INTRO].digest, seat.workspaces[stats].digest) for seat in seats} == {(NEW, NEWER)}
