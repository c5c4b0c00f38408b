"""A ship's directory with an agent, and the mux's side of its link played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ship_agent.agent import Agent, Observe
from ship_agent.protocol.messages import Desired, Observed, ObservedWorkspace, Project, Workspace
from ship_agent.runtimes.process import ProcessRuntime
from ship_agent.runtimes.shim import processes
from tests.ship_agent.images import free_port, make_image, project_of

TOKEN = "token-of-the-workspace"


class FakeLink:
    """The link as the agent sees it; the test gives desired states and awaits reports."""

    def __init__(self, take: Callable[[Desired], None], observe: Observe) -> None:
        self.take = take
        self.reports: list[Observed] = []
        self._observe = observe
        self._wanted = asyncio.Event()
        self._reported = asyncio.Condition()

    async def run(self) -> None:
        while True:
            report = await self._observe()
            async with self._reported:
                self.reports.append(report)
                self._reported.notify_all()
            await self._wanted.wait()
            self._wanted.clear()

    def report_soon(self) -> None:
        self._wanted.set()

    async def report(self, check: Callable[[Observed], bool], limit_s: float = 40) -> Observed:
        """Wait for a report of which ``check`` is true, the last one included."""
        try:
            async with asyncio.timeout(limit_s), self._reported:
                while not (self.reports and check(self.reports[-1])):
                    await self._reported.wait()
        except TimeoutError:
            raise AssertionError(f"no such report; the last: {self.reports[-1:]}") from None
        return self.reports[-1]

    async def workspace(self, check: Callable[[ObservedWorkspace], bool], identity: str = "w-1") -> ObservedWorkspace:
        """Wait until a workspace is reported for which ``check`` is true."""
        report = await self.report(
            lambda report: any(item.id == identity and check(item) for item in report.workspaces)
        )
        return next(item for item in report.workspaces if item.id == identity)


class Ship:
    """One ship: its directory, and agents on it, one after another."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        self.directory = directory / "ship"
        self.directory.mkdir()
        (self.directory / "join.json").write_text("{}")
        self.agent: Agent | None = None
        self.runtime = ProcessRuntime(self.directory)
        self._link: FakeLink | None = None
        self._task: asyncio.Task[None] | None = None
        self._generation = 0
        self._images = 0

    @property
    def link(self) -> FakeLink:
        assert self._link is not None
        return self._link

    async def start(self, *, link: bool = True) -> None:
        """Start an agent."""
        self.runtime = ProcessRuntime(self.directory)

        def connect(take: Callable[[Desired], None], observe: Observe) -> FakeLink:
            self._link = FakeLink(take, observe)
            return self._link

        self.agent = Agent(self.directory, self.runtime, connect if link else None)
        self._task = asyncio.create_task(self.agent.run())

    async def ended(self) -> None:
        """Wait for the agent's own end."""
        assert self._task is not None
        await self._task

    async def stop(self) -> None:
        """End the agent as SIGTERM does; workspaces go on."""
        if self._task is None or self.agent is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.agent.close()
        self._task = None

    def image(self, **of: Any) -> Path:
        self._images += 1
        return make_image(self.root / f"image-{self._images}", **of)

    def project(self, **changes: Any) -> Project:
        """A project with an image of its own."""
        content = {key: changes.pop(key) for key in ("hooks", "text") if key in changes}
        return project_of(self.image(**content), **changes)

    def workspace(self, project: Project, identity: str = "w-1", **changes: Any) -> Workspace:
        values: dict[str, Any] = {
            "id": identity,
            "seat": 0,
            "project": project.name,
            "digest": project.digest,
            "port": free_port(),
            "wanted": "warm",
            "token": TOKEN,
            "secrets": {},
            "epoch": 0,
            "receipt": "",
            **changes,
        }
        return Workspace(**values)

    def desire(self, *workspaces: Workspace, projects: list[Project], kept: Sequence[str] = ()) -> int:
        """Send a desired state; its generation."""
        self._generation += 1
        self.link.take(
            Desired(generation=self._generation, projects=projects, workspaces=list(workspaces), kept=list(kept))
        )
        return self._generation

    async def clean(self) -> None:
        """End everything."""
        await self.stop()
        runtime = ProcessRuntime(self.directory)
        await runtime.open()
        for identity in await runtime.inspect():
            await runtime.remove(identity)
        await runtime.close()

    def living(self) -> list[int]:
        """Processes that belong to this ship, by their environment."""
        found = []
        for pid in processes():
            try:
                if str(self.directory).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
            except OSError:
                continue
        return found


@pytest.fixture
async def ship(tmp_path: Path) -> AsyncIterator[Ship]:
    """A ship without an agent yet; at the end nothing of it is left running."""
    ship = Ship(tmp_path)
    yield ship
    await ship.clean()
    assert ship.living() == []
