"""Somebody in the middle of their work in JupyterLab, and images to push to them: the same on each runtime."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess

import pytest
from playwright.async_api import Locator, expect

from tests.docker_engine import ROOT
from tests.e2e.harness import LOOK_S, MuxUnderTest
from tests.e2e.lab import Lab
from tests.e2e.people import Person, Room

EDIT = "typed = 'and neither run nor saved'"
DOCKERFILE = "FROM mux/example\nRUN echo '# {word}' > /home/jovyan/README.md\n"
ROLLOUT_S_MAX = 240.0
PROCESS = pytest.param("process", marks=pytest.mark.xdist_group("one mux"))

on_both = pytest.mark.parametrize("mux", [PROCESS, "docker"], indirect=True)
on_process = pytest.mark.parametrize("mux", [PROCESS], indirect=True)


def changed_image(mux: MuxUnderTest, word: str) -> str:
    """The example with another README, as `mux push` takes it: a directory, or a name in the engine."""
    if mux.engine is None:
        image = mux.directory / word
        shutil.copytree(ROOT / "images" / "example", image)
        (image / "home" / "README.md").write_text(f"# {word}\n", encoding="utf-8")
        return str(image)
    name = f"mux/example-{word}"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=DOCKERFILE.format(word=word).encode(),
        env=os.environ | {"DOCKER_HOST": mux.engine.host, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        check=True,
    )
    return name


async def push(room: Room, word: str, *words: str) -> None:
    """Push an image with another README, and return when the rollout has begun."""
    image = changed_image(room.mux, word)
    await room.mux.run("push", "intro", image, "--yes", "--no-watch", "--max-unavailable", "100%", *words)


async def rolled_out(room: Room) -> None:
    """Wait until the latest push has reached everybody."""
    async with asyncio.timeout(ROLLOUT_S_MAX):
        while True:
            (found,) = json.loads(await room.mux.run("rollout", "status", "intro", "--json"))["rollouts"]
            if found["phase"] == "done":
                return
            await asyncio.sleep(LOOK_S)


class AtWork:
    """Somebody in the middle of it: a kernel that remembers, a terminal, and an edit that nobody has saved.

    The page itself is the witness that it was not loaded anew: it remembers a word.
    """

    def __init__(self, person: Person, lab: Lab) -> None:
        self.person = person
        self.page = person.page
        self.lab = lab

    @classmethod
    async def begins(cls, room: Room, name: str, person: Person | None = None) -> AtWork:
        """Begin; ``person``: in a page of theirs that is open."""
        person = person or await room.attendee(name)
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
        await expect(notice(self, "has edits that are not saved")).to_have_count(0)
        await expect(notice(self, "its terminals have ended")).to_be_visible()
        await expect(self.page.locator(".jp-Terminal")).to_have_count(0)
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


def notice(at_work: AtWork | Person, text: str | re.Pattern[str]) -> Locator:
    """A line at the lower edge of their page."""
    return at_work.page.locator(".mux-notice").filter(has_text=text)
