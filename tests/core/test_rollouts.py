"""Rollouts: proved before anybody is touched, in waves, with a way back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mux.core.events import (
    AttendeesActive,
    EventSpecApplied,
    LinkLost,
    ProjectPushed,
    RolloutSteered,
    ShipDeclaredLost,
    ShipReported,
    StartOverAsked,
    UpdateAccepted,
)
from mux.core.files import files_views
from mux.core.model import DesiredWorkspace, ProjectName, ReportedState, RolloutSpec, StartedOver, UserId, WorkspaceId
from mux.core.rollout import Pace, RolloutState
from mux.core.rollout_views import rollout_views
from mux.core.rollout_waves import IDLE_LOOK_S
from mux.core.views import attendee_view
from tests.core.room import DIGEST, Room, SimulatedShip, event_spec, project

INTRO = ProjectName("intro")
NEW, NEWER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
PEOPLE = ("ada", "bob", "cyd", "dan")


def room(*, people: int = 4, failures_max: int = 2) -> Room:
    """Two ships of two seats, with people on them."""
    spec = replace(event_spec(project()), rollout=RolloutSpec(monitor_s=10.0, failures_max=failures_max))
    found = Room(spec)
    found.settle()
    found.log_in(*PEOPLE[:people])
    found.settle()
    return found


def push(found: Room, digest: str = NEW, *, pace: Pace = Pace(count=1)) -> None:  # noqa: B008 - frozen
    found.do(ProjectPushed(INTRO, f"images/{digest[-1]}", digest, pace))


def digests(found: Room) -> dict[str, str]:
    """What attendees' workspaces are wanted to run."""
    return {
        str(seat.user): seat.workspaces[INTRO].digest
        for ship in found.fleet.world.ships.values()
        for seat in ship.seats
        if seat.user is not None
    }


def held(found: Room) -> set[str]:
    """Whose requests wait."""
    return {str(user) for (user, _), place in found.fleet.published().routes.items() if place and place.hold}


def state(found: Room) -> RolloutState:
    return found.fleet.world.rollouts[INTRO].state


def run(found: Room, rounds: int = 12) -> None:
    """Let the world go on, with time for waves to be watched."""
    for _ in range(rounds):
        found.settle()
        found.do(after=11.0)


def test_everybody_gets_the_image_one_after_the_other() -> None:
    found = room()
    push(found)
    assert set(digests(found).values()) == {DIGEST}, "nobody is touched before the proof"
    most = 0
    for _ in range(20):
        found.settle()
        most = max(most, len(found.fleet.world.rollouts[INTRO].wave))
        found.do(after=11.0)
    assert set(digests(found).values()) == {NEW}
    assert (state(found), most) == (RolloutState.DONE, 1)
    assert found.routes() == {(UserId(name), INTRO) for name in PEOPLE}
    assert not any(ship.trials for ship in found.fleet.world.ships.values())


def test_free_seats_change_at_once_after_the_proof_and_stay_on_offer() -> None:
    found = room(people=1)
    push(found, pace=Pace(count=1, idle=True))
    found.settle()
    assert digests(found) == {"ada": DIGEST}, "ada is not idle yet"
    free = [
        seat.workspaces[INTRO].digest
        for ship in found.fleet.world.ships.values()
        for seat in ship.seats
        if seat.user is None
    ]
    assert set(free) == {NEW}
    found.log_in("bob")
    assert "bob" in found.seats()


def test_an_image_that_does_not_start_touches_nobody_and_blames_no_ship() -> None:
    found = room()
    fail_trials(found)
    push(found)
    run(found, 3)
    assert state(found) is RolloutState.STOPPED
    assert set(digests(found).values()) == {DIGEST}
    assert "exited" in found.fleet.world.rollouts[INTRO].why
    assert not any(ship.failed for ship in found.fleet.world.ships.values())
    assert not found.fleet.world.broken


def fail_trials(found: Room) -> None:
    """Whatever runs another image than the first one fails."""
    for ship in found.machines.values():
        ship.bad_digests = frozenset({NEW})


def without_registry(found: Room) -> None:
    """Ships cannot fetch the image now."""
    fail_trials(found)
    for ship in found.machines.values():
        ship.bad_reason = "registry_away"


def test_a_registry_that_is_away_for_a_while_stops_nothing() -> None:
    found = room()
    without_registry(found)
    push(found)
    run(found, 3)
    waits_for = rollout_views(found.fleet.world)[0].waits_for
    assert (state(found), waits_for) == (RolloutState.RUNNING, "ship-0001 to have the image: registry_away")
    assert set(digests(found).values()) == {DIGEST}
    for ship in found.machines.values():
        ship.bad_digests = frozenset()
    run(found, 20)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})


def test_a_registry_that_stays_away_stops_the_rollout_and_is_named() -> None:
    found = room()
    without_registry(found)
    push(found)
    run(found, 30)
    assert (state(found), set(digests(found).values())) == (RolloutState.STOPPED, {DIGEST})
    assert "registry_away (tried for 300 s)" in found.fleet.world.rollouts[INTRO].why


def take_all_ports(found: Room) -> None:
    """Others hold every port that no workspace has: as a trial does that an earlier mux has begun."""
    for identity, known in found.machines.items():
        first, count = known.machine.port_first, known.machine.port_count
        own = {each.port for each in found.fleet.world.ships[identity].workspaces.values()}
        known.taken = frozenset(range(first, first + count)) - own


def test_a_trial_whose_port_is_held_is_made_again_at_another_one() -> None:
    """As by an engine that was killed while it started the first one: it holds it until it is started once more."""
    found = room()
    push(found)
    for identity, known in found.machines.items():
        known.taken = frozenset({found.fleet.world.ships[identity].trials[INTRO].port})
    run(found)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})


def test_ports_that_are_taken_for_a_while_are_no_verdict() -> None:
    found = room()
    take_all_ports(found)
    push(found)
    run(found, 3)
    assert (state(found), found.fleet.world.rollouts[INTRO].refused) == (RolloutState.RUNNING, ())
    for ship in found.machines.values():
        ship.taken = frozenset()
    run(found, 20)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})


def test_ports_that_stay_taken_stop_the_rollout_and_are_named() -> None:
    found = room()
    take_all_ports(found)
    push(found)
    run(found, 20)
    assert (state(found), set(digests(found).values())) == (RolloutState.STOPPED, {DIGEST})
    assert "no free port for a trial" in found.fleet.world.rollouts[INTRO].why


def test_a_swap_that_fails_goes_back() -> None:
    found = room(failures_max=0)
    push(found)
    for ship in list(found.machines):  # the proof goes well
        found.answer_all()
        found.report(ship)
    fail_trials(found)
    run(found)
    assert state(found) is RolloutState.STOPPED
    assert set(digests(found).values()) == {DIGEST}
    assert found.routes() == {(UserId(name), INTRO) for name in PEOPLE}
    assert len(found.fleet.world.rollouts[INTRO].failed) == 1


def swapping(found: Room) -> UserId:
    """A swap is under way: told to its ship, which has not answered yet. Returns whose."""
    push(found)
    while not any(digest == NEW for digest in digests(found).values()):
        found.settle(1)
    (name,) = [name for name, digest in digests(found).items() if digest == NEW]
    found.answer_all()
    return UserId(name)


def asked_of(found: Room, user: UserId) -> DesiredWorkspace:
    """What the ship of an attendee was told last of their workspace."""
    desired = found.machines[found.seats()[user][0]].desired
    assert desired is not None
    (workspace,) = [each for each in desired.workspaces if each.user == user]
    return workspace


def test_who_starts_over_in_the_middle_of_a_swap_gets_both() -> None:
    found = room()
    user = swapping(found)
    found.do(StartOverAsked(user, INTRO))
    found.answer_all()
    told = asked_of(found, user)
    assert told.digest == NEW
    assert told.start_over is not None
    run(found, 20)
    assert set(digests(found).values()) == {NEW}
    assert state(found) is RolloutState.DONE
    view = files_views(found.fleet.world, user)[0]
    assert view.wish == told.start_over, "the wave has not made another wish of it"
    assert view.ended == StartedOver(told.start_over.number, done=True, kept="before-reset")


def test_a_swap_that_fails_goes_back_with_the_wish_to_start_over() -> None:
    found = room(failures_max=0)
    user = swapping(found)
    fail_trials(found)
    found.do(StartOverAsked(user, INTRO))
    wish = files_views(found.fleet.world, user)[0].wish
    run(found)
    assert state(found) is RolloutState.STOPPED
    told = asked_of(found, user)
    assert (told.digest, told.start_over) == (DIGEST, wish)
    assert files_views(found.fleet.world, user)[0].ended is not None


def test_who_is_moved_in_the_middle_of_a_swap_starts_over_on_the_next_seat() -> None:
    found = room(people=2)
    user = swapping(found)
    first = found.seats()[user][0]
    found.do(StartOverAsked(user, INTRO, "a.ipynb"))
    found.do(ShipDeclaredLost(first))
    run(found, 20)
    assert found.seats()[user][0] != first
    told = asked_of(found, user)
    assert told.digest == NEW
    assert told.start_over is not None
    assert told.start_over.path == "a.ipynb"
    assert files_views(found.fleet.world, user)[0].ended is not None


def test_the_later_of_two_pushes_wins() -> None:
    found = room()
    push(found)
    found.settle()
    assert NEW in digests(found).values()
    push(found, NEWER)
    run(found, 20)
    assert set(digests(found).values()) == {NEWER}
    assert state(found) is RolloutState.DONE


def test_a_rollback_puts_the_image_before_everywhere() -> None:
    found = room()
    push(found)
    found.settle()
    found.do(RolloutSteered(INTRO, "rollback"))
    run(found, 20)
    assert set(digests(found).values()) == {DIGEST}
    assert found.fleet.world.rollouts[INTRO].rollback
    before = found.fleet.world.rollouts[INTRO]
    found.do(RolloutSteered(INTRO, "rollback"))
    assert found.fleet.world.rollouts[INTRO] == before, "a rollback is never rolled back"


def test_a_paused_rollout_waits_for_its_organizer() -> None:
    found = room()
    push(found)
    found.do(RolloutSteered(INTRO, "pause"))
    run(found)
    assert set(digests(found).values()) == {DIGEST}
    found.do(RolloutSteered(INTRO, "resume"))
    run(found, 20)
    assert set(digests(found).values()) == {NEW}


def test_nobody_is_touched_before_the_time_that_was_set() -> None:
    found = room(people=2)
    push(found, pace=Pace(count=4, not_before=found.now + 300))
    run(found, 5)
    assert set(digests(found).values()) == {DIGEST}
    assert len(found.fleet.world.rollouts[INTRO].proved) == len(found.machines), "it is proved ahead"
    found.do(after=300.0)
    run(found)
    assert set(digests(found).values()) == {NEW}


def test_idle_attendees_come_first() -> None:
    found = room()
    found.do(AttendeesActive(tuple((UserId(name), INTRO) for name in ("ada", "bob", "dan"))))
    push(found)
    found.settle()
    assert [name for name, digest in digests(found).items() if digest == NEW] == ["cyd"]


@pytest.mark.parametrize("rounds", range(5))
def test_a_mux_that_is_killed_goes_on_where_it_was(rounds: int) -> None:
    found = room()
    push(found)
    for _ in range(rounds):
        found.answer_all()
        for ship in list(found.machines):
            if found.machines[ship].accepted:
                found.report(ship)
    found.restart()
    run(found, 20)
    assert set(digests(found).values()) == {NEW}
    assert state(found) is RolloutState.DONE


def test_an_event_file_with_another_image_overrules_a_rollout() -> None:
    found = room()
    push(found)
    run(found, 20)
    spec = replace(found.spec, projects=(project(digest=NEWER),))
    found.do(EventSpecApplied(spec))
    assert not found.fleet.world.rollouts
    assert not found.kept.rollouts


def test_an_event_file_that_changes_other_things_leaves_it_in_force() -> None:
    found = room(people=1)
    push(found)
    run(found, 20)
    found.do(EventSpecApplied(replace(found.spec, name="another")))
    found.spec = replace(found.spec, name="another")
    found.settle()
    found.restart()
    found.settle()
    found.log_in("bob")
    found.settle()
    assert digests(found) == {"ada": NEW, "bob": NEW}


def test_a_ship_that_is_silent_is_waited_for() -> None:
    found = room()
    push(found)
    first, second = list(found.machines)
    found.answer_all()
    found.report(first)
    found.do(after=60.0)
    assert state(found) is RolloutState.RUNNING
    assert set(digests(found).values()) == {DIGEST}
    assert found.machines[second].accepted
    run(found, 20)
    assert set(digests(found).values()) == {NEW}


def test_a_word_on_the_old_image_is_no_word_on_the_new_one() -> None:
    found = room(people=1)
    ship = found.fleet.world.assignments[UserId("ada")].ship
    machine = found.machines[ship]
    before = tuple(machine.running.values())
    push(found)
    for each in found.machines:
        found.answer_all()
        found.report(each)
    assert digests(found) == {"ada": NEW}
    assert held(found) == {"ada"}
    assert machine.link is not None
    report = machine.report()
    found.do(ShipReported(ship, machine.link, replace(report, workspaces=before)))
    assert held(found) == {"ada"}, "the old image still answers, until it is stopped"
    found.settle()
    assert held(found) == set()
    assert found.routes() == {(UserId("ada"), INTRO)}


def test_what_fails_where_the_image_was_not_proved_is_not_held_against_the_rollout() -> None:
    found = room(people=0)
    push(found, DIGEST)
    for ship in found.machines.values():
        ship.failing = frozenset({INTRO})
    found.answer_all()
    for identity in list(found.machines):
        machine = found.machines[identity]
        machine.running = {
            name: replace(word, state=ReportedState.FAILED, reason="exited") for name, word in machine.running.items()
        }
        assert machine.link is not None
        found.do(ShipReported(identity, machine.link, machine.report()))
    assert not found.fleet.world.rollouts[INTRO].failed


def test_a_ship_that_boots_in_the_middle_proves_the_image_anew() -> None:
    found = room(people=1)
    push(found)
    found.answer_all()
    ship = next(iter(found.machines))
    before = found.fleet.world.ships[ship].generation
    found.machines[ship].boot += 1
    found.dial(ship)
    assert found.fleet.world.ships[ship].generation > before, "it is told something else"
    run(found, 20)
    assert state(found) is RolloutState.DONE
    assert digests(found) == {"ada": NEW}


def test_a_wave_that_a_boot_broke_off_is_watched_and_followed_by_the_next_without_anything_else_happening() -> None:
    found = room(people=2)
    push(found)
    while set(digests(found).values()) == {DIGEST}:
        found.settle(1)
    (ship,) = {ship for ship, _ in found.seats().values()}
    found.machines[ship].boot += 1
    found.dial(ship)
    found.settle()
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {DIGEST, NEW})
    found.do(after=found.spec.rollout.monitor_s)
    assert set(digests(found).values()) == {NEW}


def accept(found: Room, name: str, number: int = 1) -> None:
    found.do(UpdateAccepted(UserId(name), INTRO, number))


def offers(found: Room) -> dict[str, bool]:
    """Who is shown an offer, and whether they have accepted it."""
    views = {name: attendee_view(found.fleet.world, UserId(name)).projects[0].offer for name in PEOPLE}
    return {name: offer.accepted for name, offer in views.items() if offer is not None}


OFFER = Pace(count=1, offer=True)


def test_only_those_who_accept_an_offer_are_swapped_in_the_order_in_which_they_did() -> None:
    found = room()
    push(found, pace=OFFER)
    run(found)
    assert offers(found) == dict.fromkeys(PEOPLE, False)
    assert set(digests(found).values()) == {DIGEST}
    for name in ("dan", "bob", "dan"):
        accept(found, name)
    assert [name for name, digest in digests(found).items() if digest == NEW] == ["dan"], "one at a time"
    assert offers(found) == {"ada": False, "bob": True, "cyd": False}
    run(found)
    assert [name for name, digest in digests(found).items() if digest == NEW] == ["bob", "dan"]
    assert offers(found) == {"ada": False, "cyd": False}
    (view,) = rollout_views(found.fleet.world)
    assert (view.offered, view.accepted, view.swapped, view.waits_for) == (4, 2, 2, "2 to accept it")
    assert state(found) is RolloutState.RUNNING
    accept(found, "ada")
    accept(found, "cyd")
    run(found)
    assert state(found) is RolloutState.DONE
    assert offers(found) == {}


def test_nobody_is_asked_before_every_ship_has_proved_the_image() -> None:
    found = room()
    push(found, pace=OFFER)
    found.answer_all()
    found.report(next(iter(found.machines)))
    assert offers(found) == {}
    accept(found, "ada")
    run(found)
    assert set(digests(found).values()) == {DIGEST}, "what is not offered cannot be accepted"


def test_an_acceptance_is_of_the_offer_that_was_shown() -> None:
    found = room()
    push(found, pace=OFFER)
    run(found, 3)
    push(found, NEWER, pace=OFFER)
    run(found, 3)
    accept(found, "ada", number=1)
    run(found, 3)
    assert set(digests(found).values()) == {DIGEST}
    accept(found, "ada", number=2)
    run(found, 3)
    assert digests(found)["ada"] == NEWER


def test_an_acceptance_outlives_a_kill_of_the_mux() -> None:
    found = room()
    push(found, pace=OFFER)
    run(found, 3)
    for name in ("cyd", "ada"):
        accept(found, name)
    found.restart()
    assert offers(found) == {"ada": True, "bob": False, "dan": False}
    run(found)
    assert [name for name, digest in digests(found).items() if digest == NEW] == ["ada", "cyd"]


def test_nobody_is_asked_while_a_rollout_is_paused_or_once_it_has_ended() -> None:
    found = room()
    push(found, pace=OFFER)
    run(found, 3)
    found.do(RolloutSteered(INTRO, "pause"))
    assert offers(found) == {}
    accept(found, "ada")
    run(found)
    assert offers(found) == {"ada": True}, "a press that came just after the pause counts"
    assert set(digests(found).values()) == {DIGEST}
    found.do(RolloutSteered(INTRO, "resume"))
    run(found)
    assert digests(found)["ada"] == NEW
    found.do(RolloutSteered(INTRO, "abort"))
    assert offers(found) == {}


def test_taking_an_offer_back_asks_nobody() -> None:
    found = room()
    push(found, pace=OFFER)
    run(found, 3)
    accept(found, "ada")
    run(found, 3)
    found.do(RolloutSteered(INTRO, "rollback"))
    run(found)
    assert set(digests(found).values()) == {DIGEST}
    assert state(found) is RolloutState.DONE


def test_a_swap_that_was_accepted_and_failed_is_not_offered_again() -> None:
    found = room(failures_max=1)
    push(found, pace=OFFER)
    run(found, 3)
    fail_trials(found)
    accept(found, "ada")
    run(found)
    assert digests(found)["ada"] == DIGEST
    assert offers(found) == {"bob": False, "cyd": False, "dan": False}


def slow_from_now(found: Room) -> None:
    """Whatever runs the pushed image takes for ever to start."""
    for ship in found.machines.values():
        ship.slow_digests = frozenset({NEW})


def test_starts_that_are_too_slow_in_the_trial_stop_the_rollout_before_anybody_is_touched() -> None:
    found = room()
    slow_from_now(found)
    push(found)
    run(found, 3)
    assert state(found) is RolloutState.RUNNING, "not before the bound"
    run(found, 6)
    assert state(found) is RolloutState.STOPPED
    assert "did not answer within 60 s" in found.fleet.world.rollouts[INTRO].why
    assert set(digests(found).values()) == {DIGEST}


def test_a_trial_that_never_answers_names_what_it_was_at() -> None:
    found = room()
    slow_from_now(found)
    for ship in found.machines.values():
        ship.slow_at = "the hook 20-data has not ended yet"
    push(found)
    run(found, 9)
    assert state(found) is RolloutState.STOPPED
    text = "did not answer within 60 s of its start: the hook 20-data has not ended yet"
    assert text in found.fleet.world.rollouts[INTRO].why


def test_a_swap_that_never_answers_names_what_it_was_at() -> None:
    found = room(failures_max=0)
    swapping(found)
    slow_from_now(found)
    for ship in found.machines.values():
        ship.slow_at = "the hook 20-data has not ended yet"
    run(found, 14)
    assert set(digests(found).values()) == {DIGEST}
    ((_, why),) = found.fleet.world.rollouts[INTRO].failed
    assert why.endswith("the hook 20-data has not ended yet")


def without_engine(found: Room) -> None:
    """From now on ships start nothing of the new image, since their engine is away."""
    fail_trials(found)
    for ship in found.machines.values():
        ship.bad_reason = "engine_away"


def test_an_engine_that_is_away_for_a_while_turns_no_swap_back() -> None:
    found = room(failures_max=0)
    user = swapping(found)
    without_engine(found)
    run(found, 3)
    assert digests(found)[user] == NEW
    for ship in found.machines.values():
        ship.bad_digests = frozenset()
    run(found, 20)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})
    assert not found.fleet.world.rollouts[INTRO].failed


def test_an_engine_that_stays_away_turns_a_swap_back_and_is_named() -> None:
    found = room(failures_max=0)
    swapping(found)
    without_engine(found)
    run(found, 14)
    assert (state(found), set(digests(found).values())) == (RolloutState.STOPPED, {DIGEST})
    ((_, why),) = found.fleet.world.rollouts[INTRO].failed
    assert why.endswith("engine_away")


def test_starts_that_are_too_slow_in_a_wave_go_back_and_stop_the_rollout() -> None:
    found = room(failures_max=0)
    push(found)
    for ship in list(found.machines):  # the proof goes well
        found.answer_all()
        found.report(ship)
    slow_from_now(found)
    run(found, 10)
    assert state(found) is RolloutState.STOPPED
    assert "did not answer within 90 s" in found.fleet.world.rollouts[INTRO].why
    assert set(digests(found).values()) == {DIGEST}
    assert found.routes() == {(UserId(name), INTRO) for name in PEOPLE}


def test_how_long_it_takes_is_told_from_the_waves_so_far() -> None:
    found = room()
    push(found)
    told = []
    for _ in range(12):
        found.settle()
        (view,) = rollout_views(found.fleet.world)
        told.append((view.swapped, view.eta_s))
        found.do(after=11.0)
    assert told[0] == (1, None), "the first wave is under way: nothing was measured"
    assert (2, 33.0) in told, "the wave under way and two more, of 11 seconds each"
    assert told[-1] == (4, None), "it has ended"


def test_those_who_work_are_counted_while_idle_ones_are_waited_for() -> None:
    found = room()
    push(found, pace=Pace(count=4, idle=True))
    run(found, 3)
    (view,) = rollout_views(found.fleet.world)
    assert (view.working, view.waiting, view.eta_s, view.waits_for) == (4, 4, None, "4 to be idle")


def workspace_of(found: Room, name: str) -> tuple[SimulatedShip, WorkspaceId]:
    """Where somebody works."""
    seat = found.fleet.world.assignments[UserId(name)]
    ship = found.fleet.world.ships[seat.ship]
    return found.machines[seat.ship], ship.seats[seat.seat].workspaces[INTRO].id


def test_an_open_tab_is_idle_and_a_cell_that_runs_is_not() -> None:
    found = room(people=2)
    for name, idle_s in (("ada", 500.0), ("bob", 0.0)):
        machine, workspace = workspace_of(found, name)
        machine.quiet[workspace] = idle_s
    push(found, pace=Pace(count=4, idle=True))
    tabs = AttendeesActive(tuple((UserId(name), INTRO) for name in ("ada", "bob")))
    for _ in range(20):
        found.do(tabs)
        found.settle()
        found.do(after=11.0)
    assert digests(found) == {"ada": NEW, "bob": DIGEST}
    machine, workspace = workspace_of(found, "bob")
    machine.quiet[workspace] = 500.0
    found.settle()
    found.do(after=IDLE_LOOK_S)
    assert digests(found)["bob"] == NEW, "the cell has ended"


def test_where_a_ship_cannot_tell_who_works_requests_count() -> None:
    found = room(people=2)
    push(found, pace=Pace(count=4, idle=True))
    for _ in range(20):
        found.do(AttendeesActive(((UserId("ada"), INTRO),)))
        found.settle()
        found.do(after=11.0)
    assert digests(found) == {"ada": DIGEST, "bob": NEW}


def test_a_page_that_says_that_somebody_works_is_believed() -> None:
    found = room(people=1)
    machine, workspace = workspace_of(found, "ada")
    machine.quiet[workspace] = 500.0
    push(found, pace=Pace(count=4, idle=True))
    for _ in range(20):
        found.do(AttendeesActive(((UserId("ada"), INTRO),), source="page"))
        found.settle()
        found.do(after=11.0)
    assert digests(found) == {"ada": DIGEST}


def test_an_image_that_most_ships_refuse_is_given_to_nobody() -> None:
    found = Room(replace(event_spec(project(), attendees=6), rollout=RolloutSpec(failures_max=5)))
    found.settle()
    found.log_in(*PEOPLE)
    found.settle()
    for ship in list(found.machines.values())[:2]:
        ship.bad_digests = frozenset({NEW})
    push(found)
    run(found, 3)
    assert (state(found), len(found.machines)) == (RolloutState.STOPPED, 3)
    assert set(digests(found).values()) == {DIGEST}


def test_a_rollback_that_fails_is_tried_on_and_never_taken_back() -> None:
    found = room()
    push(found)
    run(found, 20)
    found.do(RolloutSteered(INTRO, "rollback"))
    for ship in list(found.machines):  # the proof goes well
        found.answer_all()
        found.report(ship)
    for machine in found.machines.values():
        machine.bad_digests = frozenset({DIGEST})
    run(found, 2)
    assert sorted(digests(found).values()) == [DIGEST, NEW, NEW, NEW]
    for machine in found.machines.values():
        machine.bad_digests = frozenset()
    run(found, 20)
    assert set(digests(found).values()) == {DIGEST}


def test_what_runs_already_may_be_pushed_again_and_a_rollback_goes_behind_both() -> None:
    found = room()
    for _ in range(3):
        push(found)
        run(found)
        assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {NEW})
    found.restart()
    found.do(RolloutSteered(INTRO, "rollback"))
    assert set(digests(found).values()) == {NEW}, "nobody is touched before the proof"
    run(found)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {DIGEST})


def test_what_runs_already_and_is_pushed_again_stays_while_it_is_proved_and_when_that_is_aborted() -> None:
    found = room(people=2)
    push(found)
    run(found)
    fail_trials(found)
    push(found)
    found.log_in("cyd")
    found.do(RolloutSteered(INTRO, "abort"))
    found.settle()
    assert set(digests(found).values()) == {NEW}


def test_where_nothing_else_was_before_a_rollback_changes_nothing() -> None:
    found = room()
    push(found, DIGEST)
    run(found)
    before = found.fleet.world.rollouts[INTRO]
    found.do(RolloutSteered(INTRO, "rollback"))
    assert found.fleet.world.rollouts[INTRO] == before


def test_what_a_rollback_takes_away_comes_back_with_nothing_that_is_pushed_meanwhile() -> None:
    found = room()
    push(found)
    run(found)
    found.do(RolloutSteered(INTRO, "rollback"))
    push(found, NEWER)
    for ship in found.machines.values():
        ship.bad_digests = frozenset({NEWER})
    run(found)
    assert state(found) is RolloutState.STOPPED
    free = {
        each.digest for ship in found.fleet.world.ships.values() for each in ship.workspaces.values()
        if ship.seats[each.seat].user is None
    }  # fmt: skip
    assert free <= {DIGEST}
    found.do(RolloutSteered(INTRO, "rollback"))
    run(found)
    assert (state(found), set(digests(found).values())) == (RolloutState.DONE, {DIGEST})


def test_a_ship_holds_the_image_that_a_swap_goes_back_to_though_its_push_was_aborted() -> None:
    found = room(people=1)
    push(found)
    while set(digests(found).values()) == {DIGEST}:
        found.settle(1)
    found.do(RolloutSteered(INTRO, "abort"))
    run(found, 3)
    assert digests(found) == {"ada": NEW}, "whoever was swapped keeps what runs"
    push(found, NEWER)
    while set(digests(found).values()) == {NEW}:
        found.settle(1)
    found.answer_all()
    desired = found.machines[found.seats()[UserId("ada")][0]].desired
    assert desired is not None
    assert NEW in {image.digest for image in desired.images}


def test_no_time_left_is_told_while_a_ship_is_not_heard_from() -> None:
    found = room()
    push(found)
    for _ in range(2):
        found.settle()
        found.do(after=11.0)
    (view,) = rollout_views(found.fleet.world)
    assert view.eta_s is not None
    for ship, known in found.machines.items():
        assert known.link is not None
        found.do(LinkLost(ship, known.link))
    (view,) = rollout_views(found.fleet.world)
    assert (view.eta_s, "not heard from" in view.waits_for) == (None, True)


def test_ships_that_refuse_an_image_that_they_have_count_as_having_pulled_it() -> None:
    found = room()
    fail_trials(found)
    push(found)
    for ship in found.machines:
        found.answer_all()
        machine = found.machines[ship]
        machine.settle()
        machine.running = {
            name: replace(word, state=ReportedState.RESTARTING) if word.reason else word
            for name, word in machine.running.items()
        }
        assert machine.link is not None
        found.do(ShipReported(ship, machine.link, machine.report()))
    (view,) = rollout_views(found.fleet.world)
    assert (view.phase, view.pulled, view.proved, len(view.rollout.refused)) == ("stopped", 2, 0, 2)
    found.restart()
    (view,) = rollout_views(found.fleet.world)
    assert view.pulled == 2


def test_no_time_left_is_told_in_a_wave_that_takes_far_longer_than_those_before() -> None:
    found = room()
    push(found)
    for _ in range(2):
        found.settle()
        found.do(after=11.0)
    slow_from_now(found)
    told = []
    for _ in range(5):
        found.settle()
        (view,) = rollout_views(found.fleet.world)
        told.append(view.eta_s)
        found.do(after=11.0)
    assert told[0] == 22.0 and told[-1] is None, "two more waves of 11 seconds each, as it began"
