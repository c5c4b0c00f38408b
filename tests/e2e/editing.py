"""Somebody with a text file open in an editor: what tests of the extension begin with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from playwright.async_api import Locator, Page, expect

from tests.e2e.lab import START_MS_MAX, Lab
from tests.e2e.people import Person

PATIENCE_S = START_MS_MAX / 1000
TYPED = "typed at a bad moment"


async def opened(person: Person, name: str) -> Lab:
    """A text file in an editor."""
    lab = await person.lab()
    await lab.file(name).dblclick()
    await person.page.locator(".jp-FileEditor .cm-content").wait_for(timeout=START_MS_MAX)
    return lab


async def types(page: Page, text: str = TYPED) -> None:
    """Type into the editor."""
    await page.locator(".jp-FileEditor .cm-content").click()
    await page.keyboard.insert_text(text)
    await expect(page.locator(".jp-FileEditor")).to_contain_text(text)


async def saves(page: Page) -> None:
    """Save what the editor holds, as people do."""
    await page.locator(".jp-FileEditor .cm-content").click()
    await page.keyboard.press("ControlOrMeta+s")


def unsaved(page: Page) -> Locator:
    """The tab in front, if it has unsaved edits."""
    return page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty")


async def until(fulfilled: Callable[[], bool]) -> None:
    """Wait for something that gives no sign of its own."""
    async with asyncio.timeout(PATIENCE_S):
        while not fulfilled():
            await asyncio.sleep(0.05)
