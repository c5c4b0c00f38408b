"""An open JupyterLab whose documents cannot be saved before a swap, in Chromium."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Route, expect

from tests.e2e.at_work import on_process, push, rolled_out
from tests.e2e.editing import PATIENCE_S, TYPED, opened, saves, types, unsaved, until
from tests.e2e.lab import Lab
from tests.e2e.people import Person, Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
    on_process,
    pytest.mark.long,
]
OWN = "notes.txt"
"""A file of the attendee's, which no push changes."""
ADDRESS = f"**/api/contents/{OWN}*"


async def opens_own(person: Person, directory: Path) -> Lab:
    """Their own file in an editor."""
    (directory / OWN).write_text("first", encoding="utf-8")
    await (await person.lab()).upload(directory / OWN)
    return await opened(person, OWN)


def on_put(work: Callable[[Route], Awaitable[None]]) -> Callable[[Route], Awaitable[None]]:
    """Saves are answered by ``work``; whatever else is asked goes on."""

    async def handle(route: Route) -> None:
        await (work(route) if route.request.method == "PUT" else route.continue_())

    return handle


async def test_what_a_full_disk_refuses_stays_in_the_page_and_can_be_saved_later(room: Room, tmp_path: Path) -> None:
    ben = await room.attendee("Ben")
    lab = await opens_own(ben, tmp_path)
    refused = 0

    async def refuse(route: Route) -> None:
        nonlocal refused
        refused += 1
        await route.fulfill(status=500, json={"message": "No space left on device"})

    await types(ben.page)
    await ben.page.route(ADDRESS, on_put(refuse))
    await push(room, "on-a-full-disk")
    await rolled_out(room)
    await until(lambda: refused >= 2)  # before the swap, and once more after it
    dialogs = ben.page.locator(".jp-Dialog").filter(has_text="No space left on device")
    await expect(dialogs.first).to_be_visible()
    while await dialogs.count():
        await dialogs.last.get_by_role("button").last.click()
    await expect(unsaved(ben.page)).to_have_count(1)
    await expect(ben.page.locator(".jp-FileEditor")).to_contain_text(TYPED)
    await ben.page.unroute(ADDRESS)
    await saves(ben.page)
    await expect(unsaved(ben.page)).to_have_count(0)
    assert TYPED in await lab.read(OWN)


async def test_a_save_that_hangs_until_the_swap_cuts_it_off_is_made_again_after_it(room: Room, tmp_path: Path) -> None:
    cleo = await room.attendee("Cleo")
    lab = await opens_own(cleo, tmp_path)
    hung = asyncio.Event()
    swapped = asyncio.Event()

    async def hang(route: Route) -> None:
        if hung.is_set():
            await route.continue_()
            return
        hung.set()
        await asyncio.wait_for(swapped.wait(), PATIENCE_S)
        await route.abort("connectionreset")

    await types(cleo.page)
    await cleo.page.route(ADDRESS, on_put(hang))
    try:
        await push(room, "while-a-save-hangs")
        await asyncio.wait_for(hung.wait(), PATIENCE_S)
        await rolled_out(room)
    finally:
        swapped.set()
    await expect(unsaved(cleo.page)).to_have_count(0)
    assert TYPED in await lab.read(OWN)


async def test_what_may_not_be_written_is_left_alone_without_a_dialog(room: Room) -> None:
    cleo = await room.attendee("Cleo")

    async def read_only(route: Route) -> None:
        answer = await route.fetch()
        found = await answer.json() | {"writable": False}
        await route.fulfill(response=answer, json=found)

    written = []

    async def handle(route: Route) -> None:
        if route.request.method == "PUT":
            written.append(route)
            await route.fulfill(status=403, json={"message": "Permission denied"})
        else:
            await read_only(route)

    await cleo.page.route("**/api/contents/README.md*", handle)
    await opened(cleo, "README.md")
    await types(cleo.page)
    await push(room, "beside-what-is-read-only")
    await rolled_out(room)
    await expect(cleo.page.locator(".mux-notice").filter(has_text="README.md has edits")).to_be_visible()
    await expect(unsaved(cleo.page)).to_have_count(1)
    await expect(cleo.page.locator(".jp-FileEditor")).to_contain_text(TYPED)
    await expect(cleo.page.locator(".jp-Dialog")).to_have_count(0)
    assert not written
