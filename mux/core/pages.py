"""Pages of notebooks that attendees have open: what they say, and what is asked of them before a swap or a move.

A workspace that is about to be swapped or left is kept running while its pages save: until each of them has answered,
or `SAVE_MAX_S` have passed. Pages are memory only, like requests: after a restart of the mux they come back within
`PAGES_BACK_S`, before which nobody is stopped for either, and whoever was asked in vain is asked anew.

Rules: a page that does not answer delays what it was asked for and never prevents it. What a page says is believed of
its attendee alone: nothing that it says touches anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mux.core.events import FilesChanged, PageGone, PageSaid
from mux.core.model import ProjectName, UserId, WorkspaceState

if TYPE_CHECKING:
    from mux.core.ships import Ship, Workspace
    from mux.core.world import World

SAVE_MAX_S = 5.0
"""How long a swap or a move waits for pages: the largest notebooks save within a second or two."""
PAGES_BACK_S = 5.0
"""How long both wait after a restart of the mux: every page that was open tries again within that."""


@dataclass(frozen=True, slots=True)
class OpenPage:
    """What a page said last.

    Args:
        link: its connection; a later one of the same page counts.
        unsaved: documents with edits that are not saved.
        saved: number of the last request to save that it has carried out as far as it could.
    """

    link: int
    unsaved: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """What the pages of a workspace were asked.

    Args:
        user, project: whose pages.
        number: tells it from earlier ones, also from those before a restart.
        pages: who was asked, first those with unsaved edits.
        turns: how many of them these are; they write one after the other, since files that two browsers write in the
            same moment can become a mixture of both.
        until: when it is waited for no longer, in seconds since the epoch.
    """

    user: UserId
    project: ProjectName
    number: int
    pages: tuple[str, ...]
    turns: int
    until: float


@dataclass(frozen=True, slots=True)
class NotebookView:
    """What the pages of a workspace are told.

    Args:
        save: number of the request to save everything; 0 when there is none.
        updating: the workspace is being exchanged or moved, or is not there.
        run: another one with each start of the workspace; empty while it is being moved.
        files: another one whenever somebody else than the attendee has changed files of the running workspace: a file
            of theirs was started over, or an author saved one; empty while it is being moved.
        turns: pages that have something to save, in the order in which they are to.
    """

    save: int
    updating: bool
    run: str
    files: str = ""
    turns: tuple[str, ...] = ()

    def turn(self, page: str) -> int:
        """How many pages save before this one; 0 for a page that has nothing to save."""
        return self.turns.index(page) if page in self.turns else 0


def said(world: World, event: PageSaid) -> None:
    """Take in what a page says."""
    pages = world.pages.setdefault((event.user, event.project), {})
    pages[event.page] = OpenPage(event.link, event.unsaved, event.saved)


def gone(world: World, event: PageGone) -> None:
    """A page's connection has ended."""
    key = (event.user, event.project)
    pages = world.pages.get(key, {})
    page = pages.get(event.page)
    if page is not None and page.link == event.link:
        del pages[event.page]
        if not pages:
            del world.pages[key]


def files_changed(world: World, event: FilesChanged) -> None:
    """Have a project's open pages look at their files. Memory only: a page that misses it shows what it showed."""
    if event.project in world.projects:
        world.files_changed[event.project] = world.now


def come_back(world: World) -> None:
    """The mux has started anew: pages that were open are given the time to come back."""
    world.pages_back_at = world.now + PAGES_BACK_S
    world.deadlines.set(("rollout", "/pages"), world.pages_back_at)


def ask_to_save(world: World, ship: Ship, workspace: Workspace, within_s: float = SAVE_MAX_S) -> bool:
    """Ask the pages of a workspace to save, and wait so long for them; False when there is nobody to be asked."""
    user = ship.seats[workspace.seat].user
    pages = world.pages.get((user, workspace.project)) if user is not None else None
    if user is None or not pages or not workspace.healthy:
        return False
    until = world.now + min(within_s, SAVE_MAX_S)
    number = int(world.now * 1000)
    order = tuple(sorted(pages, key=lambda page: (pages[page].unsaved == 0, page)))
    turns = sum(page.unsaved > 0 for page in pages.values())
    world.save_requests[workspace.id] = SaveRequest(user, workspace.project, number, order, turns, until)
    world.deadlines.set(("rollout", workspace.id), until)
    return True


def has_saved(world: World, request: SaveRequest) -> bool:
    """Whether nothing need wait for its pages any more."""
    if world.now >= request.until:
        return True
    pages = world.pages.get((request.user, request.project), {})
    return all(name in pages and pages[name].saved == request.number for name in request.pages)


def notebook_view(world: World, user: UserId, project: ProjectName) -> NotebookView | None:
    """What the pages of an attendee's workspace are told; None where there is no workspace of theirs."""
    found = world.seat_of(user)
    workspace = found[1].workspaces.get(project) if found is not None else None
    if workspace is not None and workspace.state is WorkspaceState.SUSPENDED:
        return NotebookView(save=0, updating=True, run="")
    if workspace is None or workspace.state is not WorkspaceState.BOUND:
        return None
    request = world.save_requests.get(workspace.id)
    if request is not None and request.user != user:
        request = None
    place = world.published_routes.get((user, project))
    restarts = workspace.reported.restarts if workspace.reported is not None else 0
    over = workspace.started_over.number if workspace.started_over is not None else 0
    return NotebookView(
        save=request.number if request is not None else 0,
        updating=place is None or place.hold,
        run=f"{workspace.id} {workspace.digest[-12:]} {restarts}",
        files=f"{workspace.id} {over} {world.files_changed.get(project, 0.0):.3f}",
        turns=request.pages[: request.turns] if request is not None else (),
    )
