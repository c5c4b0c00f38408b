"""Pages of notebooks: a swap waits until they have saved, and for no page longer than it may."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mux.core.events import (
    BroadcastSet,
    EventSpecApplied,
    FilesChanged,
    PageGone,
    PageSaid,
    RolloutSteered,
    StartOverAsked,
)
from mux.core.model import ProjectName, UserId
from mux.core.pages import PAGES_BACK_S, SAVE_MAX_S, NotebookView, notebook_view
from mux.core.rollout import Pace, RolloutState
from mux.core.rollout_views import Coming
from mux.core.views import attendee_view, fleet_status
from tests.core.room import DIGEST, Room
from tests.core.test_rollouts import INTRO, NEW, NEWER, digests, held, push, room, run, state

ADA = UserId("ada")
PAGE, OTHER = "a" * 16, "b" * 16


def says(found: Room, user: UserId = ADA, page: str = PAGE, *, saved: int = 0, unsaved: int = 1, link: int = 1) -> None:
    found.do(PageSaid(user, INTRO, page, link, unsaved, saved))


def told(found: Room, user: UserId = ADA) -> NotebookView:
    view = notebook_view(found.fleet.world, user, INTRO)
    assert view is not None
    return view


def asked() -> Room:
    """Ada is alone, her page is open, and the image is proved: she has been asked."""
    found = room(people=1)
    says(found)
    push(found)
    found.settle()
    assert told(found).save
    return found


def test_a_workspace_runs_on_until_its_pages_have_saved_and_is_swapped_at_once_then() -> None:
    found = asked()
    assert (digests(found), held(found)) == ({"ada": DIGEST}, set())
    says(found, saved=told(found).save, unsaved=0)
    assert (digests(found), held(found)) == ({"ada": NEW}, {"ada"})
    assert told(found).updating
    run(found)
    assert state(found) is RolloutState.DONE
    assert (told(found).save, told(found).updating) == (0, False)


def test_a_page_that_could_not_save_has_answered_too() -> None:
    found = asked()
    says(found, saved=told(found).save, unsaved=1)
    assert digests(found) == {"ada": NEW}


def test_a_page_that_does_not_answer_is_waited_for_no_longer_than_it_may() -> None:
    found = asked()
    found.do(after=SAVE_MAX_S - 0.1)
    assert digests(found) == {"ada": DIGEST}
    found.do(after=0.2)
    assert digests(found) == {"ada": NEW}


def test_every_page_that_was_asked_has_to_answer_and_no_page_of_anybody_else() -> None:
    found = room(people=2)
    says(found)
    says(found, page=OTHER)
    push(found)
    found.settle()
    number = told(found).save
    says(found, UserId("bob"), saved=number)
    says(found, saved=number)
    assert digests(found)["ada"] == DIGEST
    says(found, page=OTHER, saved=number)
    assert digests(found)["ada"] == NEW


def test_pages_with_something_to_save_are_told_their_turns() -> None:
    found = room(people=1)
    says(found, page="c" * 16)
    says(found, page=OTHER)
    says(found, page=PAGE, unsaved=0)
    push(found)
    found.settle()
    view = told(found)
    assert [view.turn(page) for page in (PAGE, OTHER, "c" * 16)] == [0, 0, 1]
    says(found, page=OTHER, saved=view.save, unsaved=0)
    assert told(found).turns == view.turns, "nobody is told another one while they save"


def test_an_earlier_answer_is_none_to_a_new_request() -> None:
    found = asked()
    says(found, saved=told(found).save - 1)
    assert digests(found) == {"ada": DIGEST}


def test_an_event_file_that_overrules_a_push_takes_back_what_its_pages_were_asked() -> None:
    found = asked()
    projects = [replace(spec, digest=NEWER) for spec in found.fleet.world.projects.values()]
    found.do(EventSpecApplied(replace(found.fleet.world.spec, projects=tuple(projects))))
    assert (digests(found), told(found).save) == ({"ada": DIGEST}, 0)


def test_the_room_at_a_glance_has_what_is_not_saved() -> None:
    found = room(people=2)
    says(found, unsaved=2)
    says(found, UserId("bob"), unsaved=1)
    status = fleet_status(found.fleet.world)
    assert (status.notebook_pages, status.unsaved_documents) == (2, 3)


def test_without_an_open_page_nothing_is_waited_for() -> None:
    found = room(people=1)
    says(found)
    found.do(PageGone(ADA, INTRO, PAGE, 1))
    assert not found.fleet.world.pages
    push(found)
    found.settle()
    assert digests(found) == {"ada": NEW}


def test_the_end_of_an_earlier_connection_is_not_the_end_of_the_page() -> None:
    found = room(people=1)
    says(found, link=1)
    says(found, link=2)
    found.do(PageGone(ADA, INTRO, PAGE, 1))
    push(found)
    found.settle()
    assert told(found).save


@pytest.mark.parametrize("order", ["pause", "abort"])
def test_who_was_asked_is_not_swapped_by_a_rollout_that_was_held_meanwhile(order: str) -> None:
    found = asked()
    number = told(found).save
    found.do(RolloutSteered(INTRO, order))  # type: ignore[arg-type]
    assert told(found).save == 0
    says(found, saved=number)
    found.do(after=SAVE_MAX_S)
    assert digests(found) == {"ada": DIGEST}


def test_who_was_asked_when_their_ship_booted_anew_is_swapped_once_and_has_a_way_back() -> None:
    found = asked()
    ((ship, _),) = found.seats().values()
    found.machines[ship].boot += 1
    found.dial(ship)
    found.do(PageGone(ADA, INTRO, PAGE, 1))
    found.settle()
    (workspace,) = (seat.workspaces[INTRO] for seat in found.fleet.world.ships[ship].seats if seat.user == ADA)
    assert (workspace.digest, workspace.previous) == (NEW, DIGEST)
    found.do(after=SAVE_MAX_S)
    assert (workspace.healthy, workspace.previous) == (True, DIGEST)


def test_after_a_restart_pages_have_time_to_come_back_and_are_asked_anew() -> None:
    found = asked()
    before = told(found).save
    found.do(after=1.0)
    found.restart()
    found.settle()
    assert digests(found) == {"ada": DIGEST}
    says(found)
    found.do(after=PAGES_BACK_S)
    run(found, 1)
    found.settle()
    number = told(found).save
    assert number > before
    assert digests(found) == {"ada": DIGEST}
    says(found, saved=number)
    assert digests(found) == {"ada": NEW}


def test_a_start_of_the_workspace_is_another_run() -> None:
    found = asked()
    before = told(found).run
    says(found, saved=told(found).save)
    assert told(found).run != before


def test_what_organizers_tell_everybody_survives_a_restart_and_can_be_taken_back() -> None:
    found = room(people=1)
    found.do(BroadcastSet("Lunch is ready."))
    at = found.now
    found.restart()
    for somebody in (ADA, UserId("nobody yet")):
        view = attendee_view(found.fleet.world, somebody)
        assert (view.broadcast, view.broadcast_at) == ("Lunch is ready.", at)
    found.do(BroadcastSet(""))
    assert attendee_view(found.fleet.world, ADA).broadcast == ""


def coming(found: Room) -> Coming | None:
    return attendee_view(found.fleet.world, ADA, found.now).projects[0].coming


def test_attendees_know_before_their_kernels_end() -> None:
    found = room(people=1)
    assert coming(found) is None
    push(found, pace=Pace(count=1, not_before=found.now + 300.0))
    assert coming(found) is None, "it is not proved yet"
    found.settle()
    assert coming(found) == Coming(1, "", 300.0, 0.0)
    found.do(RolloutSteered(INTRO, "pause"))
    assert coming(found) is None
    found.do(RolloutSteered(INTRO, "resume"))
    found.do(after=300.0)
    run(found)
    assert digests(found) == {"ada": NEW}
    assert coming(found) is None


def test_who_is_waited_for_knows_what_for() -> None:
    found = room(people=1)
    push(found, pace=Pace(count=1, idle=True))
    found.settle()
    assert coming(found) == Coming(1, "", 0.0, found.spec.rollout.idle_after_s)


def test_pages_are_told_when_somebody_else_has_changed_files() -> None:
    found = room(people=1)
    first = told(found)
    found.do(FilesChanged(ProjectName("unknown")))
    assert told(found) == first
    found.do(FilesChanged(INTRO), after=1.0)
    changed = told(found)
    assert changed == replace(first, files=changed.files) != first
    found.do(FilesChanged(INTRO), after=1.0)
    assert told(found).files not in (first.files, changed.files)


def test_pages_are_told_when_a_file_of_theirs_was_started_over() -> None:
    found = room(people=1)
    first = told(found)
    found.do(StartOverAsked(ADA, INTRO, "notes.txt"))
    found.settle()
    assert told(found).files != first.files
