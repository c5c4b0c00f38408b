"""An engine for the pages' tests: holds views as the test sets them, and does with events what the core would."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mux.core.events import DoorsSet, Event, LoggedIn, LoggedOut, ProjectRequested, SeatReleased, UpdateAccepted
from mux.core.files import FilesView
from mux.core.model import Doors, ProjectName, ProjectSpec, Resources, SessionHash, ShipId, ShipState, UserId
from mux.core.pages import NotebookView
from mux.core.rollout import Rollout
from mux.core.rollout_views import Offer, RolloutView
from mux.core.routes import SessionEntry
from mux.core.views import AttendeeView, FleetStatus, ProjectCard, SeatView, ShipView, WaitingView
from mux.core.warming_views import SpendView, WarmingView
from mux.engine import ENDINGS, EngineRefusedError

PROJECTS: tuple[ProjectSpec, ...] = (
    ProjectSpec(ProjectName("intro"), "images/intro", "sha256:1", title="First steps"),
    ProjectSpec(ProjectName("deep-dive"), "images/deep-dive", "sha256:2", title="Deep dive", start="on_use"),
)


class Clock:
    """Time as the test sets it, in seconds since the epoch."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """Satisfies `mux.web.deps.EngineLike`. Seats are what the test says with :meth:`seat` and :meth:`queue`."""

    def __init__(self) -> None:
        self.specs = PROJECTS
        self.sessions: dict[SessionHash, SessionEntry] = {}
        self.views: dict[UserId, AttendeeView] = {}
        self.work: dict[UserId, tuple[FilesView, ...]] = {}
        self.routes: set[tuple[UserId, ProjectName]] = set()
        self.notebooks: dict[tuple[UserId, ProjectName], NotebookView] = {}
        self.events: list[Event] = []
        self.fleet = status()
        self.rolling: tuple[RolloutView, ...] = ()
        self.warm = warming()
        self.busy = False
        self.trouble = ""
        self.looks = 0
        self._version = 0
        self._news = asyncio.Condition()

    def session(self, session: SessionHash, now: float) -> SessionEntry | None:
        entry = self.sessions.get(session)
        return entry if entry is not None and entry.expires_at > now else None

    def attendee_view(self, user: UserId, now: float) -> AttendeeView:
        self.looks += 1
        return self.views.get(user, self._seated({}))

    def notebook_view(self, user: UserId, project: ProjectName) -> NotebookView | None:
        return self.notebooks.get((user, project))

    def route_ready(self, user: UserId, project: ProjectName) -> bool:
        return (user, project) in self.routes

    def status(self, now: float) -> FleetStatus:
        return self.fleet

    def rollouts(self) -> tuple[RolloutView, ...]:
        return self.rolling

    def warming(self, now: float) -> WarmingView:
        return self.warm

    def projects(self) -> tuple[ProjectSpec, ...]:
        return self.specs

    def files(self, user: UserId) -> tuple[FilesView, ...]:
        return self.work.get(user, ())

    def seats_left(self) -> int:
        return 3

    async def submit(self, *events: Event) -> None:
        if self.busy and not all(isinstance(event, ENDINGS) for event in events):
            raise EngineRefusedError("the store does not answer")
        for event in events:
            self.events.append(event)
            match event:
                case LoggedIn(user, session, expires_at):
                    self.sessions[session] = SessionEntry(user, expires_at)
                case LoggedOut(session):
                    self.sessions.pop(session, None)
                case ProjectRequested(user, project):
                    self._set_card(user, project, "starting", "It is being started.")
                case UpdateAccepted(user, project, number):
                    await self.offer(user, project, Offer(number, "", accepted=True))
                case DoorsSet(doors):
                    self.fleet = replace(self.fleet, doors=doors, doors_open=doors is Doors.OPEN)
                case SeatReleased(user):
                    self.views.pop(user, None)
        await self.news()

    async def changed(self, since: int, timeout_s: float) -> int:
        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(lambda: self._version > since), timeout_s)
            except TimeoutError:
                return since
        return self._version

    async def news(self) -> None:
        """Something has changed."""
        async with self._news:
            self._version += 1
            self._news.notify_all()

    async def seat(self, user: UserId, cards: dict[str, tuple[str, str]], *open_: str) -> None:
        """Give ``user`` a seat with these cards, project → (state, text); routes for the projects of ``open_``."""
        self.views[user] = self._seated(cards)
        self.routes |= {(user, ProjectName(name)) for name in open_}
        await self.news()

    async def offer(self, user: UserId, project: ProjectName, offer: Offer | None) -> None:
        """Offer ``user`` another image of a project."""
        view = self.views.get(user, self._seated({}))
        cards = tuple(replace(card, offer=offer) if card.name == project else card for card in view.projects)
        self.views[user] = replace(view, projects=cards)
        await self.news()

    async def queue(self, user: UserId, position: int, total: int, text: str, code: str = "full") -> None:
        """Put ``user`` into the queue."""
        cards = tuple(ProjectCard(one.name, one.title, "waiting", "Opens when you have a seat.") for one in self.specs)
        self.views[user] = AttendeeView(WaitingView(position, total, code, text), cards)
        await self.news()

    async def tell(self, user: UserId, text: str) -> None:
        """Have organizers tell ``user`` something."""
        self.views[user] = replace(self.views.get(user, self._seated({})), broadcast=text, broadcast_at=17.5)
        await self.news()

    def _seated(self, cards: dict[str, tuple[str, str]]) -> AttendeeView:
        def card(spec: ProjectSpec) -> ProjectCard:
            default = ("on_use", "Starts when you open it.") if spec.start == "on_use" else ("starting", "It starts.")
            state, text = cards.get(spec.name, default)
            return ProjectCard(spec.name, spec.title, state, text)  # type: ignore[arg-type]

        return AttendeeView(None, tuple(card(spec) for spec in self.specs))

    def _set_card(self, user: UserId, project: ProjectName, state: str, text: str) -> None:
        view = self.views.get(user, self._seated({}))
        cards = tuple(
            replace(card, state=state, text=text) if card.name == project else card  # type: ignore[arg-type]
            for card in view.projects
        )
        self.views[user] = replace(view, projects=cards)


def status(**changes: object) -> FleetStatus:
    """A room with one ship and one attendee."""
    whole = FleetStatus(
        event="Summer school",
        doors=Doors.AUTO,
        doors_open=True,
        launching=True,
        launching_text="",
        seats_wanted=4,
        seats_total=4,
        seats_ready=3,
        seats_assigned=1,
        waiting=0,
        sessions=1,
        ships_by_state={ShipState.RUNNING: 1},
        projects_broken={},
        opt_ins={},
        ships=(ship(),),
        notices=((1_700_000_000.0, "info", "ship-0001", "is available"),),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def warming(**changes: object) -> WarmingView:
    """Four seats, all of them ready, at a price."""
    spend = SpendView("USD", 12.5, 4.0, 60.0, 100.0, 3.1, known=True)
    whole = WarmingView(4, 4, None, None, 0.0, "word", "", True, "", False, {"running": 1}, (), spend)
    return replace(whole, **changes)  # type: ignore[arg-type]


def rolling(rollout: Rollout | None = None, **changes: object) -> RolloutView:
    """A rollout of intro in its waves."""
    rollout = rollout or Rollout(
        ProjectName("intro"), 1, "example.org/intro:fix7", f"sha256:{'1' * 64}", "example.org/intro", "sha256:0", ""
    )
    whole = RolloutView(rollout, "swapping", 3, 3, 3, 40, 11, 4, 25, 0, 0, 0, 300.0, "the wave under way")
    return replace(whole, **changes)  # type: ignore[arg-type]


def ship(**changes: object) -> ShipView:
    """A ship with two seats, the first of them ada's."""
    whole = ShipView(
        id=ShipId("ship-0001"),
        state=ShipState.RUNNING,
        boot=1,
        linked=True,
        conditions=(),
        phase="steady",
        generation=4,
        generation_reached=4,
        last_seen_s=2.0,
        resources=Resources(2, 0.4, 8 << 30, 6 << 30, 80 << 30, 61 << 30),
        limits=("pids",),
        limits_missing=("memory",),
        seats=(
            SeatView(0, UserId("u-ada"), True, {ProjectName("intro"): "bound"}, {}),
            SeatView(1, None, True, {ProjectName("intro"): "warm"}, {}),
        ),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]
