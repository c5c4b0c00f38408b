"""What an attendee's pages show, as plain values: the same for the first rendering and for every live message.

Pure: from views to dictionaries. Texts are passed on as they are; templates and the script escape them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import orjson

from mux.core.model import ProjectName
from mux.core.views import AttendeeView, ProjectCard, WaitingView

STATE_WORDS = {
    "ready": ("Ready", "Open"),
    "starting": ("Starting", "Open when ready"),
    "on_use": ("Not started yet", "Start and open"),
    "failed": ("Not working", "See what to do"),
    "waiting": ("Waiting for a seat", "Wait for this one"),
}
"""State to (its name, the words on its button)."""


class Card(TypedDict):
    """One project. ``open``: requests for it have somewhere to go, so that its page may be entered."""

    name: str
    title: str
    state: str
    label: str
    action: str
    text: str
    open: bool


class Waiting(TypedDict):
    """A place in the queue."""

    position: int
    of: str
    title: str
    text: str


class CampView(TypedDict):
    """Everything that changes on an attendee's page."""

    waiting: Waiting | None
    projects: list[Card]
    notice: str


def camp_view(view: AttendeeView, route_ready: Callable[[ProjectName], bool]) -> CampView:
    """The values of ``view``; ``route_ready`` says which projects can be entered."""
    return {
        "waiting": _waiting(view.waiting) if view.waiting else None,
        "projects": [_card(card, route_ready(card.name)) for card in view.projects],
        "notice": view.notice,
    }


def camp_message(view: CampView) -> str:
    """The live message of a view."""
    return orjson.dumps(view).decode()


def _waiting(waiting: WaitingView) -> Waiting:
    return {
        "position": waiting.position,
        "of": f"of {waiting.total} waiting",
        "title": f"In the queue: {waiting.position}",
        "text": waiting.text,
    }


def _card(card: ProjectCard, route_ready: bool) -> Card:
    # The fleet may know that a workspace is healthy a moment before its route stands: not ready until it can be opened.
    state = "starting" if card.state == "ready" and not route_ready else card.state
    text = card.text if state == card.state else "It is about to open."
    label, action = STATE_WORDS[state]
    if text.rstrip(".") == label:
        text = ""
    return {
        "name": card.name,
        "title": card.title or card.name,
        "state": state,
        "label": label,
        "action": action,
        "text": text,
        "open": route_ready,
    }
