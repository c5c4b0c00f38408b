"""``/camp/live/<project>``: the live channel of an attendee's notebook pages.

Owns what is said there, both ways. Everything that a page says is hostile
text: read by a bounded model, and believed of its own attendee alone.

Rules: both sides say all that is so, never what has changed. Nothing that a page says is acted on here: it becomes an
event, and the core decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field

from mux.core.events import AttendeesActive, PageGone, PageSaid
from mux.core.model import ProjectName, UserId
from mux.core.pages import NotebookView
from mux.engine import EngineBusyError, EngineRefusedError
from mux.web.camp_view import Notice
from mux.web.deps import EngineLike
from mux.web.offers import accept_update

UNSAVED_MAX = 10_000
"""More open documents than any browser holds."""
WORKING_TOLD_S = 5.0
"""How often the core is told who works: often enough for the shortest time after which anybody counts as idle."""


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PageState(_Word):
    """How a page is. See `IPageState` in ``labextension/src/messages.ts``."""

    page: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    unsaved: Annotated[int, Field(ge=0, le=UNSAVED_MAX)]
    busy: bool
    active: bool
    saved: Annotated[int, Field(ge=0, lt=2**53)]


class _Accepted(_Word):
    project: Annotated[str, Field(max_length=40)]
    number: Annotated[int, Field(ge=0, lt=2**53)]


class Acceptance(_Word):
    """The attendee pressed the button of a notice."""

    accept: _Accepted


class Working:
    """Who works in a notebook, told together: one event for the room every few seconds, not one for each page."""

    def __init__(self, engine: EngineLike) -> None:
        self._engine = engine
        self._who: dict[tuple[UserId, ProjectName], None] = {}
        self._telling: asyncio.Task[None] | None = None

    def note(self, user: UserId, project: ProjectName) -> None:
        """Somebody works."""
        self._who[user, project] = None
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="who works in notebooks")

    async def _tell(self) -> None:
        while self._who:
            await asyncio.sleep(WORKING_TOLD_S)
            who, self._who = tuple(self._who), {}
            # What a busy mux does not take in is said again by whoever works on.
            with contextlib.suppress(EngineBusyError):
                await self._engine.submit(AttendeesActive(who, source="page"))


class NotebookPage:
    """One page's connection: what it says becomes events.

    Args:
        engine: takes them.
        working: takes that somebody works.
        user, project: whose page, and of what.
    """

    _links = itertools.count(1)

    def __init__(self, engine: EngineLike, working: Working, user: UserId, project: ProjectName) -> None:
        self._engine = engine
        self._working = working
        self._user = user
        self._project = project
        self._link = next(self._links)
        self._last: PageState | None = None

    @property
    def name(self) -> str:
        """What the page calls itself; empty before it has said so."""
        return self._last.page if self._last is not None else ""

    async def heard(self, text: str) -> None:
        """Take in a word. Raises ValueError for what is none, EngineBusyError."""
        word = orjson.loads(text)
        if isinstance(word, dict) and "accept" in word:
            accepted = Acceptance.model_validate(word).accept
            await accept_update(self._engine, self._user, accepted.project, accepted.number)
        else:
            await self._said(PageState.model_validate(word))

    async def _said(self, state: PageState) -> None:
        last = self._last
        if last is not None and last.page != state.page:
            raise ValueError("a page is another page than before")
        self._last = state
        if state.active or state.busy:
            self._working.note(self._user, self._project)
        if last is None or (last.unsaved, last.saved) != (state.unsaved, state.saved):
            said = PageSaid(self._user, self._project, state.page, self._link, state.unsaved, state.saved)
            try:
                await self._engine.submit(said)
            except EngineRefusedError:
                self._last = last  # the core does not know it, and so need not be told of its end
                raise

    async def closed(self) -> None:
        """The connection has ended. A busy mux is told, too: a swap waits for every page that it takes to be open."""
        if self._last is not None:
            with contextlib.suppress(EngineBusyError):
                await self._engine.submit(PageGone(self._user, self._project, self._last.page, self._link))


def notebook_message(view: NotebookView | None, notices: Sequence[Notice], page: str) -> str:
    """What a page of a notebook is told now; ``page``: what it calls itself."""
    word = {
        "save": view.save if view else 0,
        "turn": view.turn(page) if view else 0,
        "updating": view.updating if view else False,
        "run": view.run if view else "",
        "files": view.files if view else "",
        "notices": notices,
    }
    return orjson.dumps(word).decode()
