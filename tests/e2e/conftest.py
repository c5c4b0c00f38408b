"""One mux and one Chromium for all browser tests; each test opens pages of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from tests.docker_engine import ROOT, Engine, left_in
from tests.e2e.harness import MuxUnderTest, kill
from tests.e2e.lab import START_MS_MAX
from tests.e2e.people import Room
from tests.images.conftest import build
from tests.parts import chromium

FAILED = pytest.StashKey[bool]()
ATTENDEES = ("Ana", "Ben", "Cleo")
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It runs as root in containers, and must not look at the network beside what it is told to open."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, without a window."""
    program = chromium()
    expect.set_options(timeout=START_MS_MAX)  # playwright's own five seconds are too few on a loaded machine
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def mux(request: pytest.FixtureRequest, browser: Browser) -> AsyncIterator[MuxUnderTest]:
    """A whole mux with three attendees and one organizer, all seats ready; the parameter is its runtime.

    It ends with the last of these tests: what comes after them needs the memory, and may end the engine.
    """
    engine: Engine | None = None
    if request.param == "docker":
        engine = request.getfixturevalue("docker_engine")
        build(engine)
        build(engine, ROOT / "tests/images/camp")
    # Not below pytest's own directory: a Unix socket's path is short.
    directory = Path(tempfile.mkdtemp(prefix="mux-e2e-"))
    under_test = MuxUnderTest(directory, engine)
    try:
        await under_test.start()
        await under_test.invite(ATTENDEES)
        await under_test.invite(["Olga"], role="organizer")
        await under_test.ready()
        yield under_test
        await under_test.stop()
        assert under_test.processes() == [], "mux left processes behind"
        if engine is not None:
            assert left_in(engine, directory / "data" / "ships") == [], "mux left something in the engine"
    finally:
        if left := under_test.processes():
            await kill(left)
        if not os.environ.get("MUX_KEEP"):
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="package")
def kept(mux: MuxUnderTest) -> dict[str, BrowserContext]:
    """Browsers of attendees who stay logged in to one mux from test to test; they end with Chromium."""
    return {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fixtures can ask whether their test failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest_asyncio.fixture(loop_scope="session")
async def room(
    request: pytest.FixtureRequest, mux: MuxUnderTest, browser: Browser, kept: dict[str, BrowserContext]
) -> AsyncIterator[Room]:
    """The people of one test; every page is closed after it, and shown if the test failed."""
    pictures = os.environ.get("MUX_SCREENSHOTS")
    opened = Room(mux, browser, kept, Path(pictures) if pictures else None)
    yield opened
    if request.node.stash.get(FAILED, False):
        await opened.tell(request.node.name)
        print(await mux.account())  # noqa: T201 - what a failed test printed is in its report
    await opened.close()


@pytest.fixture(scope="session", autouse=True)
def artefacts() -> None:
    """Pictures go where MUX_SCREENSHOTS says."""
    if directory := os.environ.get("MUX_SCREENSHOTS"):
        Path(directory).mkdir(parents=True, exist_ok=True)
