"""One workspace outside of any fleet: started as the agent starts every other, looked at, destroyed.

Owns the order of a trial and its streams; `ship_agent.protocol.trial` says what goes over them. The runtime is the
same as a ship's, with the same specification and the same limits, so what works here works there.

Rules: whatever ends a trial (an order to finish, the end of the input, a failure), its workspace, its image's copy and
all that its runtime made are gone before this returns. A workspace that ends by itself is not started again: that it
ended is what somebody wants to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import structlog
from pydantic import BaseModel, ValidationError

from ship_agent.gauges import DockerGauge, Gauge, ProcessGauge, Use
from ship_agent.protocol.messages import LOG_TAIL_CHARS_MAX, MESSAGE_BYTES_MAX
from ship_agent.protocol.trial import FINISH, SAVED, TrialClosed, TrialEnded, TrialOrder, TrialStarted
from ship_agent.runtimes import logs
from ship_agent.runtimes.base import Runtime, RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.docker import DockerRuntime
from ship_agent.runtimes.hooks import hook_at

log = structlog.get_logger(__name__)

WORKSPACE = "trial.0"
"""The one workspace's id."""
LOOK_S = 0.5
"""How often memory is looked at. A peak between two looks is missed; the kernel's limit is not."""
LOG_LINES = 500
DIRECTORIES_MAX = 100_000
"""Directories of a home in which a file is looked for."""


class Trial:
    """One trial.

    Args:
        order: what to try.
        runtime: the ship's.
        gauge: looks at the workspace.
        say: takes each report.
    """

    def __init__(self, order: TrialOrder, runtime: Runtime, gauge: Gauge, say: Callable[[BaseModel], None]) -> None:
        self._order = order
        self._runtime = runtime
        self._gauge = gauge
        self._say = say
        self._peak = Use()
        self._token_in_log = False

    async def run(self, asked: asyncio.Event, over: asyncio.Event) -> None:
        """Until ``asked`` (then it is told what was seen) or ``over``; everything is gone afterwards."""
        try:
            await self._runtime.open()
        except RuntimeFailure as failure:
            self._say(TrialEnded(code=failure.code, detail=failure.detail[:500]))
            await self._gauge.close()
            return
        try:
            await self._run(asked, over)
        except RuntimeFailure as failure:
            await self._say_ended(failure.code, failure.detail)
        finally:
            await self._destroy()

    async def _run(self, asked: asyncio.Event, over: asyncio.Event) -> None:
        project = self._order.project
        await self._runtime.pull(project, project.digest, log.info)
        await self._runtime.start(
            WorkspaceSpec(
                id=WORKSPACE,
                seat=0,
                project=project,
                digest=project.digest,
                port=self._order.port,
                token=self._order.token,
                ports=self._order.ports,
                shared=WORKSPACE,
            )
        )
        kind = await self._gauge.kind(project, project.digest)
        self._say(
            TrialStarted(
                address=self._runtime.address,
                image_bytes=kind.image_bytes,
                user=kind.user,
                uid=kind.uid,
                read_only_root=kind.read_only_root,
                says_read_only=kind.says_read_only,
                limits_missing=list(self._runtime.limits().missing),
            )
        )
        looking = asyncio.create_task(self._look(), name="look at the workspace")
        asking = asyncio.create_task(asked.wait(), name="asked")
        ending = asyncio.create_task(over.wait(), name="over")
        try:
            await asyncio.wait({looking, asking, ending}, return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()
                await asyncio.wait({asking, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (looking, asking, ending):
                task.cancel()
            await asyncio.gather(looking, asking, ending, return_exceptions=True)
        if asked.is_set():
            await self._close()

    async def _look(self) -> None:
        """Look until the workspace has ended by itself."""
        while True:
            workspace = (await self._runtime.inspect()).get(WORKSPACE)
            await self._log()  # again and again: a hook may print the token, and much more after it
            if workspace is not None and workspace.state == "exited":
                code, detail = workspace.failure or "exited", workspace.detail or "it has ended"
                await self._say_ended(code, detail)
                return
            use = await self._gauge.use()
            self._peak = Use(max(self._peak.memory_bytes, use.memory_bytes), max(self._peak.processes, use.processes))
            await asyncio.sleep(LOOK_S)

    async def _say_ended(self, code: str, detail: str) -> None:
        text = await self._log()
        self._say(TrialEnded(code=code, detail=detail[:500], log_tail=text, token_in_log=self._token_in_log))

    async def _close(self) -> None:
        text = await self._log()
        changed, listening = await self._gauge.changed(), await self._gauge.listening()
        workspace = (await self._runtime.inspect()).get(WORKSPACE)
        keeps = workspace is not None and workspace.home is not None and await asyncio.to_thread(holds, workspace.home)
        self._say(
            TrialClosed(
                memory_peak_bytes=self._peak.memory_bytes,
                processes_peak=self._peak.processes,
                token_in_log=self._token_in_log,
                hook=hook_at(self._runtime.name, text),
                changed=changed,
                keeps=keeps,
                listening=listening,
                log_tail=text,
            )
        )

    async def _log(self) -> str:
        """The end of its log, and a look whether the token is in it."""
        with contextlib.suppress(RuntimeFailure):
            text = await self._runtime.log_tail(WORKSPACE, LOG_LINES)
            self._token_in_log = self._token_in_log or logs.REDACTED in text
            return text[-LOG_TAIL_CHARS_MAX:]
        return ""

    async def _destroy(self) -> None:
        try:
            await self._runtime.remove(WORKSPACE)
            await self._runtime.forget_image(self._order.project.digest)
        finally:
            await self._gauge.close()
            await self._runtime.close()


def holds(home: Path) -> bool:
    """Whether a file named `SAVED` is among an attendee's files. Blocking."""
    walked = (SAVED in files for _, _, files in os.walk(home))
    return any(islice(walked, DIRECTORIES_MAX))


def gauge_of(runtime: Runtime, directory: Path, socket_path: Callable[[], str]) -> Gauge:
    """What looks at workspaces of a runtime."""
    if isinstance(runtime, DockerRuntime):
        return DockerGauge(runtime, socket_path())
    return ProcessGauge(directory)


async def run_on_streams(make: Callable[[str], Runtime], directory: Path, socket_path: Callable[[], str]) -> None:
    """A trial as standard input orders it. Raises RuntimeFailure, also for an order that cannot be read.

    Args:
        make: the runtime of a name.
        directory: the ship's, empty.
        socket_path: the Docker engine's.
    """
    reader = asyncio.StreamReader(limit=MESSAGE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        order = TrialOrder.model_validate_json(await reader.readline())
    except (ValidationError, ValueError) as error:
        raise RuntimeFailure(
            "order_invalid", "the order of this trial cannot be read; use `mux image check`"
        ) from error
    asked, over = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    listening = asyncio.create_task(_listen(reader, asked, over), name="standard input")
    runtime = make(order.runtime)
    try:
        await Trial(order, runtime, gauge_of(runtime, directory, socket_path), _say).run(asked, over)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _listen(reader: asyncio.StreamReader, asked: asyncio.Event, over: asyncio.Event) -> None:
    while line := await reader.readline():
        if line.decode(errors="replace").strip() == FINISH:
            asked.set()
    over.set()


def _say(report: BaseModel) -> None:
    # Nobody may be listening any more; then the input has ended, too.
    with contextlib.suppress(OSError):
        sys.stdout.write(report.model_dump_json() + "\n")
        sys.stdout.flush()
