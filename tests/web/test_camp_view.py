"""The words on an attendee's cards."""

from __future__ import annotations

import pytest

from mux.core.commands import Behind
from mux.core.model import ProjectName
from mux.core.views import AttendeeView, ProjectCard
from mux.web.camp_view import UNKEPT_TEXT, camp_view


@pytest.mark.parametrize(
    ("seconds", "unheard_s", "text"),
    [
        (0.4, 0.0, "Your files are 1 second older than your last change that was seen there."),
        (11.2, 0.0, "Your files are 12 seconds older than"),
        (121.0, 0.0, "Your files are 3 minutes older than"),
        (0.0, 65.0, "Nothing was heard of it for 65 seconds: what you changed then may be missing."),
    ],
)
def test_a_moved_attendee_is_told_how_old_the_files_are(seconds: float, unheard_s: float, text: str) -> None:
    card = ProjectCard(ProjectName("intro"), "Intro", "ready", "Ready.", behind=Behind(seconds, unheard_s, 0.0))
    shown = camp_view(AttendeeView(None, (card,)), lambda _: True)["projects"][0]["text"]
    assert text in shown
    assert shown.startswith("You were moved to another machine.")
    assert ("older" in shown, "heard" in shown) == (seconds > 0, unheard_s > 0)


def test_who_has_files_that_cannot_be_kept_is_told_on_the_card_and_in_the_notebook() -> None:
    card = ProjectCard(ProjectName("intro"), "Intro", "ready", "Ready.", unkept_since=12.0)
    view = camp_view(AttendeeView(None, (card, ProjectCard(ProjectName("b"), "B", "ready", "Ready."))), lambda _: True)
    assert [UNKEPT_TEXT in each["text"] for each in view["projects"]] == [True, False]
    assert [(notice["kind"], notice["project"], notice["text"]) for notice in view["notices"]] == [
        ("unkept", "intro", UNKEPT_TEXT)
    ]
