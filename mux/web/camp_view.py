"""What an attendee's pages show, as plain values: the same for the first rendering and for every live message.

Pure: from views to dictionaries. Texts are passed on as they are; templates and the script escape them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypedDict

import orjson

from mux.core.commands import Behind
from mux.core.model import ProjectName
from mux.core.rollout_views import Coming, Offer
from mux.core.views import AttendeeView, ProjectCard, WaitingView

STATE_WORDS = {
    "ready": ("Ready", "Open"),
    "starting": ("Starting", "Open when ready"),
    "on_use": ("Not started yet", "Start and open"),
    "failed": ("Not working", "See what to do"),
    "waiting": ("Waiting for a seat", "Wait for this one"),
}
"""State to (its name, the words on its button)."""


OFFER_TEXT = "Your files stay; what is running is started anew, and notebooks have to be run again."
ACCEPTED_TEXT = "Your update comes in a moment. Your files stay."
UNKEPT_TEXT = (
    "What you changed last is on your machine alone: it cannot be kept elsewhere now. You can go on working; the "
    "organizers have been told."
)
NAMES_MAX = 3
"""Files of which a notice gives the names."""
TOO_LARGE = (
    "is larger than 256 MB and therefore not kept: it is gone if your machine is lost.",
    "are larger than 256 MB and therefore not kept: they are gone if your machine is lost.",
)
"""What is said of one file, and of several, above `ship_agent.protocol.snapshot.FILE_BYTES_MAX`."""

LOCKED = (
    "is locked by its mode and kept as it was before: what changed since is gone if your machine is lost. "
    "“chmod u+rwX” opens it.",
    "are locked by their modes and kept as they were before: what changed since is gone if your machine is lost. "
    "“chmod u+rwX” opens them.",
)
"""Likewise of what the ship may not read."""


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


class Notice(TypedDict):
    """Something that an attendee is told, and may answer.

    ``id`` stays while it is the same; a page that was told to close it need not show it again. ``kind``: ``update``,
    another image; ``broadcast``, an organizer's words; ``unkept`` and ``too_large``, what is not kept. ``project``:
    which it is about; empty for all. ``number``: to be said back with the answer, 0 where there is none. ``action``:
    the words on its button; empty where there is nothing to answer.
    """

    id: str
    kind: str
    project: str
    number: int
    text: str
    action: str


class CampView(TypedDict):
    """Everything that changes on an attendee's page."""

    waiting: Waiting | None
    projects: list[Card]
    notice: str
    notices: list[Notice]


def camp_view(view: AttendeeView, route_ready: Callable[[ProjectName], bool]) -> CampView:
    """The values of ``view``; ``route_ready`` says which projects can be entered."""
    return {
        "waiting": _waiting(view.waiting) if view.waiting else None,
        "projects": [_card(card, route_ready(card.name)) for card in view.projects],
        "notice": view.notice,
        "notices": [
            *_broadcast(view),
            *(notice for card in view.projects for notice in (*_updates(card), *_unkept(card))),
        ],
    }


def updates(view: CampView) -> dict[str, Notice]:
    """The updates on offer, by project."""
    return {notice["project"]: notice for notice in view["notices"] if notice["kind"] == "update"}


def told(view: CampView) -> str:
    """What organizers tell everybody; empty for nothing."""
    return next((notice["text"] for notice in view["notices"] if notice["kind"] == "broadcast"), "")


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


def _broadcast(view: AttendeeView) -> Iterator[Notice]:
    if view.broadcast:
        identity = f"broadcast/{view.broadcast_at * 1000:.0f}"
        yield {"id": identity, "kind": "broadcast", "project": "", "number": 0, "text": view.broadcast, "action": ""}


def _updates(card: ProjectCard) -> Iterator[Notice]:
    if card.offer is not None:
        yield _update(card.name, card.offer)
    elif card.coming is not None:
        yield _coming(card.name, card.coming)


def _unkept(card: ProjectCard) -> Iterator[Notice]:
    if card.unkept_since:
        yield {
            "id": f"unkept/{card.name}/{card.unkept_since:.0f}",
            "kind": "unkept",
            "project": card.name,
            "number": 0,
            "text": UNKEPT_TEXT,
            "action": "",
        }


def too_large(project: ProjectName, names: Sequence[str]) -> Iterator[Notice]:
    """The notice of files that are too large to be kept, if there are any. Other files are another notice."""
    if names:
        known_by = hashlib.sha256("\0".join(names).encode("utf-8", "replace")).hexdigest()[:16]
        yield {
            "id": f"too-large/{project}/{known_by}",
            "kind": "too_large",
            "project": project,
            "number": 0,
            "text": f"{too_large_text(names)} Download what you need of it.",
            "action": "",
        }


def too_large_text(names: Sequence[str]) -> str:
    """What it means for files that they are too large to be kept; not the names of all if there are many."""
    return _said_of(names, TOO_LARGE)


def locked_text(names: Sequence[str]) -> str:
    """What it means for files and directories that they are locked, likewise."""
    return _said_of(names, LOCKED)


def _said_of(names: Sequence[str], words: tuple[str, str]) -> str:
    named = [f"“{name}”" for name in names[:NAMES_MAX]]
    if len(names) > NAMES_MAX:
        named.append(f"{len(names) - NAMES_MAX} more")
    if len(named) == 1:
        return f"{named[0]} {words[0]}"
    return f"{', '.join(named[:-1])} and {named[-1]} {words[1]}"


def _coming(project: ProjectName, coming: Coming) -> Notice:
    if coming.idle_s:
        when = f"once you have not worked here for {_minutes(coming.idle_s)}"
    elif coming.in_s:
        when = f"in {_minutes(-(-coming.in_s // 60) * 60)}"
    else:
        when = "in a moment"
    what = f" ({coming.note.rstrip('.')})" if coming.note else ""
    return {
        "id": f"coming/{project}/{coming.number}",
        "kind": "update",
        "project": project,
        "number": coming.number,
        "text": f"An update{what} comes {when}. {OFFER_TEXT}",
        "action": "",
    }


def _minutes(seconds: float) -> str:
    """So much time in words; whole minutes from two on."""
    if seconds < 120 and seconds % 60:
        return f"{seconds:.0f} seconds"
    minutes = round(seconds / 60)
    return f"{minutes} {'minute' if minutes == 1 else 'minutes'}"


def _update(project: ProjectName, offer: Offer) -> Notice:
    what = f"An update is ready: {offer.note.rstrip('.')}." if offer.note else "An update is ready."
    return {
        "id": f"update/{project}/{offer.number}",
        "kind": "update",
        "project": project,
        "number": offer.number,
        "text": ACCEPTED_TEXT if offer.accepted else f"{what} {OFFER_TEXT}",
        "action": "" if offer.accepted else "Update now",
    }


def _behind(behind: Behind) -> str:
    """How old the files are. The card breaks lines where the text does."""
    said = ["You were moved to another machine."]
    if behind.seconds > 0:
        said.append(f"Your files are {_span(behind.seconds)} older than your last change that was seen there.")
    if behind.unheard_s > 0:
        said.append(f"Nothing was heard of it for {_span(behind.unheard_s)}: what you changed then may be missing.")
    return " ".join([*said, "What is missing may still be on it: ask an organizer."])


def _span(seconds: float) -> str:
    """A stretch of time, never told shorter than it was."""
    if seconds <= 120:
        whole = math.ceil(seconds)
        return f"{whole} second{'' if whole == 1 else 's'}"
    return f"{math.ceil(seconds / 60)} minutes"


def _card(card: ProjectCard, route_ready: bool) -> Card:
    # The fleet may know that a workspace is healthy a moment before its route stands: not ready until it can be opened.
    state = "starting" if card.state == "ready" and not route_ready else card.state
    text = card.text if state == card.state else "It is about to open."
    label, action = STATE_WORDS[state]
    if text.rstrip(".") == label:
        text = ""
    if card.behind is not None:
        text = f"{text}\n{_behind(card.behind)}".strip()
    if card.unkept_since:
        text = f"{text}\n{UNKEPT_TEXT}".strip()
    return {
        "name": card.name,
        "title": card.title or card.name,
        "state": state,
        "label": label,
        "action": action,
        "text": text,
        "open": route_ready,
    }
