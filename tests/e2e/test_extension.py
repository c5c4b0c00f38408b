"""What an open JupyterLab does at bad moments, in Chromium: while it fetches, and while the mux is away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import Route, WebSocketRoute, expect

from tests.e2e.at_work import on_process, push, rolled_out
from tests.e2e.editing import PATIENCE_S, TYPED, opened, saves, types, unsaved, until
from tests.e2e.lab import START_MS_MAX
from tests.e2e.people import Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
    on_process,
    pytest.mark.long,
]
# Ana's README.md stays as it is: other tests look at what pushes make of it.
WORD = json.dumps({"save": 0, "updating": False, "run": "this one", "files": "", "notices": []})
"""What the mux says while nothing happens."""


async def test_what_is_typed_while_a_changed_file_is_fetched_stays(room: Room) -> None:
    ana = await room.attendee("Ana")
    await opened(ana, "README.md")
    asked, answered = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if "content=1" in route.request.url:
            asked.set()
            await answered.wait()
        await route.continue_()

    await ana.page.route("**/api/contents/README.md?*", hold)
    await push(room, "while-typing")
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    await types(ana.page)
    answered.set()
    await expect(ana.page.locator(".mux-notice").filter(has_text="README.md has edits")).to_be_visible()
    await expect(ana.page.locator(".jp-FileEditor")).to_contain_text(TYPED)


async def test_a_changed_file_is_shown_as_it_is_where_nobody_has_typed(room: Room) -> None:
    ben = await room.attendee("Ben")
    lab = await opened(ben, "README.md")
    await push(room, "without-typing")
    await expect(ben.page.locator(".jp-FileEditor")).to_contain_text("# without-typing", timeout=START_MS_MAX)
    await types(ben.page)
    await saves(ben.page)
    await expect(unsaved(ben.page)).to_have_count(0)
    await expect(ben.page.locator(".jp-Dialog")).to_have_count(0)
    assert TYPED in await lab.read("README.md")


async def test_what_is_typed_while_a_file_is_saved_is_unsaved_and_stays(room: Room) -> None:
    ben = await room.attendee("Ben")
    lab = await opened(ben, "README.md")
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "PUT":
            asked.set()
            await goes_on.wait()
        await route.continue_()

    await types(ben.page)
    await ben.page.route("**/api/contents/README.md*", hold)
    await push(room, "while-saving")
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    await types(ben.page, "and later")
    goes_on.set()
    await rolled_out(room)
    await expect(ben.page.locator(".mux-notice")).to_have_count(0)
    await expect(unsaved(ben.page)).to_have_count(1)
    for text in (TYPED, "and later"):
        await expect(ben.page.locator(".jp-FileEditor")).to_contain_text(text)
    assert TYPED in await lab.read("README.md")


async def test_a_page_whose_connection_has_died_in_its_sleep_connects_anew(room: Room) -> None:
    cleo = await room.attendee("Cleo")
    lives: list[WebSocketRoute] = []
    asleep = False

    async def wire(socket: WebSocketRoute) -> None:
        lives.append(socket)
        mux, deaf = socket.connect_to_server(), asleep
        mux.on_message(lambda text: None if deaf or asleep else socket.send(text))
        mux.on_close(lambda _code, _reason: None)

    await cleo.page.route_web_socket("**/camp/live/intro", wire)
    await opened(cleo, "README.md")
    await push(room, "awake")
    await expect(cleo.page.locator(".jp-FileEditor")).to_contain_text("# awake")
    asleep = True
    before = len(lives)
    await push(room, "asleep-too")
    await rolled_out(room)
    await expect(cleo.page.locator(".jp-FileEditor")).to_contain_text("# awake")
    asleep = False
    await cleo.page.evaluate("const now = Date.now; Date.now = () => now() + 3600e3")
    await expect(cleo.page.locator(".jp-FileEditor")).to_contain_text("# asleep-too")
    assert len(lives) > before


async def test_work_while_the_mux_is_away_is_told_once_it_is_back(room: Room) -> None:
    ana = await room.attendee("Ana")
    said: list[dict[str, Any]] = []
    tries: list[WebSocketRoute] = []
    away = False

    async def answer(socket: WebSocketRoute) -> None:
        tries.append(socket)
        if away:
            await socket.close(code=1012, reason="")
        else:
            socket.on_message(lambda text: said.append(json.loads(text)))
            socket.send(WORD)

    await ana.page.route_web_socket("**/camp/live/intro", answer)
    await opened(ana, "README.md")
    await until(lambda: bool(said))
    said.clear()
    await tries[-1].close(code=1012, reason="")
    await until(lambda: bool(said))  # what is open is looked at when a connection comes
    assert not any(word["active"] for word in said)

    away = True
    await tries[-1].close(code=1012, reason="")
    await types(ana.page)
    before = len(tries)
    await until(lambda: len(tries) >= before + 4)  # by then the page would have said that somebody works
    said.clear()
    away = False
    await until(lambda: bool(said))
    assert said[0]["active"]
