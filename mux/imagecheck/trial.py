"""One workspace, run by a ship agent of its own for as long as a check lasts.

Owns the agent's process and its directory. Rules: the agent is asked to end by closing its input, and destroys the
workspace then; it does so, too, when this process is killed. Ctrl-C is not its affair: it has a session of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from mux.imagecheck.errors import ImageCheckError
from mux.imagecheck.subject import Runtime
from mux.providers.agent_process import agent_environment
from ship_agent.protocol.messages import MESSAGE_BYTES_MAX, Project
from ship_agent.protocol.trial import FINISH, TRIAL_REPORT, TrialClosed, TrialEnded, TrialOrder, TrialStarted

DESTROY_MAX_S = 90.0
"""How long the agent may take to destroy a workspace; then it hangs, and is killed."""
CLOSE_MAX_S = 60.0
"""How long it may take to say what it has seen."""


class Trial:
    """A workspace under trial; an async context manager, which destroys it at the end.

    Args:
        runtime: what runs it.
        project: what runs.
    """

    def __init__(self, runtime: Runtime, project: Project) -> None:
        self._order = TrialOrder(
            runtime=runtime,
            project=project,
            port=_free_port(),
            token=secrets.token_hex(32),
            ports={name: _free_port() for name in project.ports},
        )
        self._directory = Path()
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]
        self.over = asyncio.Event()
        """It has ended by itself, or could not be started, or its agent is gone."""
        self.ended: TrialEnded | None = None
        """Why, if it is over."""
        self.started: asyncio.Future[TrialStarted] = asyncio.get_running_loop().create_future()
        self._closed: asyncio.Future[TrialClosed] = asyncio.get_running_loop().create_future()

    @property
    def project(self) -> Project:
        """What runs."""
        return self._order.project

    @property
    def token(self) -> str:
        """What it demands of requests."""
        return self._order.token

    @property
    def has_own_port(self) -> bool:
        """Whether it listens on the project's port, and not on one of the ship's."""
        return self._order.runtime == "docker" and "host_network" not in self.project.allow

    @property
    def port_inside(self) -> int:
        """Where the workspace itself is to listen."""
        return self.project.port if self.has_own_port else self._order.port

    def url(self, address: str) -> str:
        """Where its base path is, at an address."""
        return f"http://{address}:{self._order.port}{self.project.base_path}"

    async def __aenter__(self) -> Trial:
        self._directory = Path(tempfile.mkdtemp(prefix="mux-image-"))
        try:
            with (self._directory / "agent.log").open("wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "ship_agent.cli", "trial", "--dir", str(self._directory)),
                    env=agent_environment(sys.executable, os.environ),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    limit=MESSAGE_BYTES_MAX,
                    start_new_session=True,
                )
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        self._reading = asyncio.create_task(self._read(), name="reports of the trial")
        # The token is a secret, and leaves this process only here.
        self._write(self._order.model_dump_json())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A cancellation on the way (a second Ctrl-C) leaves the agent alone with its work: its input is closed.
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(DESTROY_MAX_S):
                await self._reading
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            raise ImageCheckError(
                f"the ship agent of this check does not end; look at {self._directory}/agent.log"
            ) from None
        shutil.rmtree(self._directory, ignore_errors=True)

    async def close(self) -> TrialClosed | None:
        """What was seen of it; None if nothing was. Once."""
        self._write(FINISH)
        told: set[asyncio.Future[Any]] = {self._closed, self._reading}
        await asyncio.wait(told, timeout=CLOSE_MAX_S, return_when=asyncio.FIRST_COMPLETED)
        return self._closed.result() if self._closed.done() else None

    def _write(self, line: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(f"{line}\n".encode())

    async def _read(self) -> None:
        if self._process.stdout is None:
            return
        while line := await self._process.stdout.readline():
            try:
                report = TRIAL_REPORT.validate_json(line)
            except ValidationError:
                continue
            if isinstance(report, TrialStarted):
                self.started.set_result(report)
            elif isinstance(report, TrialClosed):
                self._closed.set_result(report)
            else:
                self.ended = report
                self.over.set()
        if self.ended is None:
            self.ended = TrialEnded(code="agent_ended", detail=self._last_word())
        self.over.set()

    def _last_word(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._directory / "agent.log").read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1].removeprefix("ship-agent: ")[:500]
        return "the ship agent of this check has ended without a word"


def _free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
