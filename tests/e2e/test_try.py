"""`mux image try` as an author sees it, in Chromium: what is saved beside the browser is shown in it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.docker_engine import ROOT, Engine
from tests.e2e.harness import READY_S_MAX, STOP_S_MAX, clean_environment, free_ports
from tests.e2e.lab import START_MS_MAX, Lab
from tests.images.conftest import build

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
    pytest.mark.long,
]
PORTS = 101
LOOK_S = 0.1
DOCKERFILE = """\
FROM mux/base
COPY --chown=1000:100 home/ /home/jovyan/
"""
BUILT = "mux-image/tutorial"
"""What the directory is built as."""
HAS_IT = "your workspace has it"


class Author:
    """Somebody with a tutorial's directory, a `mux image try` on it, and a browser.

    Args:
        directory: the tutorial's.
        output: what the command prints.
        page: the browser's page, at the workspace.
        lab: JupyterLab in it.
    """

    def __init__(self, directory: Path, output: Path, page: Page, address: str) -> None:
        self.directory = directory
        self.output = output
        self.page = page
        self.lab = Lab(page, address)

    @property
    def editor(self) -> str:
        return ".jp-FileEditor:not(.lm-mod-hidden)"

    async def opens(self, name: str) -> None:
        await self.lab.file(name).dblclick()
        await self.page.locator(f"{self.editor} .cm-content").wait_for()

    async def types(self, text: str) -> None:
        await self.page.locator(f"{self.editor} .cm-content").click()
        await self.page.keyboard.press("ControlOrMeta+Home")
        await self.page.keyboard.insert_text(text)
        await self.sees(text)

    async def sees(self, text: str) -> None:
        await expect(self.page.locator(self.editor)).to_contain_text(text)

    def saves(self, path: str, text: str) -> None:
        """Beside the browser."""
        place = self.directory / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")

    async def told(self, text: str, times: int = 1) -> None:
        """Wait until the command has said something, so many times."""
        await said(self.output, text, times)


async def said(output: Path, text: str, times: int = 1) -> str:
    async with asyncio.timeout(READY_S_MAX):
        while (all_of_it := output.read_text(encoding="utf-8")).count(text) < times:
            await asyncio.sleep(LOOK_S)
    return all_of_it


@pytest_asyncio.fixture(loop_scope="session")
async def author(browser: Browser, tmp_path: Path) -> AsyncIterator[Author]:
    """An author of a directory image."""
    async with trying(browser, tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def author_with_dockerfile(browser: Browser, tmp_path: Path, docker_engine: Engine) -> AsyncIterator[Author]:
    """An author whose directory has a Dockerfile."""
    build(docker_engine, ROOT / "images/base")
    own = {"DOCKER_HOST": docker_engine.host, "DOCKER_BUILDKIT": "0"}
    try:
        async with trying(browser, tmp_path, {"Dockerfile": DOCKERFILE}, own) as opened:
            yield opened
    finally:
        docker_engine.run_docker("image", "rm", "--force", BUILT)


@pytest_asyncio.fixture(loop_scope="session")
async def author_of_an_image(browser: Browser, tmp_path: Path, docker_engine: Engine) -> AsyncIterator[Author]:
    """An author who names an image."""
    build(docker_engine)
    own = {"DOCKER_HOST": docker_engine.host}
    async with trying(browser, tmp_path, own=own, image="mux/example") as opened:
        yield opened


@contextlib.asynccontextmanager
async def trying(
    browser: Browser,
    tmp_path: Path,
    files: Mapping[str, str] | None = None,
    own: Mapping[str, str] | None = None,
    image: str = "",
) -> AsyncIterator[Author]:
    """An author whose directory has two texts, at the workspace; everything ends by Ctrl-C.

    Args:
        browser: theirs.
        tmp_path: for the directory.
        files: what else is in it, by name.
        own: of the command's environment.
        image: what is tried instead of the directory.
    """
    directory, output = tmp_path / "tutorial", tmp_path / "output"
    (directory / "home").mkdir(parents=True)
    texts = {"home/README.md": "# first\n", "home/notes.md": "# first\n", **(files or {})}
    for name, text in texts.items():
        (directory / name).write_text(text, encoding="utf-8")
    temporary = Path(tempfile.mkdtemp(prefix="try-"))  # short: Unix sockets are below it
    port = free_ports(PORTS, adjacent=True)[0]
    with output.open("wb") as file:
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mux.cli", "image", "try", image or str(directory), "--port", str(port)),
            env=clean_environment() | {"TMPDIR": str(temporary), **(own or {})},
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
    context.set_default_timeout(START_MS_MAX)
    try:
        shown = re.search(
            r"(http://localhost:\d+/\S+)\n  name author, code (\S+)", await said(output, "Ctrl-C ends it")
        )
        assert shown is not None
        page = await context.new_page()
        await page.goto(shown[1])
        await page.fill("#login", "author")
        await page.fill("#secret", shown[2])
        await page.get_by_role("button", name="Log in").click()
        opened = Author(directory, output, page, shown[1])
        await opened.lab.ready()
        yield opened
        command.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_S_MAX):
            assert await command.wait() == 0
        assert list(temporary.iterdir()) == []
    finally:
        print(output.read_text(encoding="utf-8"))  # noqa: T201 - what a failed test printed is in its report
        await context.close()
        if command.returncode is None:
            command.send_signal(signal.SIGINT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S_MAX):
                    await command.wait()
        shutil.rmtree(temporary, ignore_errors=True)


async def test_an_open_page_shows_what_is_saved_beside_it_but_over_nothing_that_was_typed(author: Author) -> None:
    await author.opens("README.md")
    await author.page.evaluate("window.witness = 'the same page'")
    author.saves("home/README.md", "# second\n")
    await author.sees("# second")
    await expect(author.page.locator(".jp-mod-dirty")).to_have_count(0)

    await author.types("typed here")
    author.saves("home/README.md", "# third\n")
    await expect(author.page.locator(".mux-notice").filter(has_text="README.md has edits")).to_be_visible()
    await author.sees("typed here# second")
    assert await author.lab.read("README.md") == "# third\n"
    assert await author.page.evaluate("window.witness") == "the same page"
    await expect(author.page.locator(".jp-Dialog")).to_have_count(0)


async def test_what_an_author_changed_in_the_browser_stays_when_a_hook_is_saved(author: Author) -> None:
    await author.opens("notes.md")
    await author.types("changed in the browser ")
    await author.page.keyboard.press("ControlOrMeta+s")
    await expect(author.page.locator(".jp-mod-dirty")).to_have_count(0)

    author.saves("start-notebook.d/10-bad.sh", "exit 3\n")
    await author.told("your workspace stays as it was")
    assert await author.lab.read("notes.md") == "changed in the browser # first\n"

    author.saves("home/README.md", "# second\n")
    author.saves("start-notebook.d/10-bad.sh", "echo done > hooked.txt\n")
    await author.told("your workspace has it")
    assert await author.lab.read("hooked.txt") == "done\n"
    assert await author.lab.read("notes.md") == "changed in the browser # first\n"
    assert await author.lab.read("README.md") == "# second\n"
    await author.types("and goes on ")
    await author.page.keyboard.press("ControlOrMeta+s")
    await expect(author.page.locator(".jp-mod-dirty")).to_have_count(0)
    await expect(author.page.locator(".jp-Dialog")).to_have_count(0)
    assert await author.lab.read("notes.md") == "and goes on changed in the browser # first\n"


async def test_a_dockerfile_is_built_anew_for_an_open_page_and_one_that_does_not_build_changes_nothing(
    author_with_dockerfile: Author,
) -> None:
    author = author_with_dockerfile
    await author.opens("README.md")
    await author.page.evaluate("window.witness = 'the same page'")
    author.saves("home/README.md", "# second\n")
    await author.sees("# second")
    await author.told(HAS_IT)

    author.saves("Dockerfile", f"{DOCKERFILE}RUN echo built > /home/jovyan/built.txt\n")
    await author.told(HAS_IT, times=2)
    assert await author.lab.read("built.txt") == "built\n"

    author.saves("Dockerfile", f"{DOCKERFILE}RUN exit 7\n")
    await author.told("it cannot be built; mend its Dockerfile")
    assert await author.lab.read("built.txt") == "built\n"
    author.saves("home/README.md", "# third\n")
    await author.told("it cannot be built; mend its Dockerfile", times=2)

    author.saves("Dockerfile", DOCKERFILE)
    await author.sees("# third")
    await author.told(HAS_IT, times=3)
    assert await author.page.evaluate("window.witness") == "the same page"
    await expect(author.page.locator(".jp-Dialog")).to_have_count(0)


async def test_an_image_is_opened_by_its_name_and_says_that_it_follows_nothing(author_of_an_image: Author) -> None:
    author = author_of_an_image
    assert "what you save beside the browser does not come into it" in await said(author.output, "An image is shown")
    await author.opens("README.md")
    await author.types("typed here")
