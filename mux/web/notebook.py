"""``/camp/live/<project>``: the live channel of an attendee's notebook pages.

Owns what is said there, both ways. Everything that a page says is hostile
text: read by a bounded model, and believed of its own attendee alone.

Rules: both sides say all that is so, never what has changed. Nothing that a page says is acted on here: it becomes an
event, and the core decides.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field

from mux.core.events import AttendeesActive, PageGone, PageSaid
from mux.core.model import ProjectName, UserId
from mux.core.pages import NotebookView
from mux.engine import EngineBusyError
from mux.web.camp_view import Notice
from mux.web.deps import EngineLike
from mux.web.offers import accept_update

UNSAVED_MAX = 10_000
"""More open documents than any browser holds."""


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


class NotebookPage:
    """One page's connection: what it says becomes events.

    Args:
        engine: takes them.
        user, project: whose page, and of what.
    """

    _links = itertools.count(1)

    def __init__(self, engine: EngineLike, user: UserId, project: ProjectName) -> None:
        self._engine = engine
        self._user = user
        self._project = project
        self._link = next(self._links)
        self._last: PageState | None = None

    async def heard(self, text: str) -> None:
        """Take in a word. Raises ValueError for what is none, EngineBusyError."""
        word = orjson.loads(text)
        if isinstance(word, dict) and "accept" in word:
            accepted = Acceptance.model_validate(word).accept
            await accept_update(self._engine, self._user, accepted.project, accepted.number)
        else:
            await self._said(PageState.model_validate(word))

    async def _said(self, state: PageState) -> None:
        last, self._last = self._last, state
        if last is not None and last.page != state.page:
            raise ValueError("a page is another page than before")
        events: list[PageSaid | AttendeesActive] = []
        if last is None or (last.unsaved, last.saved) != (state.unsaved, state.saved):
            events.append(PageSaid(self._user, self._project, state.page, self._link, state.unsaved, state.saved))
        if state.active:
            events.append(AttendeesActive(((self._user, self._project),), source="page"))
        if events:
            await self._engine.submit(*events)

    async def closed(self) -> None:
        """The connection has ended."""
        if self._last is not None:
            with contextlib.suppress(EngineBusyError):
                await self._engine.submit(PageGone(self._user, self._project, self._last.page, self._link))


def notebook_message(view: NotebookView | None, notices: Sequence[Notice]) -> str:
    """What the pages of a notebook are told now."""
    word = {
        "save": view.save if view else 0,
        "updating": view.updating if view else False,
        "run": view.run if view else "",
        "notices": notices,
    }
    return orjson.dumps(word).decode()
