"""`mux demo`, driven as a script drives it: no terminal, one line of JSON, ended by a signal."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.docker_engine import Engine, left_in
from tests.e2e.harness import MUX, READY_S_MAX, STOP_S_MAX, clean_environment, free_ports, kill, processes_of
from tests.e2e.lab import START_MS_MAX
from tests.images.conftest import build

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(700)]


class Demo:
    """One demo in a directory; it can be started again there."""

    def __init__(self, directory: Path, engine: Engine | None = None) -> None:
        self.directory = directory
        self.engine = engine
        self.port = free_ports(3, adjacent=True)[0]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> Mapping[str, Any]:
        """Start it; returns what it says once it is ready."""
        process = await self._start()
        assert process.stdout is not None
        async with asyncio.timeout(READY_S_MAX):
            line = await process.stdout.readline()
        assert line, f"the demo ended: {self.log_tail()}"
        ready: Mapping[str, Any] = json.loads(line)
        return ready

    async def refused(self) -> str:
        """Start it where it cannot start; returns everything that it says."""
        process = await self._start()
        async with asyncio.timeout(READY_S_MAX):
            assert await process.wait() == 1
        return self.said()

    async def _start(self) -> asyncio.subprocess.Process:
        with (self.directory / "demo.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                MUX, "demo", "--json", "--directory", str(self.directory / "demo"), "--port", str(self.port),
                env=self._environment(), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        return self._process

    def _environment(self) -> dict[str, str]:
        # Whatever this machine has, a test knows what the demo finds.
        host = self.engine.host if self.engine else f"unix://{self.directory}/none.sock"
        return clean_environment() | {"DOCKER_HOST": host}

    async def stop(self) -> None:
        """End it as Ctrl-C does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_S_MAX):
            assert await self._process.wait() == 0

    def processes(self) -> list[psutil.Process]:
        return processes_of(self.directory)

    def left(self) -> list[str]:
        """What is there after the end that should not be."""
        found = [" ".join(process.cmdline()) for process in self.processes()]
        return found + (left_in(self.engine, self.directory / "demo/data/ships") if self.engine else [])

    def said(self) -> str:
        """What a terminal would have shown."""
        return (self.directory / "demo.log").read_text(encoding="utf-8", errors="replace")

    def log_tail(self) -> str:
        """What it said, and what its processes logged, as far as there were any."""
        log = self.directory / "demo/mux.log"
        logged = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return self.said()[-4000:] + logged[-4000:]


@pytest_asyncio.fixture(loop_scope="session")
async def demo(request: pytest.FixtureRequest) -> AsyncIterator[Demo]:
    """A demo in a directory of its own; the parameter is what it finds to run on."""
    engine: Engine | None = None
    if getattr(request, "param", "process") == "docker":
        engine = build(request.getfixturevalue("docker_engine"))
    directory = Path(tempfile.mkdtemp(prefix="mux-demo-"))
    under_test = Demo(directory, engine)
    yield under_test
    if left := under_test.processes():
        await kill(left)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def taken(demo: Demo) -> Iterator[int]:
    """The demo's port, taken by somebody else."""
    with socket.create_server(("127.0.0.1", demo.port)):
        yield demo.port


async def test_a_port_in_use_gives_one_clear_line(demo: Demo, taken: int) -> None:
    said = (await demo.refused()).splitlines()
    about_it = [line for line in said if str(taken) in line]
    assert len(about_it) == 1
    assert "in use" in about_it[0]
    assert "--port 9000" in about_it[0]
    assert "Traceback" not in "\n".join(said)


@pytest.mark.parametrize("demo", ["docker"], indirect=True)
async def test_with_an_engine_it_takes_docker_and_leaves_nothing_in_it(demo: Demo, browser: Browser) -> None:
    ready = await demo.start()
    assert ready["runtime"] == "docker"
    assert "runtime: docker (workspaces are containers), since an engine answers at unix://" in demo.said()
    page = await entered(ready, browser)
    await page.context.close()
    await demo.stop()
    assert demo.left() == []


@pytest.mark.parametrize("demo", ["process", pytest.param("docker", marks=pytest.mark.long)], indirect=True)
async def test_it_leaves_nothing_behind_and_a_second_start_resumes(demo: Demo, browser: Browser) -> None:
    first = await demo.start()
    assert first["runtime"] == ("docker" if demo.engine else "process")
    assert [len(first["attendees"]), bool(first["organizer"]["code"])] == [3, True]
    page = await entered(first, browser)
    await demo.stop()
    assert demo.left() == []
    second = await demo.start()
    assert {**second, "pid": 0} == {**first, "pid": 0}
    # The same session, without a question, on the same seat: the workspace was parked with its files.
    await page.goto(f"{first['public']}/camp/intro/lab/tree/01-welcome.ipynb")
    await expect(page.get_by_role("heading", name="Welcome", exact=True)).to_be_visible(timeout=START_MS_MAX)
    await page.context.close()
    await demo.stop()
    assert demo.left() == []


async def entered(ready: Mapping[str, Any], browser: Browser) -> Page:
    """The page of the first attendee, who has come by a deep link and sees a notebook."""
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(START_MS_MAX)
    await page.goto(f"{ready['public']}/camp/intro/lab/tree/01-welcome.ipynb")
    await page.fill("#login", ready["attendees"][0]["name"])
    await page.fill("#secret", ready["attendees"][0]["code"])
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name="Welcome", exact=True)).to_be_visible(timeout=START_MS_MAX)
    return page
