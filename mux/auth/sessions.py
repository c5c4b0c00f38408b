"""Sessions: what a browser holds after a login.

Owns how tokens are made, the names of the cookies, and organizers' sessions. Attendees' sessions are the core's: the
caller hands the hash to it as `LoggedIn`, and proxies look it up in the feed.

Rules: the two audiences share nothing. Attendees' sessions are of the public host, organizers' of the organizers' host
name; each has its own cookie and its own table, so a token of one is no token of the other. Only hashes are kept.
"""

from __future__ import annotations

from mux.auth.settings import AuthSettings
from mux.core.model import Role, Session, SessionHash
from mux.keys import new_session_token, session_hash
from mux.store.base import OrganizerSession, Store, User

TOKEN_CHARS_MAX = 128
"""A token has 43 ASCII characters; what is longer, or is not ASCII, is none and is not even hashed."""


def session_cookie(secure: bool) -> str:
    """Name of the attendees' cookie. ``__Host-`` where there is TLS (RFC 6265bis, section 4.1.3.2)."""
    return "__Host-mux_session" if secure else "mux_session"


def organizer_cookie(secure: bool) -> str:
    """Name of the organizers' cookie."""
    return "__Host-mux_organizer" if secure else "mux_organizer"


def new_session(user: User, now: float, settings: AuthSettings) -> tuple[str, Session]:
    """A fresh attendee session.

    Args:
        user: who logged in.
        now: seconds since the epoch.
        settings: for how long.

    Returns:
        The token, for the cookie alone, and the session as the core keeps it.
    """
    token = new_session_token()
    return token, Session(session_hash(token), user.id, now + settings.session_hours * 3600)


def token_hash(token: str) -> SessionHash | None:
    """What is looked up of a cookie's value; None when it cannot be a token."""
    return session_hash(token) if 0 < len(token) <= TOKEN_CHARS_MAX and token.isascii() else None


class NotAnOrganizerError(Exception):
    """An attendee asked for an organizer's session."""


class OrganizerSessions:
    """Sessions on the organizers' host, in the store. Role and existence are read anew at every check.

    Args:
        store: keeps them.
        settings: for how long they last.
    """

    def __init__(self, store: Store, settings: AuthSettings) -> None:
        self._store = store
        self.settings = settings

    async def start(self, user: User, now: float) -> tuple[str, OrganizerSession]:
        """A fresh session of an organizer or helper: its token, and what is kept of it.

        Raises:
            NotAnOrganizerError: the user is an attendee.
        """
        if user.role is Role.ATTENDEE:
            raise NotAnOrganizerError(user.id)
        await self._store.remove_organizer_sessions(expired_at=now)
        token = new_session_token()
        session = OrganizerSession(session_hash(token), user.id, now + self.settings.organizer_session_hours * 3600)
        await self._store.save_organizer_session(session)
        return token, session

    async def check(self, token: str, now: float) -> User | None:
        """Whose session this is; None when it is nobody's, has expired, or its owner is no organizer any more."""
        hashed = token_hash(token)
        found = await self._store.organizer_session(hashed, now) if hashed is not None else None
        if found is None or found[1].role is Role.ATTENDEE:
            return None
        return found[1]

    async def end(self, token: str) -> None:
        """Log out."""
        if (hashed := token_hash(token)) is not None:
            await self._store.remove_organizer_sessions(session=hashed)

    async def end_all(self, user: User) -> None:
        """End every session of one person, after a reset."""
        await self._store.remove_organizer_sessions(user=user.id)
