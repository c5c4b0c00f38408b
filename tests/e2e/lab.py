"""JupyterLab as somebody at a keyboard meets it.

JupyterLab can lose a key that is pressed while it builds its page, so every press is checked and made again. Nothing
here knows of mux: it drives whatever stands at an address.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from playwright.async_api import Locator, Page, expect
from playwright.async_api import TimeoutError as WaitedTooLong

START_MS_MAX = 120_000
"""Bound of every wait for a page: JupyterLab's takes some ten seconds on a busy machine, and CI can be far busier."""
KEY_MS_MAX = 6_000
"""After this long a key that had no effect counts as lost."""
TRIES_MAX = 5

RUNNING = "*"


class Lab:
    """One page with JupyterLab in it.

    Args:
        page: the browser's page.
        address: of the workspace, with a slash at its end, e.g. ``http://localhost:8000/camp/intro/``.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self._asked = False

    @property
    def launcher(self) -> Locator:
        return self.page.locator(".jp-LauncherCard")

    async def ready(self) -> Lab:
        """Wait until the page is built.

        A notebook that is opened before JupyterLab has heard which kernels there are makes it ask; then the one that it
        suggests is taken, as people do. Where one of its first requests takes too long, JupyterLab
        says that it goes on trying; people close that.
        """
        if not self._asked:
            self._asked = True
            for text in ("Select Kernel", "A connection to the Jupyter server could not be established"):
                question = self.page.locator(".jp-Dialog").filter(has_text=text)
                await self.page.add_locator_handler(
                    question, lambda dialog: dialog.locator(".jp-mod-accept").click(timeout=START_MS_MAX)
                )
        await self.page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=START_MS_MAX)
        await self.page.wait_for_selector(".jp-DirListing-item", timeout=START_MS_MAX)
        return self

    async def open(self) -> Lab:
        """Go to JupyterLab, without what was open before."""
        await self.page.goto(f"{self.address}lab?reset", timeout=START_MS_MAX)
        return await self.ready()

    async def new_notebook(self) -> Lab:
        """An empty notebook with a kernel that has started."""
        await self.open()
        await self.launcher.and_(self.page.locator("[data-category=Notebook]")).first.click(timeout=START_MS_MAX)
        return await self.kernel_idle()

    async def kernel_idle(self) -> Lab:
        """Wait until the kernel says that it has nothing to do."""
        await self.page.wait_for_selector(
            ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook-ExecutionIndicator[data-status=idle]",
            timeout=START_MS_MAX,
        )
        return self

    def cells(self) -> Locator:
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")

    async def run(self, code: str) -> str:
        """Type code into the last cell, run it, and return what it printed."""
        cells = self.cells()
        cell = cells.nth(await cells.count() - 1)
        editor = cell.locator(".cm-content")
        await editor.click()
        await self.page.keyboard.press("ControlOrMeta+a")
        await self.page.keyboard.insert_text(code)
        await expect(editor).to_contain_text(code.splitlines()[0])
        await self._run(cell)
        return await self._printed(cell)

    async def run_first_code_cell(self) -> str:
        """Run the first code cell of the open notebook as it stands, and return what it printed."""
        await self.kernel_idle()
        cell = self.cells().first
        await cell.locator(".cm-content").click()
        await self._run(cell)
        return await self._printed(cell)

    async def _run(self, cell: Locator) -> None:
        before = await self._count(cell)
        for _ in range(TRIES_MAX):
            await self.page.keyboard.press("Shift+Enter")
            try:
                await self._run_ended(cell, before, KEY_MS_MAX)
            except WaitedTooLong:
                if await self._count(cell) == RUNNING:
                    await self._run_ended(cell, before, START_MS_MAX)
                    return
                await cell.locator(".cm-content").click()
            else:
                return
        raise AssertionError(f"the cell did not run; its prompt is [{await self._count(cell)}]")

    async def _printed(self, cell: Locator) -> str:
        return "\n".join([text.strip() for text in await cell.locator(".jp-OutputArea-output").all_inner_texts()])

    async def _count(self, cell: Locator) -> str:
        return (await cell.locator(".jp-InputPrompt").first.inner_text()).strip().strip("[]: ")

    async def _run_ended(self, cell: Locator, before: str, timeout_ms: int) -> None:
        prompt = await cell.locator(".jp-InputPrompt").first.element_handle()
        await self.page.wait_for_function(
            "([prompt, before]) => { const now = (prompt.innerText.match(/\\[(\\d+)\\]/) || [])[1];"
            " return now !== undefined && now !== before }",
            arg=[prompt, before],
            timeout=timeout_ms,
        )

    async def in_terminal(self, command: str, file: str) -> str:
        """Run a command in a new terminal; it writes a file, whose content is returned.

        The terminal draws on a canvas, so that its screen cannot be read.
        """
        await self.open()
        await self.launcher.and_(self.page.locator("[title*=terminal]")).first.click(timeout=START_MS_MAX)
        terminal = self.page.locator(".jp-Terminal .xterm").first
        await terminal.wait_for(timeout=START_MS_MAX)
        for _ in range(TRIES_MAX):
            await terminal.click()
            await self.page.keyboard.type(command)
            await self.page.keyboard.press("Enter")
            await self.refresh_files()
            with contextlib.suppress(WaitedTooLong):
                await self.file(file).wait_for(timeout=KEY_MS_MAX)
                return await self.read(file)
        raise AssertionError(f"the terminal did not write {file}")

    def file(self, name: str) -> Locator:
        """A file's entry in the list on the left."""
        return self.page.locator(".jp-DirListing-item").filter(has=self.page.get_by_text(name, exact=True))

    async def refresh_files(self) -> None:
        await self.page.locator("jp-button[data-command='filebrowser:refresh']").click()

    async def read(self, name: str) -> str:
        """A file's content, fetched by the page itself."""
        text: str = await self.page.evaluate(
            "async address => { const answer = await fetch(address);"
            " if (!answer.ok) throw new Error(`${answer.status} for ${address}`); return answer.text() }",
            f"{self.address}files/{name}",
        )
        return text

    async def upload(self, path: Path) -> None:
        """Upload a file by the button, and wait until it is listed."""
        async with self.page.expect_file_chooser() as chosen:
            await self.page.locator("[data-jp-item-name=uploader] jp-button").click()
        await (await chosen.value).set_files(path)
        await self.file(path.name).wait_for(timeout=START_MS_MAX)

    async def download(self, name: str, to: Path) -> None:
        """Download a listed file by its menu."""
        await self.file(name).click(button="right")
        async with self.page.expect_download() as started:
            await self.page.locator(".lm-Menu-item[data-command='filebrowser:download']").click()
        await (await started.value).save_as(to)
