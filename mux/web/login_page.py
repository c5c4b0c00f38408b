"""The attendees' login: by name and code, or by a name of one's own and the event's passcode.

Rules:
- A refusal keeps what was typed, except secrets, and says what to do next.
- While passwords are being checked for others, a request waits rather than fails.
- A return code is on one page, once; whatever happens after it was made, it is shown.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from mux.auth.login import LoginRefused
from mux.auth.redirects import local_path
from mux.store.base import User
from mux.web.deps import WebDeps
from mux.web.forms import Forms
from mux.web.pages import Pages, json_refusal, redirect, wants_json
from mux.web.signed_in import SignedIn, Who, act_purpose

log = structlog.get_logger(__name__)

PURPOSE = "login"
"""Of the forms of this page."""
BUSY_WAIT_MAX_S = 60.0
"""How long a login that found no place in the line comes back to it, before the page says so. By then a room has been
told from those who guess, also when they came first and one of them sits in it."""
BUSY_PAUSE_MAX_S = 2.0
"""Longest pause between two tries."""
WAITERS_MAX = 1000
"""Logins that wait at once; a whole room. Beyond it a page is told to come back."""
PEER_HEADER = "X-Mux-Peer"
"""The browser's address, set by the proxy, which is the only client of the attendees' socket."""
PEER_CHARS_MAX = 64
NEXT_FALLBACK = "/camp/"

STALE_TEXT = "This page was open for a long time. Nothing is lost: please send it once more."
NO_COOKIE_TEXT = (
    "Your browser sent no cookie with this. Please send it once more; if this comes again, allow cookies for this "
    "site: without them nobody can be logged in."
)
LOGGED_OUT = "You are logged out. Your work stays as it is."
SESSION_ENDED = "Your login has ended. Your work stays as it is: log in again to go on."
STATUSES = {
    "limited": 429,
    "paced": 429,
    "busy": 503,
    "full": 503,
    "name_taken": 409,
    "name_invalid": 422,
}
"""HTTP status of a refusal; 403 for the others."""

_T = TypeVar("_T")


def peer(request: web.Request) -> str:
    """The browser's address as the proxy saw it, for the limits on failed logins."""
    return request.headers.get(PEER_HEADER, "")[:PEER_CHARS_MAX]


class Patience:
    """Repeats a login while the answer is that others are being checked, within bounds.

    Args:
        waiters_max: how many may wait at once.
    """

    def __init__(self, waiters_max: int = WAITERS_MAX) -> None:
        self._waiters_max = waiters_max
        self._waiting = 0

    async def __call__(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """The result of ``attempt``. Raises LoginRefused: any other than ``busy``, or ``busy`` to the end."""
        waited_s = 0.0
        while True:
            try:
                return await attempt()
            except LoginRefused as refused:
                if refused.code != "busy" or waited_s >= BUSY_WAIT_MAX_S or self._waiting >= self._waiters_max:
                    raise
                pause_s = min(refused.retry_after_s or BUSY_PAUSE_MAX_S, BUSY_PAUSE_MAX_S)
            waited_s += pause_s
            self._waiting += 1
            try:
                await asyncio.sleep(pause_s)
            finally:
                self._waiting -= 1


def not_ours(forms: Forms, request: web.Request) -> LoginRefused:
    """The refusal of a form that does not belong to this browser."""
    if forms.has_cookie(request):
        return LoginRefused("form_stale", STALE_TEXT)
    return LoginRefused("no_cookie", NO_COOKIE_TEXT)


class LoginPage:
    """Handlers of ``/login``, ``/join`` and ``/logout``.

    Args:
        deps: what the pages are given.
        pages: templates.
        forms: form tokens.
        visitors: sessions.
    """

    def __init__(self, deps: WebDeps, pages: Pages, forms: Forms, visitors: SignedIn) -> None:
        self._deps = deps
        self._pages = pages
        self._forms = forms
        self._visitors = visitors
        self._patience = Patience()

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers in their places."""
        app.router.add_get("/login", self.show)
        app.router.add_post("/login", self.login)
        app.router.add_post("/join", self.join)
        app.router.add_post("/logout", self.logout)

    async def show(self, request: web.Request) -> web.Response:
        """``GET /login?next=…``."""
        target = local_path(request.query.get("next"), NEXT_FALLBACK)
        if self._visitors.visitor(request) is not None:
            return redirect(target)
        said = LOGGED_OUT if "out" in request.query else SESSION_ENDED if self._visitors.has_ended(request) else ""
        return self._form(request, {"next": target}, said=said)

    async def login(self, request: web.Request) -> web.Response:
        """``POST /login``."""
        fields = await self._forms.read(request)
        if not self._forms.ours(request, fields, PURPOSE):
            return self._refused(request, fields, not_ours(self._forms, request))
        try:
            user = await self._patience(
                lambda: self._deps.auth.login(
                    fields.get("login", ""), fields.get("secret", ""), peer(request), self._deps.clock()
                )
            )
        except LoginRefused as refused:
            return self._refused(request, fields, refused)
        token, session = await self._visitors.begin(request, user)
        response = redirect(local_path(fields.get("next"), NEXT_FALLBACK), 303)
        self._visitors.set_cookie(response, token, session)
        return response

    async def join(self, request: web.Request) -> web.Response:
        """``POST /join``: a newcomer chooses a name, and gets a return code."""
        fields = await self._forms.read(request)
        if not self._forms.ours(request, fields, PURPOSE):
            return self._refused(request, fields, not_ours(self._forms, request), join=True)
        try:
            user, code = await self._patience(
                lambda: self._deps.auth.register(
                    fields.get("name", ""),
                    fields.get("passcode", ""),
                    peer(request),
                    seats_left=self._deps.engine.seats_left(),
                    now=self._deps.clock(),
                )
            )
        except LoginRefused as refused:
            return self._refused(request, fields, refused, join=True)
        return await self._welcome(request, user, code, local_path(fields.get("next"), NEXT_FALLBACK))

    async def logout(self, request: web.Request) -> web.Response:
        """``POST /logout``."""
        visitor = self._visitors.visitor(request)
        if visitor is not None:
            await self._forms.read_ours(request, act_purpose(visitor.session))
            await self._visitors.end(visitor)
        response = redirect("/login?out", 303)
        self._visitors.clear_cookie(response)
        return response

    async def _welcome(self, request: web.Request, user: User, code: str, target: str) -> web.Response:
        try:
            token, session = await self._visitors.begin(request, user)
        except Exception as error:
            if not getattr(error, "retryable", False):
                log.exception("a newcomer has a name but no session", user=user.id)
            login = f"/login?next={quote(target, safe='/')}"
            return self._pages.page("return_code.html", who=None, name=user.name, code=code, next=login)
        who = Who(user.name, self._forms.token(request, act_purpose(session.hash)))
        response = self._pages.page("return_code.html", who=who, name=user.name, code=code, next=target)
        self._visitors.set_cookie(response, token, session)
        return response

    def _refused(
        self, request: web.Request, fields: Mapping[str, str], refused: LoginRefused, *, join: bool = False
    ) -> web.Response:
        status = STATUSES.get(refused.code, 403)
        headers: dict[str, str] = {}
        if refused.retry_after_s is not None:
            headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(refused.retry_after_s)))
        if wants_json(request):
            return json_refusal(status, refused.code, refused.text, headers)
        return self._form(request, fields, error=refused.text, join=join, status=status, headers=headers)

    def _form(
        self,
        request: web.Request,
        fields: Mapping[str, str],
        *,
        said: str = "",
        error: str = "",
        join: bool = False,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        return self._pages.page(
            "login.html",
            status=status,
            headers=headers,
            csrf=self._forms.token(request, PURPOSE),
            next=local_path(fields.get("next"), NEXT_FALLBACK),
            login=fields.get("login", ""),
            name=fields.get("name", ""),
            said=said,
            error=error,
            error_in_join=join,
            passcode_mode=self._deps.auth.settings.self_registration,
            not_isolated=self._deps.runtime == "process",
        )
