"""Who is signed in on the attendees' pages: from a request's cookie to an attendee, and back.

Owns the attendee's cookie. A token is never kept, logged or put into a page: pages and events know its hash.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from mux.auth.sessions import new_session, session_cookie, token_hash
from mux.core.events import LoggedIn, LoggedOut
from mux.core.model import Session, SessionHash, UserId
from mux.store.base import StoreError, User
from mux.web.deps import WebDeps
from mux.web.forms import Forms
from mux.web.pages import one_cookie


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a login in force."""

    user: UserId
    session: SessionHash


@dataclass(frozen=True, slots=True)
class Who:
    """What a page says of its visitor: a name, and the token of its forms."""

    name: str
    csrf: str


def act_purpose(session: SessionHash) -> str:
    """Purpose of the forms of a signed-in page: good for this login only."""
    return f"act {session}"


class SignedIn:
    """Looks up, begins and ends attendees' sessions.

    Args:
        deps: what the pages are given.
        forms: of the same app.
    """

    def __init__(self, deps: WebDeps, forms: Forms) -> None:
        self._deps = deps
        self._forms = forms
        self._cookie = session_cookie(deps.secure)

    def visitor(self, request: web.Request) -> Visitor | None:
        """Whose request this is, or None."""
        session = token_hash(one_cookie(request, self._cookie))
        entry = self._deps.engine.session(session, self._deps.clock()) if session is not None else None
        return Visitor(entry.user, session) if entry is not None and session is not None else None

    def has_ended(self, request: web.Request) -> bool:
        """Whether a browser still brings a login that is no longer in force."""
        return bool(one_cookie(request, self._cookie)) and self.visitor(request) is None

    async def expires_at(self, visitor: Visitor) -> float | None:
        """When this login ends, in seconds since the epoch; None once it has."""
        entry = self._deps.engine.session(visitor.session, self._deps.clock())
        return entry.expires_at if entry is not None else None

    async def who(self, request: web.Request, visitor: Visitor) -> Who:
        """What a page says of ``visitor``. Without the store it says less."""
        try:
            user = await self._deps.store.user(visitor.user)
        except StoreError:
            user = None
        return Who(user.name if user else "", self._forms.token(request, act_purpose(visitor.session)))

    async def begin(self, request: web.Request, user: User) -> tuple[str, Session]:
        """A session for ``user``, in force when this returns; an earlier one of this browser ends with it.

        Returns the token, for :meth:`set_cookie` alone. Raises EngineBusyError.
        """
        token, session = new_session(user, self._deps.clock(), self._deps.auth.settings)
        before = self.visitor(request)
        ended = [LoggedOut(before.session)] if before else []
        await self._deps.engine.submit(*ended, LoggedIn(user.id, session.hash, session.expires_at))
        return token, session

    async def end(self, visitor: Visitor) -> None:
        """End a session everywhere. Raises EngineBusyError."""
        await self._deps.engine.submit(LoggedOut(visitor.session))

    def set_cookie(self, response: web.StreamResponse, token: str, session: Session) -> None:
        """Hand the token to the browser, and to nobody else (RFC 6265bis section 4.1.2)."""
        response.set_cookie(
            self._cookie,
            token,
            max_age=max(0, int(session.expires_at - self._deps.clock())),
            path="/",
            httponly=True,
            samesite="Lax",
            secure=self._deps.secure,
        )

    def clear_cookie(self, response: web.StreamResponse) -> None:
        """Make the browser forget it."""
        response.del_cookie(self._cookie, path="/", httponly=True, samesite="Lax", secure=self._deps.secure)
