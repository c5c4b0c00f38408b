"""Runtimes under test, each in a directory of its own, with nothing left behind.

A runtime joins the conformance suite by a `Lab`: how its images are made and where its workspaces answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from ship_agent.protocol.messages import Project
from ship_agent.runtimes.base import RunningWorkspace, Runtime, WorkspaceSpec
from ship_agent.runtimes.process import ProcessRuntime
from ship_agent.runtimes.shim import processes
from tests.ship_agent.images import free_port, make_image, project_of

TOKEN = "token-of-the-workspace"


class Lab:
    """One runtime on one directory, and the means to look at its workspaces from outside."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.session = aiohttp.ClientSession()
        self.runtime: Runtime = self.make()
        self._images = 0

    def make(self) -> Runtime:
        """Another runtime object on the same directory, as after the agent's restart."""
        return ProcessRuntime(self.directory / "ship")

    async def again(self) -> Runtime:
        """Let go of the runtime and open a new one in its place."""
        await self.runtime.close()
        self.runtime = self.make()
        await self.runtime.open()
        return self.runtime

    def image(self, **of: Any) -> Path:
        """A fresh image."""
        self._images += 1
        return make_image(self.directory / f"image-{self._images}", **of)

    async def project(self, *, hooks: dict[str, str] | None = None, text: str = "as given", **changes: Any) -> Project:
        """A project with an image of its own."""
        return project_of(self.image(hooks=hooks, text=text), **changes)

    def spec(self, project: Project, name: str = "ship-1.0.intro.1", **changes: Any) -> WorkspaceSpec:
        """A workspace of a project, on a free port."""
        values: dict[str, Any] = {
            "id": name,
            "seat": 0,
            "project": project,
            "digest": project.digest,
            "port": free_port(),
            "token": TOKEN,
            **changes,
        }
        return WorkspaceSpec(**values)

    async def pulled(self, **of: Any) -> WorkspaceSpec:
        """A workspace whose image is there."""
        spec = self.spec(await self.project(**of))
        await self.runtime.pull(spec.project, spec.digest, lambda _: None)
        return spec

    async def started(self, **of: Any) -> WorkspaceSpec:
        """A workspace that answers."""
        spec = await self.pulled(**of)
        await self.runtime.start(spec)
        await self.answers(spec)
        return spec

    async def ask(self, spec: WorkspaceSpec, what: str, **query: str) -> Any:
        """GET of a workspace's server; the decoded answer."""
        url = f"http://127.0.0.1:{spec.port}{spec.project.base_path}{what}?{urlencode(query)}"
        async with self.session.get(url, headers={"Authorization": f"token {spec.token}"}) as answer:
            answer.raise_for_status()
            return await answer.json(content_type=None)

    async def answers(self, spec: WorkspaceSpec) -> int:
        """Wait until a workspace answers; the machine's id of the process that its run stands and falls with."""
        async with asyncio.timeout(60):
            while True:
                try:
                    pid: int = (await self.ask(spec, "api"))["pid"]
                except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                    state = (await self.runtime.inspect())[spec.id]
                    assert state.state == "running", await self.runtime.log_tail(spec.id, 50)
                    await asyncio.sleep(0.02)
                else:
                    return pid

    async def exited(self, workspace: str) -> RunningWorkspace:
        """Wait until a workspace has ended; what is known of it."""
        async with asyncio.timeout(60):
            async for _ in self.runtime.changes():
                state = (await self.runtime.inspect())[workspace]
                if state.state == "exited":
                    return state
        raise AssertionError("changes ended")

    async def close(self) -> None:
        """Remove everything, and let go."""
        await self.session.close()
        for workspace in await self.runtime.inspect():
            await self.runtime.remove(workspace)
        await self.runtime.close()

    async def processes_of(self, spec: WorkspaceSpec, inside: list[int]) -> list[int]:
        """The machine's ids of a workspace's processes, those that it names ``inside`` among them."""
        return inside

    def left_over(self) -> list[str]:
        """What is left in the runtime of things that belong to this lab."""
        return []

    def living(self) -> list[int]:
        """Processes of any workspace of this lab, by what the system says of them."""
        found = []
        for pid in processes():
            try:
                if str(self.directory).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
            except OSError:
                continue
        return found


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A lab of the runtime `process`."""
    async with opened(Lab(tmp_path)) as lab:
        yield lab


@asynccontextmanager
async def opened(lab: Lab) -> AsyncIterator[Lab]:
    """At the end everything is removed, and nothing may be left running."""
    await lab.runtime.open()
    try:
        yield lab
    finally:
        await lab.close()
    assert lab.living() == []
    assert lab.left_over() == []
