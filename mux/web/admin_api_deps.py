"""What the admin API is given: protocols of the parts behind it, and `AdminDeps`, which holds one of each.

Owns shapes only. `mux.auth` stands beside `mux.web`, so the roster and the tokens come in as protocols; the daemon
wires them. A refusal of theirs is any exception of `AdminDeps.refusals`: its text is for people, ``code`` (if it has
one) for machines, ``faults`` (if it has them) are lines of detail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mux.core.events import Event
from mux.core.files import FilesView
from mux.core.model import HeldImage, ProjectName, ProjectSpec, Role, UserId
from mux.core.rollout_views import RolloutView
from mux.core.views import FleetStatus
from mux.core.warming_views import Forecast, WarmingView
from mux.files.base import FilesStore
from mux.store.base import ApiToken, Store, User
from mux.tls.keeper import SiteStatus
from mux.web.admin_api_guard import BrowserScopes, CheckToken
from mux.web.api_models import Change

SecretValues = Mapping[ProjectName, Mapping[str, Mapping[str, str]]]
"""Project → attendee's folded name or e-mail address (``*`` for everybody) → variable → value."""


class AdminEngine(Protocol):
    """The engine, as far as organizers reach it."""

    def status(self, now: float) -> FleetStatus:
        """The room at a glance."""

    def warming(self, now: float) -> WarmingView:
        """How warming goes on."""

    def forecast(self, now: float, seats: int | None, by: float) -> Forecast:
        """What so many seats would take and cost; None for as many as the event file says."""

    def rollouts(self) -> tuple[RolloutView, ...]:
        """How the latest rollout of each project stands."""

    def projects(self) -> tuple[ProjectSpec, ...]:
        """The event's projects."""

    def files(self, user: UserId) -> tuple[FilesView, ...]:
        """An attendee's files, project by project."""

    async def submit(self, *events: Event) -> None:
        """Hand events over; returns when they have been persisted and published. Raises StoreError."""


class GeneratedCode(Protocol):
    """A code that was made just now, and whose it is."""

    @property
    def name(self) -> str:
        """The entry's."""

    @property
    def email(self) -> str:
        """The entry's; may be empty."""

    @property
    def role(self) -> Role:
        """The entry's."""

    @property
    def code(self) -> str:
        """As it is to be typed."""


class RosterChanges(Protocol):
    """What an import, or the making of other codes, changed."""

    @property
    def created(self) -> int:
        """New entries."""

    @property
    def updated(self) -> int:
        """Entries that are not as before."""

    @property
    def unchanged(self) -> int:
        """Entries that are."""

    @property
    def codes(self) -> Sequence[GeneratedCode]:
        """Codes made by it."""

    @property
    def revoked(self) -> Sequence[UserId]:
        """Whose sessions have to end."""


class RosterAdmin(Protocol):
    """Who may enter. Calls raise one of `AdminDeps.refusals`; ``login`` is a name, an e-mail address or an id."""

    async def import_csv(self, text: str, now: float) -> RosterChanges:
        """Take in a roster, all of it or nothing."""

    async def add(
        self, name: str, email: str = "", role: Role = Role.ATTENDEE, *, now: float
    ) -> tuple[User, GeneratedCode | None]:
        """One new entry with a generated code."""

    async def reset(self, login: str) -> tuple[User, GeneratedCode]:
        """Another code; the old credential is void."""

    async def remove(self, login: str) -> User:
        """Delete an entry."""

    async def remove_all(self) -> Sequence[UserId]:
        """Delete every entry; whose they were."""

    async def reissue(self) -> RosterChanges:
        """Other codes for all who have one and have never logged in."""


class TokenAdmin(Protocol):
    """Tokens of this API. Calls raise one of `AdminDeps.refusals`."""

    async def check(self, token: str) -> ApiToken | None:
        """Which token this is, None for one that is not ours; constant time."""

    async def mint(self, name: str, scopes: Iterable[str], now: float) -> str:
        """A new token, shown once. ``now`` in seconds since the epoch."""

    async def revoke(self, name: str) -> bool:
        """Delete a token; False when there was none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What putting an event file in force would do.

    Args:
        id: stands for the file, its secrets and what is in force now.
        changes: differences, by key.
        warnings: what is allowed, but likely not meant.
        first: nothing was in force before.
    """

    id: str
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    first: bool = False


class ApplyError(Exception):
    """An event file is not put in force.

    Args:
        code: ``event_invalid`` (the file is wrong) or ``plan_stale`` (something changed since the plan).
        message: for people.
        faults: every fault of the file.
    """

    def __init__(self, code: str, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.faults = tuple(faults)


class Applier(Protocol):
    """Puts event files in force. With ``secrets`` None they are read from the files that the
    event file names."""

    async def plan(self, text: str, secrets: SecretValues | None) -> Plan:
        """What would change. Raises ApplyError."""

    async def apply(self, text: str, secrets: SecretValues | None, expected: str) -> Plan:
        """Put it in force, if ``expected`` is still the plan's id. Raises ApplyError, StoreError."""


class PushError(Exception):
    """An image is not pushed. ``code`` for machines, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class PushedImage:
    """What an image stands for.

    Args:
        image: where ships have it.
        digest: what they run.
        fetched_bytes: what of it has to travel to ships that hold the images before; None where that is not known.
        packed: it travels compressed, and takes more on a disk.
    """

    image: str
    digest: str
    fetched_bytes: int | None = None
    packed: bool = True


class ImageAdmin(Protocol):
    """Knows what images stand for."""

    async def resolve(self, project: ProjectName, image: str, held: Sequence[HeldImage]) -> PushedImage:
        """What an image stands for now. ``held``: what ships have already. Raises PushError, StoreError."""


@dataclass(frozen=True, slots=True)
class Reaping:
    """How the ending of everything that bears the event's marks stands.

    Args:
        running: under way.
        machines: ended by it, and seen to be gone.
        things: launch templates, disks and the like that were deleted.
        foreign: machines of the same event that belong to another mux, and were left alone.
        error: why it ended early; empty if it did not.
    """

    running: bool
    machines: int = 0
    things: int = 0
    foreign: int = 0
    error: str = ""


class ReapAdmin(Protocol):
    """Ends whatever bears the event's marks."""

    async def begin(self, *, foreign: bool) -> Reaping:
        """Begin, unless it is under way. ``foreign``: what belongs to another mux too. Raises StoreError."""

    def state(self) -> Reaping:
        """How it stands."""


@dataclass(frozen=True, slots=True)
class AdminDeps:
    """What the admin API works with.

    Args:
        engine: the engine.
        store: the store; the API reads the roster and the event file from it.
        roster: who may enter.
        tokens: tokens of this API.
        applier: puts event files in force.
        images: knows what images stand for.
        reaper: ends whatever bears the event's marks.
        files: where attendees' work is kept.
        clock: seconds since the epoch.
        metrics: the Prometheus text.
        version: the program's.
        public_address: where attendees go; stands on their slips.
        browser_scopes: scopes of the organizers' browser session that a request carries; None without pages.
        certificates: how the sites stand that are served over TLS.
        refusals: exceptions of ``roster`` and ``tokens`` that mean a refusal, not a defect.
        time_zone: of the event; times of day are of it.
    """

    engine: AdminEngine
    store: Store
    roster: RosterAdmin
    tokens: TokenAdmin
    applier: Applier
    images: ImageAdmin
    reaper: ReapAdmin
    files: FilesStore
    clock: Callable[[], float]
    metrics: Callable[[], str]
    version: str
    public_address: str
    browser_scopes: BrowserScopes | None = None
    certificates: Callable[[], Sequence[SiteStatus]] = tuple
    refusals: tuple[type[Exception], ...] = ()
    time_zone: Callable[[], str] = lambda: "UTC"

    @property
    def check_token(self) -> CheckToken:
        """How a bearer token is checked."""
        return self.tokens.check
