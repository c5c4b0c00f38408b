"""Attendees' files in their own hands, in Chromium, against a whole mux: taken home, and started over."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from ship_agent.protocol.snapshot import FILE_BYTES_MAX
from tests.e2e.lab import START_MS_MAX
from tests.e2e.people import Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
    pytest.mark.xdist_group("one mux"),
]

NOTEBOOK, KEPT = "01-welcome.ipynb", "01-welcome.before-start-over.ipynb"
CONTENTS = """async ([name, content]) => {
    const method = content === null ? "GET" : "PUT"
    const body = content === null ? undefined : JSON.stringify({type: "notebook", format: "json", content})
    const answer = await fetch("/camp/intro/api/contents/" + name, {method, body})
    return [answer.status, await answer.json()]
}"""


async def notebook(page: Page, name: str, content: Any = None) -> Any:
    """A notebook's content, or what the workspace answers to another one."""
    status, answer = await page.evaluate(CONTENTS, [name, content])
    assert status == 200, answer
    return answer["content"]


@pytest.mark.parametrize("mux", ["process"], indirect=True)
async def test_a_notebook_is_taken_home_and_started_over_and_what_was_in_it_is_kept(room: Room, tmp_path: Path) -> None:
    ana = await room.attendee("Ana")
    page = ana.page
    await page.goto(f"{room.mux.public}/camp/")
    card = page.locator(".card[data-project=intro]")
    await expect(card).to_have_attribute("data-state", "ready", timeout=START_MS_MAX)
    before = await notebook(page, NOTEBOOK)
    edited = {**before, "cells": [{**before["cells"][0], "source": "# What Ana wrote"}, *before["cells"][1:]]}
    await notebook(page, NOTEBOOK, edited)

    await card.get_by_role("link", name="Files").click()
    listed = page.get_by_role("link", name=f"Start over: {NOTEBOOK}")
    while not await listed.is_visible():  # it is there with the next snapshot
        await page.wait_for_timeout(200)
        await page.reload()
    await ana.picture("files")
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Download my work").click()
    await (await started.value).save_as(tmp_path / "work.zip")
    with zipfile.ZipFile(tmp_path / "work.zip") as work:
        assert "# What Ana wrote" in str(json.loads(work.read(f"intro/{NOTEBOOK}"))["cells"][0]["source"])

    await listed.click()
    await page.get_by_role("button", name="Start over").click()
    await expect(page.locator("[data-said]")).to_contain_text(f"What you had is in “{KEPT}”.", timeout=START_MS_MAX)
    again, kept = await notebook(page, NOTEBOOK), await notebook(page, KEPT)
    assert again["cells"][0]["source"] == before["cells"][0]["source"]
    assert kept["cells"][0]["source"] == "# What Ana wrote"


@pytest.mark.long
@pytest.mark.parametrize("mux", ["process"], indirect=True)
async def test_a_file_that_is_too_large_to_be_kept_is_told_to_its_owner_until_it_is_gone(room: Room) -> None:
    ben = await room.attendee("Ben")
    lab = await ben.notebook()
    await lab.run(f"open('too large.bin', 'wb').truncate({FILE_BYTES_MAX + 1})")
    words = "“too large.bin” is larger than 256 MB and therefore not kept"
    notice = ben.page.locator(".mux-notice").filter(has_text=words)
    await expect(notice).to_be_visible()
    await ben.picture("too-large")
    tab = await ben.another_tab()
    await tab.page.goto(f"{room.mux.public}/files/intro")
    told = tab.page.locator("[data-too-large]")
    await expect(told).to_contain_text(words)
    await tab.picture("too-large-files")

    await lab.run("import os; os.remove('too large.bin')")
    await expect(notice).to_have_count(0)
    await tab.page.reload()
    await expect(told).to_have_count(0)
