"""A push while somebody works, in Chromium: what is not saved, what runs, and where they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from tests.docker_engine import ROOT
from tests.e2e.lab import Lab
from tests.e2e.people import Person, Room

pytestmark = [
    pytest.mark.xdist_group("one mux"),
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
    pytest.mark.parametrize("mux", ["process"], indirect=True),
]
EDIT = "typed = 'and neither run nor saved'"


def changed_image(directory: Path, word: str) -> Path:
    """The example with another README."""
    image = directory / word
    shutil.copytree(ROOT / "images" / "example", image)
    (image / "home" / "README.md").write_text(f"# {word}\n", encoding="utf-8")
    return image


class AtWork:
    """Somebody in the middle of it: a kernel that remembers, a terminal, and an edit that nobody has saved.

    The page itself is the witness that it was not loaded anew: it remembers a word.
    """

    def __init__(self, person: Person, lab: Lab) -> None:
        self.person = person
        self.page = person.page
        self.lab = lab

    @classmethod
    async def begins(cls, room: Room, name: str) -> AtWork:
        person = await room.attendee(name)
        lab = await person.lab()
        await lab.in_terminal("echo here > from-terminal.txt", "from-terminal.txt")
        await person.page.locator("jp-button[data-command='launcher:create']").first.click()
        await lab.launcher.and_(person.page.locator("[data-category=Notebook]")).first.click()
        await lab.kernel_idle()
        at_work = cls(person, lab)
        assert await lab.run("witness = 41; print(witness)") == "41"
        await at_work.types(EDIT)
        await person.page.evaluate("window.witness = 'the same page'")
        return at_work

    async def types(self, text: str) -> None:
        """Type into the last cell, and leave it there."""
        editor = self.lab.cells().last.locator(".cm-content")
        await editor.click()
        await self.page.keyboard.press("ControlOrMeta+a")
        await self.page.keyboard.insert_text(text)
        await expect(editor).to_have_text(text)

    @property
    def kernel_gone(self) -> Locator:
        return self.page.locator(".mux-notice").filter(has_text="its kernel has ended")

    async def sees_that_nothing_is_lost(self) -> None:
        """The same page, the same notebook, the edit in it and in the file; no dialog, and a word on the kernel."""
        await expect(self.kernel_gone).to_be_visible()
        assert await self.page.evaluate("window.witness") == "the same page"
        await expect(self.lab.cells().last.locator(".cm-content")).to_have_text(EDIT)
        await expect(self.page.locator(".jp-Dialog")).to_have_count(0)
        assert EDIT in await self.saved()
        await self.person.picture("push-kernel")

    async def saved(self) -> str:
        """What stands in the last cell of the file."""
        name = await self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)").get_attribute("aria-labelledby")
        title = await self.page.locator(f"#{name} .lm-TabBar-tabLabel").inner_text()
        return "".join(json.loads(await self.lab.read(title))["cells"][-1]["source"])

    async def goes_on(self) -> None:
        """Start a kernel by the button, and compute."""
        await self.kernel_gone.get_by_role("button", name="Start a kernel").click()
        await self.lab.kernel_idle()
        assert await self.lab.run("print(6 * 7)") == "42"


async def test_a_push_saves_what_is_typed_and_leaves_the_page_as_it_is(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    image = changed_image(room.mux.directory, "fixed")
    await room.mux.run("push", "intro", str(image), "--yes", "--max-unavailable", "100%")
    await ana.sees_that_nothing_is_lost()
    assert await ana.lab.read("README.md") == "# fixed\n"
    await ana.goes_on()
