"""A planned move while somebody works, in Chromium: what they have not saved goes with them."""

from __future__ import annotations

import asyncio
import json

import pytest
from playwright.async_api import expect

from tests.e2e.at_work import on_both
from tests.e2e.harness import LOOK_S, READY_S_MAX
from tests.e2e.lab import START_MS_MAX
from tests.e2e.people import Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
    pytest.mark.long,
]
TYPED = "typed, and not saved"
ANSWERS = "async address => (await fetch(address)).ok"


@on_both
async def test_an_edit_that_nobody_has_saved_is_on_the_next_seat_after_a_drain(room: Room) -> None:
    cleo = await room.attendee("Cleo")
    page, lab = cleo.page, await cleo.lab()
    await lab.file("README.md").dblclick()
    editor = page.locator(".jp-FileEditor")
    await editor.locator(".cm-content").click(timeout=START_MS_MAX)
    await page.keyboard.insert_text(TYPED)
    await expect(page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty")).to_have_count(1)
    await page.evaluate("window.witness = 'the same page'")

    roster = json.loads(await room.mux.run("roster", "list", "--json"))["users"]
    (user,) = (each["id"] for each in roster if each["name"] == "Cleo")
    ship, seat = (await room.mux.seats())[user]
    await room.mux.run("ship", "drain", ship, "--evict", "--yes")
    async with asyncio.timeout(READY_S_MAX):
        while (await room.mux.seats()).get(user, (ship, seat))[0] == ship:
            await asyncio.sleep(LOOK_S)
        while not await page.evaluate(ANSWERS, f"{lab.address}files/README.md"):
            await asyncio.sleep(LOOK_S)

    assert TYPED in await lab.read("README.md")
    assert await page.evaluate("window.witness") == "the same page"
    await expect(editor).to_contain_text(TYPED)
    await expect(page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty")).to_have_count(0)
    await expect(page.locator(".jp-Dialog")).to_have_count(0)
    await room.mux.ready()
