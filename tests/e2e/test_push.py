"""A push while somebody works, in Chromium: what is not saved, what runs, and where they are."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from tests.docker_engine import ROOT
from tests.e2e.harness import LOOK_S, kill
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

    async def remembers(self) -> bool:
        """The kernel is still the one that it was."""
        return await self.lab.run("print(witness + 1)") == "42"

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


def notice(at_work: AtWork, text: str | re.Pattern[str]) -> Locator:
    return at_work.page.locator(".mux-notice").filter(has_text=text)


async def push(room: Room, image: Path, *words: str) -> None:
    await room.mux.run("push", "intro", str(image), "--yes", "--no-watch", "--max-unavailable", "100%", *words)


async def test_a_push_saves_what_is_typed_and_leaves_the_page_as_it_is(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    told = "Lunch is <b>ready</b>.<img src=x onerror=alert(1)>"
    await room.mux.run("broadcast", told)
    await expect(notice(ana, told)).to_be_visible()
    await push(room, changed_image(room.mux.directory, "fixed"))
    await ana.sees_that_nothing_is_lost()
    assert await ana.lab.read("README.md") == "# fixed\n"
    await ana.goes_on()
    await room.mux.run("broadcast", "--clear")
    await expect(notice(ana, "Lunch")).to_have_count(0)


@pytest.mark.long
async def test_somebody_who_is_offered_an_update_gets_it_when_they_press_the_button(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    image = changed_image(room.mux.directory, "offered")
    await push(room, image, "--when", "offer", "--note", "mends cell 4")
    offer = notice(ana, "An update is ready: mends cell 4.")
    await expect(offer).to_be_visible()
    await ana.person.picture("push-offer")
    assert await ana.remembers(), "nothing happens before the button is pressed"
    await ana.types(EDIT)
    await offer.get_by_role("button", name="Update now").click()
    await ana.sees_that_nothing_is_lost()
    await expect(offer).to_have_count(0)
    await ana.goes_on()


@pytest.mark.long
async def test_somebody_who_works_is_left_alone_until_they_pause(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    image = changed_image(room.mux.directory, "when-idle")
    await push(room, image, "--when", "idle", "--note", "mends cell 4")
    coming = notice(ana, "once you have not worked here for 30 seconds")
    while not await coming.is_visible():
        await ana.types(f"{EDIT}; {random.random()}")
        await asyncio.sleep(LOOK_S)
    await ana.types(EDIT)
    await ana.person.picture("push-idle")
    assert await ana.remembers()
    await ana.types(EDIT)
    await ana.sees_that_nothing_is_lost()
    await expect(coming).to_have_count(0)
    await ana.goes_on()


@pytest.mark.long
async def test_a_push_for_a_time_is_announced_and_touches_nobody_before(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    image = changed_image(room.mux.directory, "at-a-time")
    at = datetime.now(UTC) + timedelta(minutes=3)
    await push(room, image, "--when", f"at {at:%H:%M}", "--note", "mends cell 4")
    coming = notice(ana, re.compile(r"An update \(mends cell 4\) comes in \d minute"))
    await expect(coming).to_be_visible()
    await ana.person.picture("push-at")
    assert await ana.remembers()
    await ana.types(EDIT)
    await expect(notice(ana, "is being started anew")).to_be_visible(timeout=180_000)
    assert datetime.now(UTC) >= at.replace(second=0, microsecond=0)
    await ana.person.picture("push-away")
    await ana.sees_that_nothing_is_lost()
    await ana.goes_on()


@pytest.mark.long
async def test_a_push_goes_on_and_loses_nothing_where_the_mux_is_killed_in_the_middle(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    await push(room, changed_image(room.mux.directory, "in-spite-of-kills"))
    await expect(notice(ana, "An update comes in a moment").or_(notice(ana, "is being started anew"))).to_be_visible()
    await kill(room.mux.processes_of("mux.daemon run"))
    await ana.sees_that_nothing_is_lost()
    await ana.goes_on()
