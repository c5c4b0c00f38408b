"""The people of a browser test: each has a browser of their own, with cookies of their own."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from http import HTTPStatus
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, Response, expect
from playwright.async_api import Error as PlaywrightError

from tests.e2e.harness import MuxUnderTest
from tests.e2e.lab import START_MS_MAX, Lab

TELL_MS_MAX = 5_000
REFUSED_KEPT = 50


class Person:
    """Somebody with a browser.

    Args:
        name: as in the roster.
        page: the page that they look at.
        context: its cookies; another page of it is another tab.
    """

    def __init__(self, name: str, page: Page, context: BrowserContext, room: Room) -> None:
        self.name = name
        self.page = page
        self.context = context
        self._room = room
        self._mux = room.mux

    async def fill_in_login(self) -> None:
        """Log in on the page that is shown."""
        await self.page.fill("#login", self.name)
        await self.page.fill("#secret", self._mux.codes[self.name])
        await self.page.get_by_role("button", name="Log in").click()

    async def log_in(self) -> None:
        """Go to the attendees' address and log in."""
        await self.page.goto(f"{self._mux.public}/")
        await self.fill_in_login()
        await expect(self.page.get_by_role("heading", name="Your projects")).to_be_visible()

    async def lab(self, project: str = "intro") -> Lab:
        """JupyterLab of a project."""
        return await Lab(self.page, self.address(project)).open()

    async def notebook(self, project: str = "intro") -> Lab:
        """An empty notebook of a project, its kernel running."""
        return await Lab(self.page, self.address(project)).new_notebook()

    def address(self, project: str) -> str:
        """Of a project's workspace: the same for everybody."""
        return f"{self._mux.public}/camp/{project}/"

    async def another_tab(self) -> Person:
        """The same person, in another tab of the same browser."""
        return Person(self.name, await self.context.new_page(), self.context, self._room)

    async def log_out(self) -> None:
        """Log out, from the page with the projects."""
        await self.page.goto(f"{self._mux.public}/camp/")
        await self.page.get_by_role("button", name="Log out").click()
        await self.page.wait_for_url(re.compile("/login"))

    async def enters(self, path: str) -> None:
        """Wait until the page, by itself, is at an address of the attendees' host that begins with ``path``."""
        await self.page.wait_for_url(re.compile(re.escape(self._mux.public + path)), timeout=START_MS_MAX)

    async def picture(self, name: str) -> None:
        """Keep a picture for the documentation, if wanted; of containers under a name of its own."""
        await self._room.picture(self.page, f"{name}-containers" if self._mux.engine else name)


class Room:
    """Everybody in one test.

    Args:
        mux: where they go.
        browser: what they share, each with cookies of their own.
        kept: browsers of attendees by name, kept from test to test: what JupyterLab's page is made of stays cached.
        pictures: directory for pictures, None for none.
    """

    def __init__(
        self, mux: MuxUnderTest, browser: Browser, kept: dict[str, BrowserContext], pictures: Path | None
    ) -> None:
        self.mux = mux
        self._browser = browser
        self._kept = kept
        self._pictures = pictures
        self._fresh: list[BrowserContext] = []
        self._refused: deque[str] = deque(maxlen=REFUSED_KEPT)

    async def person(self, name: str) -> Person:
        """Somebody with a fresh browser, not logged in."""
        context = await self._new_context()
        self._fresh.append(context)
        return Person(name, await context.new_page(), context, self)

    async def attendee(self, name: str) -> Person:
        """Somebody who has logged in, now or in an earlier test."""
        if (context := self._kept.get(name)) is not None:
            return Person(name, await context.new_page(), context, self)
        context = self._kept[name] = await self._new_context()
        person = Person(name, await context.new_page(), context, self)
        await person.log_in()
        return person

    async def _new_context(self) -> BrowserContext:
        context = await self._browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
        context.set_default_timeout(START_MS_MAX)
        context.on("response", self._answered)
        context.on("requestfailed", lambda request: self._refused.append(f"{request.failure}: {request.url}"))
        return context

    def _answered(self, response: Response) -> None:
        if response.status >= HTTPStatus.BAD_REQUEST:
            self._refused.append(f"{response.status}: {response.url}")

    async def picture(self, page: Page, name: str) -> None:
        if self._pictures is not None:
            await page.screenshot(path=self._pictures / f"{name}.png")

    async def tell(self, test: str) -> None:
        """Print what every open page shows and which requests failed, for the report of a test that failed."""
        print("requests that failed, the last ones:", *self._refused, sep="\n  ")  # noqa: T201 - a report
        for context in [*self._fresh, *self._kept.values()]:
            for page in context.pages:
                with contextlib.suppress(PlaywrightError):  # a page that does not answer has said that
                    dialogs = await page.locator("dialog").all_inner_texts()
                    body = await page.locator("body").inner_text(timeout=TELL_MS_MAX)
                    print(page.url, "dialogs:", dialogs, body)  # noqa: T201 - a report
                    await self.picture(page, f"failed-{test}")

    async def close(self) -> None:
        for context in self._fresh:
            await context.close()
        for context in self._kept.values():
            for page in context.pages:
                await page.close()
