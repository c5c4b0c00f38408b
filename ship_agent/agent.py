"""The agent's shell: takes in what is desired and what is so, asks `step`, carries out, reports.

Owns the tasks, the clock and ``DIR/desired.json``. Decides nothing: that is `step`'s, over `memory`. Knows the link
only as something that brings desired states and asks for reports.

Rules: a desired state is on disk before it is acted on, so that a restarted agent goes on repairing workspaces while
the mux is away. Each action is a task of its own; its key stays busy until the runtime has been looked at after its
end, so that no decision is made on what was so before. Before the first desired state nothing is touched. The end of
the agent ends no workspace; the loss of ``DIR/join.json`` ends them all, since then nobody owns them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog
from pydantic import ValidationError

from ship_agent.activity import Activity, Server
from ship_agent.answered import Answered
from ship_agent.health import HealthChecks, Probe
from ship_agent.memory import Memory, failed, of_specification, refused, seen
from ship_agent.notices import Notices
from ship_agent.protocol.messages import MESSAGE_BYTES_MAX, Desired, Observed, Project, Quiet
from ship_agent.report import observed_workspaces, phase, stage
from ship_agent.resources import resources
from ship_agent.runtimes.base import RunningWorkspace, Runtime, RuntimeFailure
from ship_agent.runtimes.shim import write_json
from ship_agent.snapshots.base import Files, Keeping
from ship_agent.starts import Starts
from ship_agent.step import (
    Action,
    DesiredError,
    ForgetImage,
    Note,
    Pull,
    Remove,
    Start,
    StartOver,
    Stop,
    Target,
    View,
    next_deadline,
    settled,
    step,
    target,
)
from ship_agent.stopping import stop_all
from ship_agent.wishes import Wishes

log = structlog.get_logger(__name__)

FIRST_HEALTH_MAX_S = 3.0
"""How long the first report waits for a first answer of adopted workspaces, so that it does not call them unwell."""
DIRECTORY_CHECK_S = 2.0
"""How often ``join.json`` is looked for."""
RETRY_S = 5.0
"""Pause after a stop, removal or note that failed: whatever holds it up, a tight loop would not free it."""
STARTING_PER_CPU = 2
STARTING_MIN = 6
"""Warm workspaces that start at once: a start uses about one core for two seconds, and waits in between."""

Observe = Callable[[], Awaitable[Observed]]


class Link(Protocol):
    """What the agent needs of its link to the mux; `ship_agent.link_client.LinkClient` is one."""

    async def run(self) -> None:
        """Keep the link until cancelled. Raises when the mux refuses the ship for good."""

    def report_soon(self) -> None:
        """Ask for a report now; several calls make one."""


Connect = Callable[[Callable[[Desired], None], Observe], Link]
"""Makes the link: gets what takes desired states, and what gives reports (``seq`` is the link's to fill)."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How an action ended: ``failure`` is None if it did what it should."""

    action: Action
    failure: RuntimeFailure | None


class Agent:
    """One ship's agent.

    Args:
        directory: the ship's; ``join.json`` in it says that the ship is still wanted.
        runtime: what runs workspaces; opened and closed by `run`.
        connect: makes the link; None to go without one, by the last desired state on disk.
        metadata_url: where announcements for this machine are heard; empty for nowhere.
        files: keeps attendees' files safe elsewhere; None for nobody.
    """

    def __init__(
        self,
        directory: Path,
        runtime: Runtime,
        connect: Connect | None = None,
        *,
        metadata_url: str = "",
        files: Files | None = None,
    ) -> None:
        self._directory = directory
        self._runtime = runtime
        self._link = connect(self._take, self.observe) if connect else None
        self._notices = Notices(metadata_url, self._report_soon) if metadata_url else None
        self._files = files
        self._keeping = Keeping(runtime, files)
        self._health = HealthChecks(self._wake_up)
        self._activity = Activity()
        self._wake = asyncio.Event()
        self._first_look = asyncio.Event()
        self._incoming: Desired | None = None
        self._target: Target | None = None
        self._view = View()
        self._memory: dict[str, Memory] = {}
        self._pulls: dict[str, Memory] = {}
        self._progress: dict[str, str] = {}
        self._starts = Starts(runtime, self._wake_up)
        self._wishes = Wishes(runtime)
        self._answered = Answered(directory)
        self._busy: set[str] = set()
        self._outcomes: list[_Outcome] = []
        self._actions: set[asyncio.Task[None]] = set()
        self._reached = 0
        self._reported: object = None
        self._starting_max = STARTING_MIN

    async def run(self) -> None:
        """Work until cancelled, or until ``join.json`` is gone: then every workspace is stopped.

        Raises what the link raises when dialing again cannot help, and RuntimeFailure when the runtime does not work.
        """
        await self._runtime.open()
        await self._health.open()
        self._target = await asyncio.to_thread(self._load)
        await asyncio.to_thread(self._answered.load)
        cpus = (await asyncio.to_thread(resources, self._directory)).cpus
        self._starting_max = max(STARTING_MIN, STARTING_PER_CPU * cpus)
        directory = asyncio.create_task(self._watch_directory(), name="agent directory")
        tasks = [
            directory,
            asyncio.create_task(self._work(), name="agent work"),
            asyncio.create_task(self._watch_runtime(), name="agent runtime changes"),
            asyncio.create_task(self._activity.run(), name="agent activity"),
            asyncio.create_task(self._starts.run(), name="agent starts"),
        ]
        if self._link is not None:
            tasks.append(asyncio.create_task(self._keep_link(self._link), name="agent link"))
        if self._notices is not None:
            tasks.append(asyncio.create_task(self._notices.run(), name="agent notices"))
        if self._files is not None:
            tasks.append(asyncio.create_task(self._files.run(self._report_soon), name="agent files"))
            ages = self._keeping.tell_behind(self._report_soon)
            tasks.append(asyncio.create_task(ages, name="agent ages of files"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._health.close()
        for task in done:
            task.result()
        if directory not in done:
            raise RuntimeError(f"ended, which it never should: {[task.get_name() for task in done]}")
        await self._finish_actions()
        await stop_all(self._runtime)

    async def ready(self) -> None:
        """Returns when the runtime works and what an earlier agent left has been looked at."""
        await self._first_look.wait()

    async def close(self) -> None:
        """Let what is under way come to its end, and let go of the runtime. Workspaces go on."""
        await self._finish_actions()
        await self._runtime.close()

    async def observe(self) -> Observed:
        """What is so, as a whole. ``seq`` is left for the link."""
        limits, healthy = self._runtime.limits(), self._healthy()
        behind = self._keeping.behind(self._target, self._view)
        saved = self._keeping.saved(self._target, self._view)
        workspaces = observed_workspaces(
            self._target,
            self._view,
            healthy,
            self._starts.tails,
            started_over=self._wishes.ended,
            behind=behind,
            unkept=self._keeping.unkept(self._target, self._view),
            saved=saved,
        )
        return Observed(
            seq=0,
            generation=self._reached,
            phase=phase(self._target, self._view, healthy, self._progress),
            resources=await asyncio.to_thread(resources, self._directory),
            limits=list(limits.enforced),
            limits_missing=list(limits.missing),
            workspaces=workspaces,
            stage=stage(self._target, self._view, workspaces),
            notices=list(self._notices.announced) if self._notices else [],
            quiet=[Quiet(workspace=identity, idle_s=idle_s) for identity, idle_s in self._activity.idle().items()],
        )

    # --- what comes in ----------------------------------------------------------------------------------------------

    def _take(self, desired: Desired) -> None:
        self._incoming = desired
        self._wake_up()

    def _wake_up(self) -> None:
        self._wake.set()

    async def _watch_runtime(self) -> None:
        async for _ in self._runtime.changes():
            self._wake_up()

    async def _watch_directory(self) -> None:
        """Returns when the ship is no longer wanted here."""
        path = self._directory / "join.json"
        while await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - portable, and nobody waits for it
            await asyncio.sleep(DIRECTORY_CHECK_S)
        log.warning("join.json is gone: stopping all workspaces", directory=str(self._directory))

    async def _keep_link(self, link: Link) -> None:
        # Before the first look nothing is known of what runs, and a report would say that nothing does.
        await self._first_look.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_HEALTH_MAX_S):
                await self._health.all_asked()
        await link.run()

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Look, decide, act, report; sleep until something changes or is due."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            await self._adopt_incoming()
            await self._look(loop.time())
            due: float | None = None
            if self._target is not None:
                while (action := step(self._target, self._view, loop.time())) is not None:
                    self._begin(action)
                self._reached = self._target.generation if settled(self._target, self._view) else self._reached
                due = next_deadline(self._target, self._view)
            await self._note_answered()
            self._report()
            self._activity.watch(self._servers())
            self._starts.watch(self._view)
            self._keeping.watch(self._target, self._view)
            self._first_look.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()

    async def _adopt_incoming(self) -> None:
        """Make the newest desired state the target: checked, then on disk, then in force."""
        desired, self._incoming = self._incoming, None
        if desired is None:
            return
        try:
            found = target(desired)
        except DesiredError as error:
            log.error("a desired state is refused", generation=desired.generation, why=str(error))
            return
        try:
            content = desired.model_dump()
            await asyncio.to_thread(write_json, str(self._directory / "desired.json"), content)
        except OSError as error:
            # Attendees are better served by an agent that acts and may forget than by one that does nothing.
            log.error("the desired state cannot be written", generation=desired.generation, why=error.strerror)
        self._target = found
        log.info("desired", generation=found.generation, workspaces=len(found.workspaces))

    def _load(self) -> Target | None:
        """The last desired state from disk; None if there is none that can be read."""
        path = self._directory / "desired.json"
        try:
            with path.open("rb") as file:
                return target(Desired.model_validate(json.loads(file.read(2 * MESSAGE_BYTES_MAX))))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, ValueError) as error:
            # Not the error's text: it may quote the file, which holds secrets.
            log.warning("desired.json cannot be read; waiting for the mux", error=type(error).__name__)
            return None

    async def _look(self, now: float) -> None:
        """Bring the view up to date. What ended before this began is no longer busy afterwards."""
        outcomes, self._outcomes = self._outcomes, []
        images = await self._runtime.images()
        workspaces = await self._runtime.inspect()
        await self._fetch_tails(workspaces)
        await self._wishes.look(self._target, workspaces)
        for outcome in outcomes:
            self._settle(outcome, workspaces, now)
        wanted = self._target.workspaces if self._target else {}
        healthy = self._health.healthy()
        clock = time.time()
        for identity, here in workspaces.items():
            memory = self._memory.get(identity, Memory())
            if identity in wanted:
                memory = of_specification(memory, wanted[identity].run_key)
            answers = healthy.get(identity) == here.starts
            # What appears after the first look was started by this agent, however late it is seen.
            age_s = 0.0 if self._first_look.is_set() else clock - here.started_at
            before = self._answered.has(here)
            self._memory[identity] = seen(memory, here, healthy=answers, age_s=age_s, now=now, answered=before)
        for identity in self._memory.keys() - workspaces.keys() - wanted.keys():
            del self._memory[identity]
            self._starts.tails.pop(identity, None)
        needed = self._target.images if self._target else {}
        self._pulls = {digest: memory for digest, memory in self._pulls.items() if digest in needed}
        self._view = View(
            images=images,
            workspaces=dict(workspaces),
            memory=dict(self._memory),
            pulls=dict(self._pulls),
            busy=frozenset(self._busy),
            starting_max=self._starting_max,
            started_over={identity: each.number for identity, each in self._wishes.ended.items()},
            hooks=self._starts.hooks,
        )
        self._health.sync(self._probes(workspaces.values()))

    async def _note_answered(self) -> None:
        """Before a report says that a workspace answers: the next agent must not take that back."""
        starts = {identity: memory.starts for identity, memory in self._memory.items() if memory.answered}
        if self._answered.differs(starts):
            await asyncio.to_thread(self._answered.note, starts)

    async def _fetch_tails(self, workspaces: Mapping[str, RunningWorkspace]) -> None:
        """Read the log of what has just failed, before the failure is counted: no report names it without its log."""
        ended = (here for here in workspaces.values() if here.state == "exited" and here.failure)
        await asyncio.gather(*(self._starts.fetch(here.id) for here in ended if not self._counted(here)))

    def _counted(self, here: RunningWorkspace) -> bool:
        memory = self._memory.get(here.id, Memory())
        return memory.ended and memory.starts == here.starts

    def _settle(self, outcome: _Outcome, workspaces: Mapping[str, RunningWorkspace], now: float) -> None:
        """An action has ended: its key is free, and a failure is remembered."""
        key, failure = _key(outcome.action), outcome.failure
        if failure is None or isinstance(outcome.action, Pull | Start):
            self._busy.discard(key)
        match outcome.action:
            case Pull(_, digest):
                self._pulls.pop(digest, None) if failure is None else self._pull_failed(digest, failure, now)
            case Start(spec) if failure is not None:
                before = of_specification(self._memory.get(key, Memory()), spec.run_key())
                self._memory[key] = refused(before, failure, workspaces.get(key), now=now)
                self._starts.tails.pop(key, None)
            case _ if failure is not None:
                asyncio.get_running_loop().call_later(RETRY_S, self._free, key)

    def _pull_failed(self, digest: str, failure: RuntimeFailure, now: float) -> None:
        memory = self._pulls.get(digest, Memory())
        self._pulls[digest] = failed(memory, failure.code, failure.detail, now=now, fatal=not failure.retryable)

    def _free(self, key: str) -> None:
        self._busy.discard(key)
        self._wake_up()

    def _probes(self, workspaces: Iterable[RunningWorkspace]) -> Iterator[Probe]:
        wanted = self._target.workspaces if self._target else {}
        for here in workspaces:
            item = wanted.get(here.id)
            if here.state == "running" and item is not None and item.run_key == here.run_key:
                project = item.spec.project
                url = f"http://{self._runtime.address}:{here.port}{project.base_path}{project.health_path.lstrip('/')}"
                yield Probe(here.id, here.starts, url, item.spec.token)

    def _servers(self) -> Iterator[Server]:
        """The Jupyter servers that work for somebody."""
        for identity in self._healthy():
            here, wanted = self._view.workspaces[identity], self._target and self._target.workspaces.get(identity)
            if wanted and wanted.wanted == "bound" and wanted.spec.project.kind == "jupyter":
                url = f"http://{self._runtime.address}:{here.port}{wanted.spec.project.base_path}api/"
                yield Server(identity, here.epoch, url, wanted.spec.token)

    def _healthy(self) -> frozenset[str]:
        healthy = self._health.healthy()
        return frozenset(
            identity for identity, here in self._view.workspaces.items() if healthy.get(identity) == here.starts
        )

    def _report(self) -> None:
        """Ask for a report if there is something new to say; without one, the heartbeat repeats the last."""
        view = self._view
        heard = (view.workspaces, view.memory, view.pulls, view.busy, view.started_over, view.hooks)
        said = (self._reached, self._target, *heard, self._healthy())
        if said != self._reported:
            self._reported = said
            self._report_soon()

    def _report_soon(self) -> None:
        if self._link is not None:
            self._link.report_soon()

    # --- actions ----------------------------------------------------------------------------------------------------

    def _begin(self, action: Action) -> None:
        self._busy.add(_key(action))
        self._view = replace(self._view, busy=frozenset(self._busy))
        task = asyncio.create_task(self._act(action), name=f"{type(action).__name__} {_key(action)}")
        self._actions.add(task)
        task.add_done_callback(self._actions.discard)

    async def _act(self, action: Action) -> None:
        failure: RuntimeFailure | None = None
        what = type(action).__name__.lower()
        try:
            await self._carry_out(action)
            log.info(what, of=_key(action))
        except RuntimeFailure as error:
            failure = error
            log.warning(f"{what} failed", of=_key(action), code=error.code, detail=error.detail)
        except Exception as error:
            # A defect of a runtime is one workspace's failure, not the agent's end.
            failure = RuntimeFailure("internal", f"{type(error).__name__} in the agent; see its log", retryable=True)
            log.exception(f"{what} failed", of=_key(action))
        self._outcomes.append(_Outcome(action, failure))
        self._wake_up()

    async def _carry_out(self, action: Action) -> None:
        runtime = self._runtime
        match action:
            case Pull(project, digest):
                await self._pull(project, digest)
            case Start(spec):
                await self._keeping.have(spec)
                await runtime.start(spec)
            case Note(spec):
                await self._keeping.have(spec)
                await runtime.note(spec)
            case Stop(workspace, grace_s, why):
                if why == "start_timeout":
                    await self._timed_out(workspace)
                await runtime.stop(workspace, grace_s)
            case StartOver(spec, wish):
                await self._wishes.carry_out(spec, wish, self._view.workspaces[spec.id].home)
            case Remove(workspace):
                await runtime.remove(workspace)
            case ForgetImage(digest):
                await runtime.forget_image(digest)

    async def _pull(self, project: Project, digest: str) -> None:
        def progress(line: str) -> None:
            log.info("pulling", line=line)
            self._progress[digest] = line
            if self._link is not None:
                self._link.report_soon()

        try:
            await self._runtime.pull(project, digest, progress)
        finally:
            self._progress.pop(digest, None)

    async def _timed_out(self, workspace: str) -> None:
        why = await self._starts.never_answered(workspace)
        now = asyncio.get_running_loop().time()
        self._memory[workspace] = failed(self._memory.get(workspace, Memory()), "start_timeout", why, now=now)

    async def _finish_actions(self) -> None:
        for task in self._actions:
            task.cancel()
        await asyncio.gather(*self._actions, return_exceptions=True)


def _key(action: Action) -> str:
    """What an action makes busy: a workspace id or a digest."""
    match action:
        case Pull(_, digest) | ForgetImage(digest):
            return digest
        case Start(spec) | Note(spec) | StartOver(spec):
            return spec.id
        case Stop(workspace) | Remove(workspace):
            return workspace
