"""The organizers' app: the room at a glance, the doors, and seats; the admin API beside it.

It listens on the organizers' own host name. No cookie of the attendees' host means anything here, nor the other way
round. Helpers see everything and change nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import orjson
import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from mux.auth.login import LoginRefused
from mux.auth.redirects import local_path
from mux.auth.sessions import NotAnOrganizerError, OrganizerSessions, organizer_cookie, token_hash
from mux.core.events import BroadcastSet, DoorsSet, RolloutSteered, SeatReleased
from mux.core.model import Doors, Role, SessionHash, UserId
from mux.store.base import User
from mux.web import organizer_view as view
from mux.web import organizer_work as work
from mux.web.api_models import BROADCAST_CHARS_MAX
from mux.web.assets import add_assets
from mux.web.deps import WebDeps
from mux.web.forms import Forms
from mux.web.live import IDLE_S, Live, without_session
from mux.web.login_page import STATUSES, Patience, not_ours
from mux.web.pages import (
    FORM_BYTES_MAX,
    Pages,
    Refusal,
    bad_origin,
    is_upgrade,
    json_refusal,
    redirect,
    same_origin,
    wants_json,
)
from mux.web.peers import believed_peers
from mux.web.shown_text import shown_lines
from mux.web.signed_in import Who, act_purpose
from mux.web.steering import misfit, order_of

log = structlog.get_logger(__name__)

PUSH_INTERVAL_S = 1.0
"""An organizer's page is made anew with each message; a whole fleet of them is large."""
REFRESH_S = 10
"""How often a page without JavaScript looks again."""
PURPOSE = "organizer login"
SCOPES: Mapping[Role, frozenset[str]] = {
    Role.ORGANIZER: frozenset({"read", "roster", "apply"}),
    Role.HELPER: frozenset({"read"}),
}
"""What a browser session may read of the admin API; to change anything there takes a token."""


@dataclass(frozen=True, slots=True)
class Organizer:
    """Somebody signed in here."""

    user: User
    session: SessionHash

    @property
    def can_act(self) -> bool:
        """Helpers look, organizers act."""
        return self.user.role is Role.ORGANIZER


def organizer_app(deps: WebDeps, api: Iterable[web.AbstractRouteDef] = ()) -> web.Application:
    """The organizers' pages.

    Args:
        deps: what the pages are given.
        api: routes of the admin API, with their whole paths; they check callers themselves.
    """
    pages = Pages(deps.admin_origin, trouble=lambda: deps.engine.trouble, event_name=deps.event_name, home="/")
    pages.add_filters(clock_time=view.clock_time, iso_time=view.iso_time)
    forms = Forms(deps.keys, deps.admin_origin)
    live = Live(deps.engine, deps.clock, PUSH_INTERVAL_S)
    app = web.Application(
        middlewares=[
            believed_peers(deps.trusted_proxies),
            pages.middleware(),
            own_host(deps.admin_origin),
            forms.middleware(),
        ],
        client_max_size=FORM_BYTES_MAX,
    )
    app.on_response_prepare.append(pages.add_headers)
    app.on_shutdown.append(live.close)
    app.router.add_get("/healthz", _healthz)
    add_assets(app)
    OrganizerPages(deps, pages, forms, live).add_routes(app)
    app.add_routes(api)
    return app


def browser_scopes(deps: WebDeps) -> Callable[[web.Request], Awaitable[Collection[str]]]:
    """For the admin API: what the organizers' session of a request may read there; empty without one."""

    async def scopes(request: web.Request) -> Collection[str]:
        token = request.cookies.get(organizer_cookie(_secure(deps)), "")
        user = await OrganizerSessions(deps.store, deps.auth.settings).check(token, deps.clock())
        return SCOPES.get(user.role, frozenset()) if user is not None else frozenset()

    return scopes


def own_host(origin: str) -> Middleware:
    """Refuses requests for any other Host (421, RFC 9110 section 15.5.20).

    Cookies ignore ports, and a name that an attacker points here (DNS rebinding) would make this page theirs.
    """
    parts = urlsplit(origin)
    default = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    names = {parts.netloc.lower(), parts.netloc.lower().removesuffix(default)}
    names |= {f"{name}{default}" for name in names if parts.port is None}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        claimed = request.headers.getall(hdrs.HOST, [])
        if len(claimed) != 1 or claimed[0].lower() not in names:
            raise Refusal(
                421, "wrong_host", "This is another address", f"The organizers' pages are at {origin} and nowhere else."
            )
        return await handler(request)

    return check


class OrganizerPages:
    """Handlers of the organizers' pages.

    Args:
        deps: what the pages are given.
        pages: templates.
        forms: form tokens.
        live: open pages.
    """

    def __init__(self, deps: WebDeps, pages: Pages, forms: Forms, live: Live) -> None:
        self._deps = deps
        self._pages = pages
        self._forms = forms
        self._live = live
        self._patience = Patience()
        self._news = itertools.count()
        self._cookie = organizer_cookie(_secure(deps))

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers in their places."""
        app.router.add_get("/", self.status)
        app.router.add_get("/live", self.live)
        app.router.add_get("/login", self.show_login)
        app.router.add_post("/login", self.login)
        app.router.add_post("/logout", self.logout)
        app.router.add_post("/doors", self.doors)
        app.router.add_post("/broadcast", self.broadcast)
        app.router.add_post("/seats/release", self.release)
        app.router.add_post("/rollouts/steer", self.steer)

    # --- sessions ---------------------------------------------------------------------------------------------------

    @property
    def _sessions(self) -> OrganizerSessions:
        """With the settings in force now."""
        return OrganizerSessions(self._deps.store, self._deps.auth.settings)

    async def _organizer(self, request: web.Request) -> Organizer | None:
        token = request.cookies.get(self._cookie, "")
        session = token_hash(token)
        user = await self._sessions.check(token, self._deps.clock()) if session is not None else None
        return Organizer(user, session) if user is not None and session is not None else None

    async def _acting(self, request: web.Request) -> tuple[Organizer, Mapping[str, str]]:
        """Who posts a form, and its fields. Raises Refusal."""
        organizer = await self._organizer(request)
        if organizer is None:
            raise Refusal(401, "no_session", "Log in first", "Your session has ended. Log in and try again.")
        if not organizer.can_act:
            raise Refusal(403, "read_only", "Helpers look, organizers act", "Ask an organizer to do this.")
        return organizer, await self._forms.read_ours(request, act_purpose(organizer.session))

    async def show_login(self, request: web.Request) -> web.Response:
        """``GET /login``."""
        target = local_path(request.query.get("next"), "/")
        if await self._organizer(request) is not None:
            return redirect(target)
        return self._form(request, {"next": target})

    async def login(self, request: web.Request) -> web.Response:
        """``POST /login``."""
        fields = await self._forms.read(request)
        if not self._forms.ours(request, fields, PURPOSE):
            return self._refused(request, fields, not_ours(self._forms, request))
        now = self._deps.clock()
        try:
            user = await self._patience(
                lambda: self._deps.auth.login(
                    fields.get("login", ""), fields.get("secret", ""), request.remote or "", now
                )
            )
            token, session = await self._sessions.start(user, now)
        except LoginRefused as refused:
            return self._refused(request, fields, refused)
        except NotAnOrganizerError:
            text = f"That is an attendee's login, and this page is for organizers. Go on at {self._deps.public_origin}."
            return self._refused(request, fields, LoginRefused("not_an_organizer", text))
        log.info("organizer logged in", user=user.id, role=str(user.role))
        response = redirect(local_path(fields.get("next"), "/"), 303)
        response.set_cookie(
            self._cookie,
            token,
            max_age=max(0, int(session.expires_at - now)),
            path="/",
            httponly=True,
            samesite="Lax",
            secure=_secure(self._deps),
        )
        return response

    async def logout(self, request: web.Request) -> web.Response:
        """``POST /logout``."""
        organizer = await self._organizer(request)
        if organizer is not None:
            await self._forms.read_ours(request, act_purpose(organizer.session))
            await self._sessions.end(request.cookies.get(self._cookie, ""))
            await self._live.end(organizer.session)
        response = redirect("/login", 303)
        response.del_cookie(self._cookie, path="/", httponly=True, samesite="Lax", secure=_secure(self._deps))
        return response

    def _refused(self, request: web.Request, fields: Mapping[str, str], refused: LoginRefused) -> web.Response:
        status = STATUSES.get(refused.code, 403)
        if wants_json(request):
            return json_refusal(status, refused.code, refused.text)
        return self._form(request, fields, refused.text, status)

    def _form(
        self, request: web.Request, fields: Mapping[str, str], error: str = "", status: int = 200
    ) -> web.Response:
        return self._pages.page(
            "organizer_login.html",
            status=status,
            csrf=self._forms.token(request, PURPOSE),
            next=local_path(fields.get("next"), "/"),
            login=fields.get("login", ""),
            error=error,
            public_origin=self._deps.public_origin,
        )

    # --- the room ---------------------------------------------------------------------------------------------------

    async def status(self, request: web.Request) -> web.Response:
        """``GET /``: the room."""
        organizer = await self._organizer(request)
        if organizer is None:
            if wants_json(request):
                return json_refusal(401, "no_session", "Log in first.")
            return redirect(f"/login?next={quote(local_path(request.raw_path, '/'), safe='/')}")
        room = self._deps.engine.status(self._deps.clock())
        return self._pages.page(
            "status.html",
            who=Who(organizer.user.name, self._forms.token(request, act_purpose(organizer.session))),
            room=room,
            can_act=organizer.can_act,
            names={user.id: user.name for user in await self._deps.store.users()},
            door_choices=view.DOOR_CHOICES,
            doors_text=view.doors_text(room),
            figures=view.figures(room),
            rollouts=work.rollout_panels(self._deps.engine.rollouts()),
            warming=work.warming_panel(self._deps.engine.warming(self._deps.clock()), self._deps.clock()),
            lag_text=view.lag_text(room),
            ship_text=view.ship_text,
            seat_lags=view.seat_lags,
            broadcast_chars_max=BROADCAST_CHARS_MAX,
            refresh_s=REFRESH_S,
        )

    async def live(self, request: web.Request) -> web.StreamResponse:
        """``/live``: says when the room is different; the page then fetches itself."""
        organizer = await self._organizer(request)
        if not is_upgrade(request):
            if organizer is None:
                return json_refusal(401, "no_session", "Log in first.")
            return web.Response(text=self._message(), content_type="application/json")
        if not same_origin(request, self._pages.origin):
            raise bad_origin()
        if organizer is None:
            return await without_session(request)

        async def expires_at() -> float | None:
            return self._deps.clock() + IDLE_S if await self._organizer(request) is not None else None

        return await self._live.serve(request, organizer.session, expires_at, self._message)

    def _message(self) -> str:
        """Different each time: that something changed is the message."""
        return orjson.dumps({"news": next(self._news)}).decode()

    async def doors(self, request: web.Request) -> web.Response:
        """``POST /doors``."""
        organizer, fields = await self._acting(request)
        try:
            doors = Doors(fields.get("doors", ""))
        except ValueError:
            raise Refusal(422, "doors_unknown", "That did not work", "Doors are auto, open or closed.") from None
        await self._deps.engine.submit(DoorsSet(doors))
        log.info("doors set", doors=str(doors), by=organizer.user.id)
        return redirect("/", 303)

    async def broadcast(self, request: web.Request) -> web.Response:
        """``POST /broadcast``: tell everybody something; nothing takes back what they are told."""
        organizer, fields = await self._acting(request)
        text = shown_lines(fields.get("text", "")) if "clear" not in fields else ""
        if text is None or len(text) > BROADCAST_CHARS_MAX:
            words = f"At most {BROADCAST_CHARS_MAX} characters, all of which can be shown. Go back and write it anew."
            raise Refusal(422, "text_invalid", "Nobody was told that", words)
        await self._deps.engine.submit(BroadcastSet(text))
        log.info("broadcast set", chars=len(text), by=organizer.user.id)
        return redirect("/", 303)

    async def release(self, request: web.Request) -> web.Response:
        """``POST /seats/release``. A seat that has been released already is no mistake."""
        organizer, fields = await self._acting(request)
        user = UserId(fields.get("user", ""))
        room = self._deps.engine.status(self._deps.clock())
        if any(seat.user == user for ship in room.ships for seat in ship.seats):
            await self._deps.engine.submit(SeatReleased(user))
            log.info("seat released", user=user, by=organizer.user.id)
        return redirect("/", 303)

    async def steer(self, request: web.Request) -> web.Response:
        """``POST /rollouts/steer``: pause, go on, abort or roll back."""
        organizer, fields = await self._acting(request)
        order, project = order_of(fields.get("order", "")), fields.get("project", "")
        found = next((each for each in self._deps.engine.rollouts() if each.rollout.project == project), None)
        if order is None or found is None:
            raise Refusal(404, "no_rollout", "There is no such rollout", "Go back and reload the page.")
        if (wrong := misfit(found, order)) is not None:
            raise Refusal(409, wrong[0], "That does not fit any more", f"{wrong[1].capitalize()}.")
        await self._deps.engine.submit(RolloutSteered(found.rollout.project, order))
        log.info("rollout steered", project=found.rollout.project, order=order, by=organizer.user.id)
        return redirect("/", 303)


def _secure(deps: WebDeps) -> bool:
    return deps.admin_origin.startswith("https:")


async def _healthz(_request: web.Request) -> web.Response:
    """Whether the control process answers."""
    return web.json_response({"ok": True})
