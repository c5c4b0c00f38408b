"""`mux image check`: one workspace, looked at from its start to its end.

Owns the order: start, health, answers over HTTP, notebooks and a silent WebSocket at once, then what the agent has
seen. Rules: a check that cannot go on says why and ends there; what was found before is told. Requests carry the token
as the data plane adds it, keep no cookies and follow no redirect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from mux.imagecheck import words
from mux.imagecheck.jupyter import Jupyter, NotebookError
from mux.imagecheck.limits import Suggested, snippet, suggested
from mux.imagecheck.subject import Runtime
from mux.imagecheck.trial import Trial
from mux.preflight.finding import Finding, Outcome, failure, ok, warning, worst
from ship_agent.protocol.messages import Project
from ship_agent.protocol.trial import SAVED, TrialEnded, TrialStarted

REQUEST_MAX_S = 10.0
"""How long one answer may take."""
LOOK_S = 0.2
"""How often an answer is looked for until the first, as a ship's agent does."""
HEALTH_LOOKS = 3
"""How often it is looked how long an answer takes; the shortest counts, since the machine may have other work."""
START_LOOK_MAX_S = 600.0
"""How long the agent may take to start a workspace: it copies the image's home first."""
SAME_SITE = {"Cookie": "_xsrf=mux-image-check", "X-XSRFToken": "mux-image-check"}
"""What browsers send with what changes something, and a server that asks for no token wants to see (Tornado,
"Cross-site request forgery protection")."""
TOLD_S = 2.0
"""How long after a broken connection the agent may still say that the workspace has ended."""
BODY_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long what may take; seconds.

    Args:
        start_s: from the start to the first answer on the health path; as long as ships wait.
        silence_s: how long a WebSocket is silent.
        cell_s: one cell of a notebook.
    """

    start_s: float = 90.0
    silence_s: float = 45.0
    cell_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a check has found.

    Args:
        findings: in the order in which they were made.
        limits: for the event file; None if not enough was seen.
        toml: the same as a table of an event file.
        log_tail: the end of the workspace's log, without its token.
    """

    findings: tuple[Finding, ...]
    limits: Suggested | None = None
    toml: str = ""
    log_tail: str = field(default="", repr=False)

    @property
    def outcome(self) -> Outcome:
        """The worst one."""
        return worst(self.findings)


async def check(runtime: Runtime, project: Project, bounds: Bounds, tell: Callable[[Finding], None]) -> Result:
    """Run the image and look at it. Raises ImageCheckError when there is no end to it.

    Args:
        runtime: what runs it.
        project: what a ship would be told.
        bounds: see there.
        tell: gets each finding at once.
    """
    async with (
        Trial(runtime, project) as trial,
        aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(sock_connect=REQUEST_MAX_S)
        ) as http,
    ):
        return await _Check(trial, http, bounds, tell).run()


class _OverError(Exception):
    """It cannot go on; what is to be said has been said."""


class _Check:
    def __init__(
        self, trial: Trial, http: aiohttp.ClientSession, bounds: Bounds, tell: Callable[[Finding], None]
    ) -> None:
        self._trial = trial
        self._http = http
        self._bounds = bounds
        self._tell = tell
        self._findings: list[Finding] = []
        self._saving: str | None = None
        self._auth = {"Authorization": f"token {trial.token}"}

    async def run(self) -> Result:
        project = self._trial.project
        try:
            started = await self._started()
        except _OverError:
            return self._result(log_tail=self._trial.ended.log_tail if self._trial.ended else "")
        try:
            self._found(words.image(started))
            self._found(words.user(started, project))
            url = self._trial.url(started.address)
            await self._healthy(url)
            await self._answers(url)
            if project.kind != "http":
                await self._use(url)
        except _OverError:
            closed = await self._trial.close()
            return self._result(log_tail=closed.log_tail if closed else "")
        closed = await self._trial.close()
        if closed is None:
            self._found(failure("end", "the ship agent has ended without a word of what it saw", "try once more"))
            return self._result()
        if self._saving is not None:
            self._found(words.saving(self._saving, keeps=closed.keeps))
        self._found(words.log(token_in_log=closed.token_in_log))
        if (writable := words.writable(started, closed, project)) is not None:
            self._found(writable)
        self._found(words.memory(started, closed, project))
        limits = suggested(closed.memory_peak_bytes, closed.processes_peak)
        return self._result(limits=limits, toml=snippet(project, limits), log_tail=closed.log_tail)

    def _found(self, finding: Finding) -> None:
        self._findings.append(finding)
        self._tell(finding)

    def _result(self, **values: Any) -> Result:
        return Result(tuple(self._findings), **values)

    async def _started(self) -> TrialStarted:
        over = asyncio.ensure_future(self._trial.over.wait())
        either: set[asyncio.Future[Any]] = {self._trial.started, over}
        try:
            await asyncio.wait(either, timeout=START_LOOK_MAX_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
        if self._trial.started.done():
            return self._trial.started.result()
        if self._trial.ended is None:
            self._found(failure("start", f"it was not started within {START_LOOK_MAX_S:g} s", "look at the engine"))
        else:
            self._over("")
        raise _OverError

    async def _healthy(self, url: str) -> None:
        project, limit_s = self._trial.project, self._bounds.start_s
        path = project.base_path + project.health_path
        loop = asyncio.get_running_loop()
        began = loop.time()
        status: int | None = None
        while not self._trial.over.is_set():
            status, _ = await self._ask(url + project.health_path, self._auth)
            took_s = loop.time() - began
            if status is not None and 200 <= status < 400:
                answer_s = min([await self._answer_s(url + project.health_path) for _ in range(HEALTH_LOOKS)])
                for finding in words.start(took_s, limit_s, path, status, answer_s):
                    self._found(finding)
                return
            if took_s > limit_s:
                closed = await self._trial.close()
                self._found(
                    words.never_healthy(
                        limit_s,
                        path,
                        status,
                        closed,
                        self._trial.port_inside,
                        kind=project.kind,
                        may_insist=self._trial.has_own_port,
                    )
                )
                if closed is not None:
                    self._found(words.log(token_in_log=closed.token_in_log))
                raise _OverError
            await asyncio.sleep(LOOK_S)
        self._over("")
        raise _OverError

    async def _answer_s(self, url: str) -> float:
        """How long one answer takes."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._ask(url, self._auth)
        return loop.time() - began

    async def _answers(self, url: str) -> None:
        project = self._trial.project
        if project.kind == "camp":
            # The mux answers the base path of such an image by itself.
            status, location = await self._ask(url + "jupyter/", self._auth)
            self._found(words.base_path(project.base_path + "jupyter/", status, location))
            await self._locked("jupyter/api/contents", url)
            return
        status, location = await self._ask(url, self._auth)
        self._found(words.base_path(project.base_path, status, location))
        await self._locked("api/contents" if project.kind == "jupyter" else "", url)

    async def _locked(self, private: str, url: str) -> None:
        without, _ = await self._ask(url + private, {})
        with_it, leads = await self._ask(url + private, self._auth)
        project = self._trial.project
        finding = words.token(without, project.base_path + private, with_it, kind=project.kind, leads=leads)
        self._found(finding)
        if finding.outcome == "failure":
            raise _OverError

    async def _ask(self, url: str, headers: dict[str, str]) -> tuple[int | None, str]:
        """Status and Location of one GET; None if there is no answer."""
        try:
            async with asyncio.timeout(REQUEST_MAX_S):
                async with self._http.get(url, headers=headers, allow_redirects=False) as answer:
                    await answer.content.read(BODY_BYTES_MAX)
                    return answer.status, answer.headers.get("Location", "")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None, ""

    async def _use(self, url: str) -> None:
        """Notebooks one after another, and beside them a WebSocket to a kernel that has done its work."""
        server = url + self._trial.project.health_path.removesuffix("api")
        headers = {**self._auth, **SAME_SITE}
        async with aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as http:
            jupyter = Jupyter(http, server)
            silent: asyncio.Task[str] | None = None
            try:
                silent = await self._notebooks(jupyter)
                self._saving = await jupyter.save(SAVED)
                if silent is None:
                    silent = self._silence(jupyter, await jupyter.new_kernel())
                self._silence_found(await silent)
            except (aiohttp.ClientError, OSError, ValueError, KeyError, TimeoutError) as error:
                await self._gone("while it was used", f"its Jupyter answers no more ({type(error).__name__})")
            finally:
                if silent is not None:
                    silent.cancel()
                    await asyncio.gather(silent, return_exceptions=True)
        if self._trial.over.is_set():
            await self._gone("while it was used", "")

    async def _notebooks(self, jupyter: Jupyter) -> asyncio.Task[str] | None:
        loop = asyncio.get_running_loop()
        silent: asyncio.Task[str] | None = None
        cells = good = 0
        began = loop.time()
        paths, locked = await jupyter.notebooks()
        if locked:
            self._found(words.read_only(locked))
        try:
            for path in paths:
                try:
                    ran = await jupyter.run(path, cell_max_s=self._bounds.cell_s)
                except NotebookError as error:
                    self._found(failure("notebooks", f"{path}: {error}", "mend the cell, or the image"))
                    continue
                cells, good = cells + ran.cells, good + 1
                silent = silent or self._silence(jupyter, ran.kernel)
        except BaseException:
            if silent is not None:
                silent.cancel()
            raise
        took_s = loop.time() - began
        if not paths:
            self._found(warning("notebooks", "there are none in its home", "put the tutorial's into home/", number=0))
        elif good == len(paths):
            self._found(ok("notebooks", f"{good} of {len(paths)} ran, {cells} cells in {took_s:.1f} s", number=good))
        return silent

    def _silence(self, jupyter: Jupyter, kernel: str) -> asyncio.Task[str]:
        return asyncio.create_task(jupyter.silent(kernel, self._bounds.silence_s), name="a silent WebSocket")

    def _silence_found(self, failed: str) -> None:
        silence_s = self._bounds.silence_s
        if failed:
            remedy = "look for a server in the image that ends idle connections, and raise its bound to an hour"
            self._found(failure("WebSocket", failed, remedy, limit=silence_s, unit="s"))
        else:
            said = f"open and answering after {silence_s:g} s of silence"
            self._found(ok("WebSocket", said, number=silence_s, unit="s"))

    async def _gone(self, when: str, otherwise: str) -> None:
        """Say why nothing goes on. Raises _OverError."""
        try:
            async with asyncio.timeout(TOLD_S):
                await self._trial.over.wait()
        except TimeoutError:
            self._found(failure("Jupyter", otherwise, "see the log below"))
        else:
            self._over(when)
        raise _OverError

    def _over(self, when: str) -> None:
        """It has ended by itself."""
        report = self._trial.ended or TrialEnded(code="exited", detail="it has ended")
        self._found(words.ended(report, when))
        if report.token_in_log:
            self._found(words.log(token_in_log=True))
