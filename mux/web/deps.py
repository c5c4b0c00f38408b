"""What the pages are given: the engine as they see it, who may enter, and the words of this event.

Owns no behaviour. The pages never reach into the fleet: they read views and submit events, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mux.auth.login import Auth
from mux.core.events import Event
from mux.core.files import FilesView
from mux.core.model import ProjectName, ProjectSpec, SessionHash, UserId
from mux.core.pages import NotebookView
from mux.core.rollout_views import RolloutView
from mux.core.routes import SessionEntry
from mux.core.views import AttendeeView, FleetStatus
from mux.core.warming_views import WarmingView
from mux.files.base import FilesStore
from mux.keys import Keyring
from mux.store.base import Store


class EngineLike(Protocol):
    """The engine, as far as pages need it. Times are seconds since the epoch."""

    @property
    def trouble(self) -> str:
        """Why nothing can be persisted now; empty when all is well."""

    def session(self, session: SessionHash, now: float) -> SessionEntry | None:
        """The entry of a login in force, or None."""

    def attendee_view(self, user: UserId, now: float) -> AttendeeView:
        """What ``/camp/`` shows this attendee."""

    def notebook_view(self, user: UserId, project: ProjectName) -> NotebookView | None:
        """What the pages of an attendee's notebook are told; None where there is no workspace."""

    def route_ready(self, user: UserId, project: ProjectName) -> bool:
        """Whether requests of this attendee for this project have somewhere to go."""

    def status(self, now: float) -> FleetStatus:
        """The room at a glance."""

    def rollouts(self) -> tuple[RolloutView, ...]:
        """How the latest rollout of each project stands."""

    def warming(self, now: float) -> WarmingView:
        """How warming goes on, and what it costs."""

    def projects(self) -> tuple[ProjectSpec, ...]:
        """The event's projects, in the order of the event file."""

    def files(self, user: UserId) -> tuple[FilesView, ...]:
        """An attendee's files, project by project."""

    def seats_left(self) -> int:
        """Seats that newcomers may still register for."""

    async def submit(self, *events: Event) -> None:
        """Returns when the events are persisted and in force.

        Raises EngineBusyError when that takes too long, EngineRefusedError when they were not taken in.
        """

    async def changed(self, since: int, timeout_s: float) -> int:
        """Wait until anything has changed after version ``since``: the newest version, or ``since`` after the time."""


@dataclass(frozen=True, slots=True)
class WebDeps:
    """Everything that both apps are made from.

    Args:
        engine: views and events.
        auth: who may enter. Its settings say whether newcomers may choose a name, also after `mux apply`.
        store: the roster, for names, and organizers' sessions.
        keys: for form tokens.
        event_name: as people know it.
        public_origin: scheme, host and port that attendees use.
        admin_origin: the same for organizers; another host *name*, since cookies ignore ports.
        runtime: of the ships, ``process`` or ``docker``: the login page says when workspaces are not isolated.
        secure: attendees come over https, so cookies carry Secure.
        clock: seconds since the epoch.
        files: where attendees' work is kept.
        trusted_proxies: networks whose X-Forwarded-For is believed on the organizers' listener.
    """

    engine: EngineLike
    auth: Auth
    store: Store
    keys: Keyring
    event_name: str
    public_origin: str
    admin_origin: str
    runtime: str
    secure: bool
    clock: Callable[[], float]
    files: FilesStore
    trusted_proxies: Sequence[str] = ()
