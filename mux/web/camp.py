"""``/camp/``: the cards, the waiting room, and every request for a project that has no route (yet).

A request arrives here when the proxy has no session or no route for it. So the answer is a way in: the login, the
waiting room, the starting page or what happened; and for a program, a status that says when to try again.

Rules:
- The same link for everybody: ``/camp/<project>/…`` keeps its path and query through login and queue, byte for byte.
- A program never gets a page, nor a redirect to one.
- Looking at a page changes nothing, but for a project that starts on use: opening it is the wish to use it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote, unquote

from aiohttp import web

from mux.auth.redirects import local_path
from mux.core.events import ProjectRequested
from mux.core.model import ProjectName, ProjectSpec
from mux.files.left_out import LeftOut
from mux.web.camp_view import Card, camp_message, camp_view, told, too_large, updates
from mux.web.deps import WebDeps
from mux.web.forms import Forms
from mux.web.live import Live, without_session
from mux.web.notebook import NotebookPage, Working, notebook_message
from mux.web.offers import accept_update
from mux.web.pages import Pages, Refusal, bad_origin, is_upgrade, json_refusal, redirect, same_origin, wants_json
from mux.web.signed_in import SignedIn, Visitor, act_purpose

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110 section 9.2.1); any other must come from our own pages."""
REFRESH_S = 5
"""How often a page without JavaScript looks again."""
RETRY_AFTER_S = 2
"""When a program should ask again for a workspace that is not there yet."""
BOUNCE_WINDOW_S = 10.0
"""A second try within this means that a proxy has not got the route yet: no third redirect, but a page that waits."""
BOUNCES_MAX = 4096
"""Remembered redirects; the oldest is forgotten first, which costs its page one redirect more."""
BOUNCED_DELAY_MS = 2000
"""How long a page waits that was already sent on once."""


class Camp:
    """Handlers of ``/camp/``.

    Args:
        deps: what the pages are given.
        pages: templates.
        forms: form tokens.
        visitors: who is signed in.
        live: open pages.
        left_out: which files are too large to be kept.
    """

    def __init__(
        self, deps: WebDeps, pages: Pages, forms: Forms, visitors: SignedIn, live: Live, *, left_out: LeftOut
    ) -> None:
        self._engine = deps.engine
        self._clock = deps.clock
        self._pages = pages
        self._forms = forms
        self._visitors = visitors
        self._live = live
        self._left_out = left_out
        self._working = Working(deps.engine)
        self._bounced: OrderedDict[tuple[str, str], float] = OrderedDict()

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers under ``/camp``."""
        app.router.add_get("/camp", self.to_camp)
        app.router.add_get("/camp/", self.camp)
        app.router.add_get("/camp/live", self.live)
        app.router.add_get("/camp/live/{project}", self.notebook)
        app.router.add_route("*", "/camp/{rest:.+}", self.project)
        app.router.add_post("/retry", self.retry)
        app.router.add_post("/update", self.update)

    async def to_camp(self, _request: web.Request) -> web.Response:
        """``/camp`` is ``/camp/``."""
        return redirect("/camp/")

    async def camp(self, request: web.Request) -> web.Response:
        """``GET /camp/``: every project, and the queue for somebody without a seat."""
        visitor = self._visitors.visitor(request)
        if visitor is None:
            return self._no_session(request)
        view = camp_view(self._engine.attendee_view(visitor.user, self._clock()), self._route_ready(visitor))
        settled = view["waiting"] is None and all(card["state"] in ("ready", "on_use") for card in view["projects"])
        return self._pages.page(
            "camp.html",
            who=await self._visitors.who(request, visitor),
            waiting=view["waiting"],
            cards=view["projects"],
            notice=view["notice"],
            broadcast=told(view),
            updates=updates(view),
            refresh_s=None if settled else REFRESH_S,
        )

    async def live(self, request: web.Request) -> web.StreamResponse:
        """``/camp/live``: the live messages as a WebSocket, or the newest one as JSON."""
        return await self._serve(request, self._message)

    async def notebook(self, request: web.Request) -> web.StreamResponse:
        """``/camp/live/<project>``: the same for pages of a notebook, which also say how they are."""
        name = request.match_info["project"]
        project = next((each for each in self._engine.projects() if each.name == name), None)
        if project is None:
            return self._unknown(request)
        visitor = self._visitors.visitor(request)
        page = NotebookPage(self._engine, self._working, visitor.user, project.name) if visitor else None
        if visitor is not None:
            self._left_out.learn_soon(visitor.user, project)
        try:
            return await self._serve(request, lambda whose: self._notebook_message(whose, project, page), page)
        finally:
            if page is not None:
                await page.closed()

    async def _serve(
        self, request: web.Request, message: Callable[[Visitor], str], page: NotebookPage | None = None
    ) -> web.StreamResponse:
        visitor = self._visitors.visitor(request)
        if not is_upgrade(request):
            if visitor is None:
                return json_refusal(401, "no_session", "Log in first.")
            return web.Response(text=message(visitor), content_type="application/json")
        if not same_origin(request, self._pages.origin):
            raise bad_origin()
        if visitor is None:
            return await without_session(request)
        return await self._live.serve(
            request,
            visitor.session,
            lambda: self._visitors.expires_at(visitor),
            lambda: message(visitor),
            page.heard if page else None,
        )

    async def project(self, request: web.Request) -> web.Response:
        """``/camp/<project>`` and everything below it that no route took."""
        if (is_upgrade(request) or request.method not in SAFE_METHODS) and not same_origin(request, self._pages.origin):
            raise bad_origin()
        visitor = self._visitors.visitor(request)
        if visitor is None:
            return self._no_session(request)
        path, question, query = request.raw_path.partition("?")
        segment, slash, rest = path.removeprefix("/camp/").partition("/")
        name = ProjectName(unquote(segment))
        project = next((each for each in self._engine.projects() if each.name == name), None)
        if project is None:
            return self._unknown(request)
        as_page = not wants_json(request) and request.method in ("GET", "HEAD")
        if as_page and (segment != name or not slash or (project.landing and not rest)):
            return redirect(f"/camp/{name}/{rest or project.landing}{question}{query}")

        view = self._engine.attendee_view(visitor.user, self._clock())
        cards = camp_view(view, self._route_ready(visitor))
        card = next((one for one in cards["projects"] if one["name"] == name), None)
        if card is None:
            return self._unknown(request)
        if card["state"] == "on_use" and request.method != "HEAD" and not card["open"]:
            await self._engine.submit(ProjectRequested(visitor.user, name))
            card = {**card, "state": "starting", "text": "It is starting for you."}
        if not as_page:
            return self._not_yet(card)
        bounced = False
        if card["open"]:
            if not self._bounce(visitor, name):
                return redirect(request.raw_path)
            bounced = True
        kind = "waiting" if cards["waiting"] else "failed" if card["state"] == "failed" else "starting"
        return self._pages.page(
            "enter.html",
            who=await self._visitors.who(request, visitor),
            kind="starting" if bounced else kind,
            card=card,
            waiting=None if bounced else cards["waiting"],
            target=request.raw_path,
            delay_ms=BOUNCED_DELAY_MS if bounced else 0,
            refresh_s=REFRESH_S,
        )

    async def retry(self, request: web.Request) -> web.Response:
        """``POST /retry``: somebody wants a failed workspace tried again."""
        visitor = self._visitors.visitor(request)
        if visitor is None:
            return redirect("/login", 303)
        form = await self._forms.read_ours(request, act_purpose(visitor.session))
        name = ProjectName(form.get("project", ""))
        if all(project.name != name for project in self._engine.projects()):
            return self._unknown(request)
        await self._engine.submit(ProjectRequested(visitor.user, name))
        target = local_path(form.get("next"))
        return redirect(target if target.startswith(f"/camp/{name}/") else f"/camp/{name}/", 303)

    async def update(self, request: web.Request) -> web.Response:
        """``POST /update``: somebody wants the image that they are offered."""
        visitor = self._visitors.visitor(request)
        if visitor is None:
            return redirect("/login", 303)
        form = await self._forms.read_ours(request, act_purpose(visitor.session))
        if not await accept_update(self._engine, visitor.user, form.get("project"), form.get("number")):
            return self._unknown(request)
        return redirect("/camp/", 303)

    def _message(self, visitor: Visitor) -> str:
        view = self._engine.attendee_view(visitor.user, self._clock())
        return camp_message(camp_view(view, self._route_ready(visitor)))

    def _notebook_message(self, visitor: Visitor, project: ProjectSpec, page: NotebookPage | None) -> str:
        view = camp_view(self._engine.attendee_view(visitor.user, self._clock()), self._route_ready(visitor))
        notices = [notice for notice in view["notices"] if notice["project"] in ("", project.name)]
        notices += too_large(project.name, self._left_out.of(visitor.user, project))
        view_now = self._engine.notebook_view(visitor.user, project.name)
        return notebook_message(view_now, notices, page.name if page else "")

    def _route_ready(self, visitor: Visitor) -> Callable[[ProjectName], bool]:
        return lambda project: self._engine.route_ready(visitor.user, project)

    def _no_session(self, request: web.Request) -> web.Response:
        if wants_json(request) or request.method not in ("GET", "HEAD"):
            return json_refusal(401, "no_session", "Log in first: open this event's page in a browser.")
        target = request.raw_path
        return redirect(f"/login?next={quote(local_path(target), safe='/')}")

    def _unknown(self, request: web.Request) -> web.Response:
        refusal = Refusal(
            404, "unknown_project", "There is no such project", "The link may have a typing error. These are there:"
        )
        return self._pages.refusal(request, refusal, projects=self._engine.projects())

    def _not_yet(self, card: Card) -> web.Response:
        code = {"waiting": "waiting", "failed": "workspace_failed"}.get(card["state"], "starting")
        return json_refusal(503, code, card["text"], {"Retry-After": str(RETRY_AFTER_S)})

    def _bounce(self, visitor: Visitor, project: ProjectName) -> bool:
        """Whether this attendee was sent on to this project a moment ago; remembers that they are now."""
        key, now = (visitor.session, project), self._clock()
        before = self._bounced.pop(key, None)
        self._bounced[key] = now
        if len(self._bounced) > BOUNCES_MAX:
            self._bounced.popitem(last=False)
        return before is not None and now - before < BOUNCE_WINDOW_S
