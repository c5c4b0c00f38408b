"""The store's protocol: what every backend does, and `tests/store` proves of each.

The store holds what is wanted and who may enter. A commit is one transaction: all of it or nothing, durable when the
call returns. The core's records come back exactly as they were saved. It enforces, on its own, that a seat belongs to
one attendee and that roster names and e-mail addresses are unique.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mux.core.commands import Behind, Persist, SaveControls, ShipRecord
from mux.core.model import Assignment, ProjectName, Role, Session, SessionHash, UserId, Waiting
from mux.core.rollout import Rollout
from mux.core.spend import Meter


class StoreError(Exception):
    """The store could not do it. ``code`` for the machine, the message for people.

    Retryable errors (disk full, locked) may pass; the others are defects or damage.
    """

    code = "store"
    retryable = False


class StoreUnavailableError(StoreError):
    """Disk full, locked, connection lost: nothing was written; try again."""

    code = "store_unavailable"
    retryable = True


class ConflictError(StoreError):
    """A rule that the store enforces would be broken: a seat or a name that is taken. ``key`` says which."""

    code = "store_conflict"

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class Records:
    """Everything that the core is restored from.

    Args:
        ships: every ship that is not terminated, and terminated ones of the last day.
        assignments: current ones.
        epochs: highest epoch ever given, by user, current or not.
        sessions: not expired ones.
        waiting: the queue.
        controls: None before the first save.
        meter: what has been spent; None before the first save.
        rollouts: the latest of each project that has had one.
        wishes: to start over, that no workspace has, by user and project; see `SaveWishes`.
        behind: how old the files are that moved attendees came back to, by user and project.
    """

    ships: tuple[ShipRecord, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    epochs: Mapping[UserId, int] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    controls: SaveControls | None = None
    meter: Meter | None = None
    rollouts: tuple[Rollout, ...] = ()
    wishes: Mapping[UserId, Mapping[ProjectName, str]] = field(default_factory=dict)
    behind: Mapping[UserId, Mapping[ProjectName, Behind]] = field(default_factory=dict)


CredentialKind = Literal["code", "password", "none"]


@dataclass(frozen=True, slots=True)
class User:
    """One entry of the roster.

    Args:
        id: opaque, random.
        name: as shown; unique after folding (Unicode NFKC, case, spaces).
        email: may be empty; unique after folding when it is not.
        role: what they may do.
        credential_kind: ``code`` (generated, kept as keyed hash) or ``password`` (chosen, kept as argon2id).
        credential: the hash; never the secret.
        self_registered: came in with the event passcode.
        created_at: seconds since the epoch.
    """

    id: UserId
    name: str
    email: str
    role: Role
    credential_kind: CredentialKind
    credential: str = field(repr=False)
    self_registered: bool = False
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token of the admin API: only its hash is kept. ``scopes``: ``read``, ``fleet``, ``roster``, ``apply``."""

    name: str
    hash: str = field(repr=False)
    scopes: tuple[str, ...]
    created_at: float


@dataclass(frozen=True, slots=True)
class OrganizerSession:
    """A login on the organizers' host; never one of an attendee. Ends with the roster entry that it belongs to.

    Args:
        hash: of the token, as :func:`mux.keys.session_hash` makes it.
        user: whose it is.
        expires_at: seconds since the epoch.
    """

    hash: SessionHash
    user: UserId
    expires_at: float


class Store(Protocol):
    """What every backend does. All calls raise :class:`StoreError`; none blocks the event loop."""

    async def open(self) -> None:
        """Create or migrate the schema. Raises StoreError when the database is newer than the program."""

    async def close(self) -> None:
        """Finish and let go. The store is not used afterwards."""

    async def load(self, now: float) -> Records:
        """Everything that the core starts from; sessions that have expired at ``now`` are left out."""

    async def commit(self, batch: Sequence[Persist]) -> None:
        """Carry out a batch in order, in one transaction.

        Raises ConflictError when a seat would have two attendees, StoreUnavailableError when nothing was written.
        """

    async def applied(self) -> str | None:
        """The event file's text as last applied, or None."""

    async def save_applied(
        self,
        text: str,
        secrets: Mapping[ProjectName, Mapping[str, Mapping[str, str]]],
        digests: Mapping[ProjectName, str],
    ) -> None:
        """Keep an applied event file, its secrets, and what its images resolved to.

        Args:
            text: TOML, as applied.
            secrets: project → attendee's folded name or e-mail address (``*`` for everybody) → variable → value.
            digests: project → image digest. A restart runs these, whatever the references mean by then.
        """

    async def secrets(self) -> Mapping[ProjectName, Mapping[str, Mapping[str, str]]]:
        """The secrets last applied, in the same shape."""

    async def digests(self) -> Mapping[ProjectName, str]:
        """The image digests last applied, by project."""

    async def users(self) -> list[User]:
        """The roster, by name."""

    async def user(self, user: UserId) -> User | None:
        """One entry."""

    async def find_user(self, login: str) -> User | None:
        """The entry whose folded name or e-mail address is ``login``, folded the same way."""

    async def find_credential(self, credential: str) -> User | None:
        """The entry with exactly this keyed hash of a generated code."""

    async def save_users(self, users: Sequence[User]) -> None:
        """Insert or replace entries, all or none. Raises ConflictError with the name or address that is taken."""

    async def remove_users(self, users: Sequence[UserId]) -> None:
        """Delete entries; unknown ids are ignored."""

    async def remove_everybody(self) -> list[UserId]:
        """Delete the whole roster, organizers' sessions and single attendees' secrets, and overwrite where they were.

        Returns whom. Raises StoreUnavailableError also when all is deleted, but not overwritten yet: call it again.
        """

    async def count_users(self, *, self_registered: bool | None = None) -> int:
        """How many entries there are, all or of one origin."""

    async def swap_credential(self, user: UserId, was: str, credential: str) -> bool:
        """Replace a credential of the same kind, if it is still ``was``; False when it is not."""

    async def seen_users(self) -> frozenset[UserId]:
        """Everybody who ever had a session (``SaveSession`` notes it), removed entries included."""

    async def organizer_session(self, session: SessionHash, now: float) -> tuple[OrganizerSession, User] | None:
        """The session and whose it is, as the roster says now; None when there is none or it has expired."""

    async def save_organizer_session(self, session: OrganizerSession) -> None:
        """Insert a session. Raises ConflictError when the roster has no such entry."""

    async def remove_organizer_sessions(
        self, *, session: SessionHash | None = None, user: UserId | None = None, expired_at: float | None = None
    ) -> None:
        """Delete one session, all of one person's, or those that have expired; each argument adds to what goes."""

    async def tokens(self) -> list[ApiToken]:
        """Admin API tokens."""

    async def save_token(self, token: ApiToken) -> None:
        """Insert a token. Raises ConflictError when the name is taken."""

    async def remove_token(self, name: str) -> bool:
        """Delete a token; False when there was none."""
