"""Pages of notebooks that people of a house have open, and what must hold of swaps and moves that wait for them.

A page looks at what it is told, as it would be sent, and answers in its own way: soon, late, never, wrongly, or by
going away. It outlives the mux and tries again once that is back. The rules are told what the core was told, and look
at its requests from there: whoever has a page open is asked, nobody is swapped or stopped to be moved before the pages
that were asked have saved, and none is waited for longer than it may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mux.core.events import Event, PageGone, PageSaid, ShipReported
from mux.core.model import MachineStatus, ReportedState, ShipId, WorkspaceId, WorkspaceState
from mux.core.pages import PAGES_BACK_S, SAVE_MAX_S, SaveRequest, notebook_view
from mux.core.routes import RouteKey
from mux.core.ships import Workspace

if TYPE_CHECKING:
    from mux.core.world import World
    from tests.sim.actions import Action
    from tests.sim.house import House

LOOK_S = 0.5
"""How often a page gets what has changed."""
PAGES_MAX = 8
BOOTS_LOOKS_MAX = 100
"""How often it is looked whether somebody has been asked, before a machine is let alone."""
LATE_S = 1.0
"""What ends at a moment may end with the first look after it."""
Way = Literal["soon", "soon", "late", "never", "wrongly", "leaves"]
WAYS: tuple[Way, ...] = ("soon", "soon", "late", "never", "wrongly", "leaves")


@dataclass(slots=True)
class Page:
    """One page in somebody's browser.

    Args:
        name: as it calls itself.
        key: whose it is, and of which project.
        way: how it answers a request to save.
        link: of its connection; 0 without one.
        process: of the mux that it is connected to.
        save: number of the last request that it has seen.
    """

    name: str
    key: RouteKey
    way: Way
    link: int = 0
    process: int = 0
    save: int = 0


class Notebooks:
    """The pages of one house.

    Args:
        house: whose people these are.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._pages: list[Page] = []
        self._links = 0

    def act(self, action: Action) -> None:
        """Somebody opens, closes or reloads a page, or their machine boots anew at a bad moment."""
        if action.kind == "page_opens":
            self._opens(action)
        elif action.kind == "asked_boots":
            self._boots_when_asked(BOOTS_LOOKS_MAX)
        elif self._pages:
            page = self._pages[action.pick % len(self._pages)]
            if action.kind == "page_closes":
                self._pages.remove(page)
                self._ends(page, page.link)
            else:
                before = page.link
                self._connects(page)  # the end of the connection before comes after it
                self._ends(page, before)

    def _opens(self, action: Action) -> None:
        keys = sorted(self._house.mux.routes)
        if keys and len(self._pages) < PAGES_MAX:
            key = keys[action.pick % len(keys)]
            page = Page(f"page {action.at} {action.pick}", key, WAYS[int(action.size * len(WAYS))])
            self._pages.append(page)
            self._connects(page)
            self._house.time.after(LOOK_S, self._look, page)

    def _boots_when_asked(self, looks: int) -> None:
        """The machine of somebody whose pages are waited for boots anew, and they close them."""
        house = self._house
        requests = house.mux.fleet.world.save_requests if house.mux.up else {}
        for identity, request in requests.items():
            machine = house.provider.machines.get(ShipId(identity.partition(".")[0]))
            if machine is not None and machine.up and machine.status is MachineStatus.RUNNING:
                for page in [page for page in self._pages if page.key == (request.user, request.project)]:
                    self._pages.remove(page)
                    self._ends(page, page.link)
                house.provider.reboot(machine)
                return
        if looks:
            house.time.after(LOOK_S, self._boots_when_asked, looks - 1)

    def _connects(self, page: Page) -> None:
        mux = self._house.mux
        if mux.up:
            self._links += 1
            page.link, page.process = self._links, mux.process
            self._says(page, page.save)

    def _ends(self, page: Page, link: int) -> None:
        if link and page.process == self._house.mux.process:
            self._house.mux.post(PageGone(*page.key, page.name, link))

    def _says(self, page: Page, saved: int) -> None:
        self._house.mux.post(PageSaid(*page.key, page.name, page.link, int(saved != page.save), saved))

    def _look(self, page: Page) -> None:
        if page not in self._pages:
            return
        house, pause_s = self._house, LOOK_S
        if not house.mux.up:
            page.link = 0
        elif page.process != house.mux.process or not page.link:
            page.link, page.process = 0, house.mux.process
            back_s = house.dice.between(0.1, 1.2 * PAGES_BACK_S, "back", page.name, house.time.now)
            house.time.after(back_s, self._comes_back, page)
            pause_s = back_s + LOOK_S
        elif (view := notebook_view(house.mux.fleet.world, *page.key)) and view.save not in (0, page.save):
            page.save = view.save
            self._answers(page)
        house.time.after(pause_s, self._look, page)

    def _comes_back(self, page: Page) -> None:
        if page in self._pages and not page.link:
            self._connects(page)

    def _answers(self, page: Page) -> None:
        house, number = self._house, page.save
        takes_s = house.dice.between(0.1, 1.5, "saves", page.name, number)
        match page.way:
            case "soon":
                house.time.after(takes_s, self._saved, page, number)
            case "late":
                house.time.after(SAVE_MAX_S * (0.5 + takes_s), self._saved, page, number)
            case "wrongly":
                house.time.after(takes_s, self._saved, page, number - 1)
            case "leaves":
                self._ends(page, page.link)
                page.link = 0
            case "never":
                pass

    def _saved(self, page: Page, number: int) -> None:
        if page in self._pages and page.link and page.process == self._house.mux.process:
            self._says(page, number)


class SaveRules:
    """What is remembered of pages and of requests to save between two looks."""

    def __init__(self) -> None:
        self._open: dict[tuple[RouteKey, str], tuple[int, int]] = {}
        self._asked: dict[WorkspaceId, tuple[SaveRequest, float]] = {}
        self._before: dict[WorkspaceId, tuple[bool, bool, bool]] = {}

    def restarted(self) -> None:
        """A new process of the mux: no page is connected to it, and none is waited for."""
        self._open.clear()
        self._asked.clear()
        self._before.clear()

    def broken(self, world: World, events: Sequence[Event]) -> Iterator[str]:
        """After a batch."""
        were_open = {key for key, _ in self._open}
        for event in events:
            match event:
                case PageSaid(user, project, page, link, _, saved):
                    self._open[((user, project), page)] = link, saved
                case PageGone(user, project, page, link):
                    if self._open.get(((user, project), page), (0, 0))[0] == link:
                        del self._open[((user, project), page)]
        still_open = were_open & {key for key, _ in self._open}
        # Nobody is asked in a workspace that does not answer, as its ship may have said in this very batch.
        heard = [event for event in events if isinstance(event, ShipReported)]
        down = {w.id for event in heard for w in event.report.workspaces if w.state is not ReportedState.HEALTHY}
        down |= {identity for event in heard for identity in _unsaid(world, event)}
        yield from self._waited_for(world)
        asked = {}
        for ship in world.ships.values():
            for each in ship.workspaces.values():
                owner = ship.seats[each.seat].user
                key = None if owner is None else (owner, each.project)
                open_page = key in still_open and each.id not in down
                yield from self._swapped(world, each, open_page=open_page)
                if owner in world.sessions_of:  # nobody else can save
                    yield from self._left(world, each, open_page=open_page)
                asked[each.id] = each.healthy, bool(each.previous), each.state is WorkspaceState.SUSPENDED
        self._before = asked
        self._asked = {
            identity: self._asked[identity] if self._same(identity, request) else (request, world.now)
            for identity, request in world.save_requests.items()
        }

    def _same(self, identity: WorkspaceId, request: SaveRequest) -> bool:
        return identity in self._asked and self._asked[identity][0].number == request.number

    def _waited_for(self, world: World) -> Iterator[str]:
        for identity, request in world.save_requests.items():
            since = self._asked[identity][1] if self._same(identity, request) else world.now
            if world.now > since + SAVE_MAX_S + LATE_S:
                yield f"the pages of {identity} are still waited for"
            if self._all_saved(request):
                yield f"{identity} waits although its pages have saved"

    def _swapped(self, world: World, each: Workspace, *, open_page: bool) -> Iterator[str]:
        was_healthy, was_on_trial, _ = self._before.get(each.id, (False, False, False))
        if each.previous and each.previous == each.digest:
            yield f"{each.id} has no way back from its swap"
        if each.previous and not was_on_trial:
            yield from self._stopped(world, each, "swapped", open_page=open_page and was_healthy)

    def _left(self, world: World, each: Workspace, *, open_page: bool) -> Iterator[str]:
        was_healthy, _, was_stopped = self._before.get(each.id, (False, False, False))
        if each.state is WorkspaceState.SUSPENDED and not was_stopped:
            yield from self._stopped(world, each, "left", open_page=open_page and was_healthy)

    def _stopped(self, world: World, each: Workspace, what: str, *, open_page: bool) -> Iterator[str]:
        asked = self._asked.get(each.id)
        if asked is None:
            if open_page:
                yield f"{each.id} is {what} and its pages were not asked"
        else:
            # A machine may end sooner than its pages save: who leaves it is not held up for all of that time.
            until = asked[1] + SAVE_MAX_S if what == "swapped" else min(asked[1] + SAVE_MAX_S, asked[0].until)
            if world.now < until and not self._all_saved(asked[0]):
                yield f"{each.id} is {what} before its pages have saved"

    def _all_saved(self, request: SaveRequest) -> bool:
        key = (request.user, request.project)
        return all(self._open.get((key, page), (0, 0))[1] == request.number for page in request.pages)


def _unsaid(world: World, event: ShipReported) -> set[WorkspaceId]:
    """What a ship has by what the mux knows, and does not name."""
    ship = world.ships.get(event.ship)
    return set(ship.workspaces if ship is not None else ()) - {word.id for word in event.report.workspaces}
