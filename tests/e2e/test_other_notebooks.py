"""A push where attendees work in something else than this JupyterLab: Notebook 7, shared editing, older Labs.

Each is an environment of its own, as an image would bring it, made here from the package index.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.e2e.conftest import FAILED
from tests.e2e.environments import ARGUMENTS, made
from tests.e2e.harness import EVENT, EXAMPLES, MuxUnderTest, kill
from tests.e2e.lab import START_MS_MAX, Lab
from tests.e2e.people import Person, Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1200),
    pytest.mark.long,
]
ENVIRONMENTS = {
    "notebook7": ("notebook", "notebook~=7.5"),
    "notebook70": ("notebook", "notebook~=7.0.8", "setuptools<80"),
    "shared": ("jupyterlab", "jupyterlab~=4.4", "jupyter-collaboration~=4.0"),
    "lab40": ("jupyterlab", "jupyterlab~=4.0.13", "setuptools<80"),
    "lab36": ("jupyterlab", "jupyterlab~=3.6.8", "setuptools<80"),
}
"""By project: what is started, and the packages that are there beside a kernel."""
PROJECT = """
[[project]]
name = "{name}"
image = "{image}"
start = "on_use"
command = {command}
"""
EDIT = "typed = 'and neither run nor saved'"
NOTEBOOK = "01-welcome.ipynb"
HARMLESS = re.compile(
    r"Failed to load resource|WebSocket connection|net::ERR|Failed to fetch|50[234] |404|"
    r"Connection lost|ServerConnection|NetworkError"
)
"""What browsers and Jupyter say themselves of requests that fail while a workspace is away."""


def template(environments: Path) -> str:
    """An event file with a project for each environment."""
    head, _, rest = EVENT.partition("[[project]]")
    projects = ""
    for name, (module, *packages) in ENVIRONMENTS.items():
        python = made(environments / name, tuple(packages))
        command = json.dumps([str(python), "-m", module, *ARGUMENTS])
        projects += PROJECT.format(name=name, image=EXAMPLES[0], command=command)
    return head + projects.replace("{", "{{").replace("}", "}}") + rest.partition("{more}")[2]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def others(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MuxUnderTest]:
    """A mux whose projects are these."""
    directory = Path(tempfile.mkdtemp(prefix="mux-e2e-"))
    environments = tmp_path_factory.mktemp("environments")
    under_test = MuxUnderTest(directory, template=await asyncio.to_thread(template, environments))
    try:
        await under_test.start()
        await under_test.invite(["Ana"])
        await under_test.ready()
        yield under_test
        await under_test.stop()
        assert under_test.processes() == [], "mux left processes behind"
    finally:
        if left := under_test.processes():
            await kill(left)
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(environments, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="session")
async def room(others: MuxUnderTest, browser: Browser, request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    """The people of one test; every page is closed after it, and shown if the test failed."""
    pictures = os.environ.get("MUX_SCREENSHOTS")
    opened = Room(others, browser, {}, Path(pictures) if pictures else None)
    yield opened
    if request.node.stash.get(FAILED, False):
        await opened.tell(request.node.name)
    await opened.close()


class Complaints:
    """What a page says on its console that is wrong."""

    def __init__(self, page: Page) -> None:
        self.said: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not HARMLESS.search(message.text):
            self.said.append(message.text)


def notice(page: Page, text: str) -> Locator:
    return page.locator(".mux-notice").filter(has_text=text)


async def push(room: Room, project: str) -> None:
    """Push an image with another README."""
    image = room.mux.directory / project
    shutil.copytree(EXAMPLES[0], image)
    (image / "home" / "README.md").write_text("# another\n", encoding="utf-8")
    await room.mux.run("push", project, str(image), "--yes", "--no-watch", "--max-unavailable", "100%")


class Open:
    """A page of somebody's, and what it complains of.

    Args:
        page: the browser's.
        path: where to, below the project's address.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints = Complaints(page)
        self.own: frozenset[str] = frozenset()

    @classmethod
    async def at(cls, person: Person, project: str, path: str) -> Open:
        opened = cls(await person.context.new_page())
        await opened.page.goto(person.address(project) + path, timeout=START_MS_MAX)
        return opened

    async def remembers(self) -> None:
        """From now on it must not be loaded anew, and complain of nothing that it does not complain of by itself."""
        await self.page.evaluate("window.witness = 'the same page'")
        self.own = frozenset(self.complaints.said)

    @property
    def editor(self) -> Locator:
        """Of the first cell, or of the text; JupyterLab before 4 has another one."""
        return self.page.locator(".jp-CodeCell, .jp-FileEditor").first.locator(".cm-content, .CodeMirror")

    async def idle(self) -> None:
        indicator = ".jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status=idle]"
        await self.page.wait_for_selector(indicator, timeout=START_MS_MAX)

    async def types(self, text: str) -> None:
        await self.editor.click()
        await self.page.keyboard.press("ControlOrMeta+a")
        await self.page.keyboard.insert_text(text)
        await expect(self.editor).to_contain_text(text)

    async def is_the_same(self) -> None:
        """It was not loaded anew, asks nothing, and complains of nothing."""
        assert await self.page.evaluate("window.witness") == "the same page"
        await expect(self.page.locator(".jp-Dialog")).to_have_count(0)
        assert set(self.complaints.said) <= self.own


async def enters(person: Person, project: str) -> None:
    """Have a project that starts on use started."""
    await person.page.goto(person.address(project), timeout=START_MS_MAX)
    await person.page.wait_for_selector(".jp-DirListing-item", timeout=START_MS_MAX)
    await person.page.goto("about:blank")


async def comes_through(room: Room, project: str, notebook: str, *others: str) -> list[Open]:
    """Push while somebody has a notebook with an unsaved edit open, and more; the other pages, which are as before."""
    ana = await room.person("Ana")
    await ana.log_in()
    await enters(ana, project)
    at_work, *beside = [await Open.at(ana, project, place) for place in (notebook, *others)]
    for opened in beside:
        await opened.page.locator(".jp-DirListing-item, .jp-FileEditor, .jp-Terminal").first.wait_for()
    await at_work.idle()
    await at_work.types(EDIT)
    for opened in (at_work, *beside):
        await opened.remembers()

    await push(room, project)
    ended = notice(at_work.page, "its kernel has ended")
    await expect(ended).to_be_visible()
    assert EDIT in await Lab(at_work.page, ana.address(project)).read(NOTEBOOK)
    await room.picture(at_work.page, f"push-{project}")
    await ended.get_by_role("button", name="Start a kernel").click()
    await at_work.idle()
    await at_work.is_the_same()
    return beside


@pytest.mark.parametrize("project", ["notebook7", "notebook70"])
async def test_pages_of_notebook_7_come_through_a_push(room: Room, project: str) -> None:
    files, text, terminal = await comes_through(
        room, project, f"notebooks/{NOTEBOOK}", "tree", "edit/README.md", "terminals/1"
    )
    await expect(text.editor).to_contain_text("# another")
    await files.is_the_same()
    await text.is_the_same()
    await expect(notice(terminal.page, "its terminals have ended")).to_be_visible()


@pytest.mark.parametrize("project", ["lab40", "lab36"])
async def test_older_jupyterlabs_come_through_a_push(room: Room, project: str) -> None:
    files, text = await comes_through(
        room, project, f"lab/tree/{NOTEBOOK}?reset", "lab/tree/data?reset", "lab/tree/README.md?reset"
    )
    await expect(text.editor).to_contain_text("# another")
    await files.is_the_same()
    await text.is_the_same()


async def test_a_notebook_that_is_edited_together_comes_through_a_push(room: Room) -> None:
    (files,) = await comes_through(room, "shared", f"lab/tree/{NOTEBOOK}?reset", "lab/tree/data?reset")
    await files.is_the_same()
