"""The attendees' app: what the control process serves behind the data plane.

It listens on a Unix socket (0600) that only the proxies reach, which have checked the Host and set ``X-Mux-Peer``.
"""

from __future__ import annotations

from aiohttp import web

from mux.files.left_out import LeftOut
from mux.web.assets import add_assets
from mux.web.camp import Camp
from mux.web.deps import WebDeps
from mux.web.files_page import FilesPage
from mux.web.forms import Forms
from mux.web.live import Live
from mux.web.login_page import LoginPage
from mux.web.pages import FORM_BYTES_MAX, Pages, redirect
from mux.web.signed_in import SignedIn


def attendee_app(deps: WebDeps) -> web.Application:
    """Login, ``/camp/`` with its cards and its waiting room, and the way in to projects that have no route yet."""
    pages = Pages(deps.public_origin, trouble=lambda: deps.engine.trouble, event_name=deps.event_name, home="/camp/")
    forms = Forms(deps.keys, deps.public_origin)
    visitors = SignedIn(deps, forms)
    live = Live(deps.engine, deps.clock)
    app = web.Application(middlewares=[pages.middleware(), forms.middleware()], client_max_size=FORM_BYTES_MAX)
    app.on_response_prepare.append(pages.add_headers)
    app.on_shutdown.append(live.close)
    app.router.add_get("/", _start)
    app.router.add_get("/healthz", _healthz)
    add_assets(app)
    LoginPage(deps, pages, forms, visitors).add_routes(app)
    left_out = LeftOut(deps.files)
    Camp(deps, pages, forms, visitors, live, left_out=left_out).add_routes(app)
    FilesPage(deps, pages, forms, visitors, left_out).add_routes(app)
    return app


async def _start(_request: web.Request) -> web.Response:
    """``/``: the projects, which send on to the login where that is needed."""
    return redirect("/camp/")


async def _healthz(_request: web.Request) -> web.Response:
    """Whether the control process answers."""
    return web.json_response({"ok": True})
