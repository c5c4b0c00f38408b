"""``/files/``: what an attendee did to a project's files, the way to start them over, and to take them home.

Rules: a GET changes nothing; starting over is asked for on a page of its own and takes a form of ours. What can start
over is listed from the newest snapshot, which may be seconds old: the ship says what it finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import structlog
from aiohttp import hdrs, web

from mux.core.events import StartOverAsked
from mux.core.files import PATH_CHARS_MAX, FilesView
from mux.core.model import ProjectName, ProjectSpec, UserId
from mux.files.archive import archive, parts_of
from mux.files.base import FilesStore, FilesStoreError
from mux.files.changed import Work, shown, work
from mux.files.left_out import LeftOut
from mux.web.camp_view import locked_text, too_large_text
from mux.web.deps import WebDeps
from mux.web.forms import Forms
from mux.web.pages import Pages, Refusal, json_refusal, redirect, wants_json
from mux.web.signed_in import SignedIn, Visitor, act_purpose
from ship_agent.protocol.snapshot import is_path

log = structlog.get_logger(__name__)

LISTED_MAX = 300
"""Files of one page; who changed more finds the others by their name in the notebook itself."""
DOWNLOADS_MAX = 4
"""Archives that are made at once: each takes up to one core, which all who log in share."""
DOWNLOAD_S = 3600.0
"""How long one may take: a gigabyte at 300 KB a second."""
DOWNLOAD_STALL_S = 60.0
"""How long whoever downloads may take nothing of it: a laptop that was closed is not to keep others waiting."""
DOWNLOAD_RETRY_S = 5
REFRESH_S = 2
"""How often the page looks again while something starts over."""


class FilesPage:
    """Handlers of ``/files/``.

    Args:
        deps: what the pages are given.
        pages: templates.
        forms: form tokens.
        visitors: who is signed in.
        left_out: which files are too large to be kept.
    """

    def __init__(self, deps: WebDeps, pages: Pages, forms: Forms, visitors: SignedIn, left_out: LeftOut) -> None:
        self._engine = deps.engine
        self._store: FilesStore = deps.files
        self._clock = deps.clock
        self._pages = pages
        self._forms = forms
        self._visitors = visitors
        self._left_out = left_out
        self._downloading: set[UserId] = set()

    def add_routes(self, app: web.Application) -> None:
        """Put the handlers under ``/files``."""
        app.router.add_get("/work.zip", self.download)
        app.router.add_get("/files/{project}", self.files)
        app.router.add_get("/files/{project}/start-over", self.ask)
        app.router.add_post("/files/{project}/start-over", self.start_over)

    async def files(self, request: web.Request) -> web.Response:
        """``GET /files/<project>``: what was changed, and what became of the last wish."""
        visitor, project = self._visitor(request), self._project(request)
        if visitor is None:
            return self._no_session(request)
        view = self._view(visitor, project)
        found, trouble = await self._work(visitor, project)
        await self._left_out.learn(visitor.user, project)
        too_large = self._left_out.of(visitor.user, project)
        locked = self._left_out.locked(visitor.user, project)
        return self._pages.page(
            "files.html",
            who=await self._visitors.who(request, visitor),
            project=project,
            held=view.held,
            said=said_of(view),
            pending=view.wish is not None and view.ended is None,
            age=age_text(self._clock() - found.snapshot.at) if found else "",
            files=found.files if found else 0,
            changed=found.changed[:LISTED_MAX] if found else (),
            more=max(0, len(found.changed) - LISTED_MAX) if found else 0,
            trouble=trouble,
            too_large=too_large_text(too_large) if too_large else "",
            locked=locked_text(locked) if locked else "",
            refresh_s=REFRESH_S,
        )

    async def download(self, request: web.Request) -> web.StreamResponse:
        """``GET /work.zip``: all that is kept of a visitor's work, of every project."""
        visitor = self._visitor(request)
        if visitor is None:
            return self._no_session(request)
        parts = parts_of(self._store, visitor.user)
        if not parts:
            text = "What you change is kept some seconds after you save it."
            raise Refusal(404, "no_files", "Nothing is kept yet", text)
        if visitor.user in self._downloading or len(self._downloading) >= DOWNLOADS_MAX:
            text = "This page tries again by itself."
            raise Refusal(503, "busy", "Others are downloading", text, retry_after_s=DOWNLOAD_RETRY_S)
        self._downloading.add(visitor.user)
        try:
            return await self._send(request, archive(self._store, parts))
        finally:
            self._downloading.discard(visitor.user)

    async def _send(self, request: web.Request, blocks: AsyncIterator[bytes]) -> web.StreamResponse:
        """Send an archive as it is made. One that cannot be finished is cut off, and no program takes it for whole."""
        name = 'attachment; filename="my-work.zip"'
        headers = {hdrs.CONTENT_TYPE: "application/zip", hdrs.CONTENT_DISPOSITION: name}
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            async with asyncio.timeout(DOWNLOAD_S):
                async for block in blocks if request.method != hdrs.METH_HEAD else _nothing():
                    if block:
                        async with asyncio.timeout(DOWNLOAD_STALL_S):
                            await response.write(block)
                await response.write_eof()
        except ConnectionError:
            pass  # whoever asked has gone
        except (FilesStoreError, OSError, TimeoutError) as error:
            log.warning("an archive was cut off", error=str(error) or type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        return response

    async def ask(self, request: web.Request) -> web.Response:
        """``GET /files/<project>/start-over?path=…``: what it would do; without a path, to everything."""
        visitor, project = self._visitor(request), self._project(request)
        if visitor is None:
            return self._no_session(request)
        path = _path(request.query.get("path", ""))
        return self._pages.page(
            "start_over.html",
            who=await self._visitors.who(request, visitor),
            project=project,
            path=path,
            name=shown(path),
        )

    async def start_over(self, request: web.Request) -> web.Response:
        """``POST /files/<project>/start-over``: do it."""
        visitor, project = self._visitor(request), self._project(request)
        if visitor is None:
            return redirect("/login", 303)
        form = await self._forms.read_ours(request, act_purpose(visitor.session))
        path = _path(form.get("path", ""))
        if not self._view(visitor, project).held:
            raise Refusal(
                409, "no_workspace", "There is nothing to start over", "Open the project first: its files are new then."
            )
        await self._engine.submit(StartOverAsked(visitor.user, project.name, path))
        return redirect(f"/files/{quote(project.name)}", 303)

    def _visitor(self, request: web.Request) -> Visitor | None:
        return self._visitors.visitor(request)

    def _project(self, request: web.Request) -> ProjectSpec:
        name = request.match_info["project"]
        project = next((each for each in self._engine.projects() if each.name == name), None)
        if project is None:
            raise Refusal(404, "unknown_project", "There is no such project", "The link may have a typing error.")
        return project

    def _view(self, visitor: Visitor, project: ProjectSpec) -> FilesView:
        views = self._engine.files(visitor.user)
        return next((each for each in views if each.project == project.name), FilesView(ProjectName(project.name)))

    async def _work(self, visitor: Visitor, project: ProjectSpec) -> tuple[Work | None, str]:
        """What is kept, and in words why that cannot be told."""
        try:
            return await work(self._store, visitor.user, project.name), ""
        except FilesStoreError:
            return None, "What you changed cannot be listed now. Your files are where they were; tell a helper."

    def _no_session(self, request: web.Request) -> web.Response:
        if wants_json(request):
            return json_refusal(401, "no_session", "Log in first: open this event's page in a browser.")
        name = request.match_info.get("project")
        return redirect(f"/login?next={quote(f'/files/{name}' if name else '/work.zip', safe='/')}")


async def _nothing() -> AsyncIterator[bytes]:
    """The body of an answer to HEAD."""
    return
    yield b""


def said_of(view: FilesView) -> str:
    """The last wish and what became of it, in words; empty if there was none."""
    if view.wish is None:
        return ""
    what = f"“{shown(view.wish.path)}”" if view.wish.path else "Everything"
    if view.ended is None:
        return f"{what} is starting over."
    if not view.ended.done:
        return f"{what} did not start over: {view.ended.detail}. Your files are as before."
    if not view.ended.kept:
        return f"{what} is as it came with the project; there was nothing of yours to keep."
    return f"{what} started over. What you had is in “{shown(view.ended.kept)}”."


def age_text(seconds: float) -> str:
    """How long ago, in words."""
    for unit_s, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit_s:
            number = int(seconds // unit_s)
            return f"{number} {unit}{'' if number == 1 else 's'} ago"
    return "less than a minute ago"


def _path(text: str) -> str:
    """A path of a file, or nothing. Raises Refusal."""
    if text and (len(text) > PATH_CHARS_MAX or not is_path(text)):
        raise Refusal(400, "bad_path", "There is no such file", "Go back to your files and choose one.")
    return text
