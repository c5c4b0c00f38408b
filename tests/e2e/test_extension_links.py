"""An open JupyterLab whose connections end, lie or say too much, in Chromium."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Page, Route, WebSocketRoute, expect

from tests.e2e.at_work import on_process
from tests.e2e.editing import until
from tests.e2e.lab import START_MS_MAX, Lab
from tests.e2e.people import Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
    on_process,
    pytest.mark.long,
]
LIVE = "**/camp/live/intro"
NOTICES_MAX = 16
"""See `labextension/src/messages.ts`."""
HOSTILE = "<img src=x onerror=alert(1)>\u202egnisrever\u0007"


def word(*notices: dict[str, Any]) -> str:
    """What the mux says while nothing happens."""
    return json.dumps({"save": 0, "updating": False, "run": "this one", "files": "", "notices": notices})


def notice(number: int, text: str, action: str = "") -> dict[str, Any]:
    return {"id": f"n{number}", "kind": "update", "project": "intro", "number": number, "text": text, "action": action}


def no_connection(page: Page) -> Any:
    """What is shown while there is none."""
    return page.locator(".mux-notice").filter(has_text="There is no connection to the event")


async def in_terminal(lab: Lab, file: str) -> None:
    """Have the terminal that is in front write a file."""
    await lab.page.locator(".jp-Terminal .xterm").first.click()
    await lab.page.keyboard.type(f"echo > {file}\n")
    await expect(lab.file(file)).to_be_visible()


async def test_after_another_login_the_same_kernel_goes_on(room: Room) -> None:
    ana = await room.person("Ana")
    await ana.log_in()
    lab = await ana.notebook()
    assert await lab.run("kept = 41; print(kept)") == "41"
    elsewhere = await ana.another_tab()
    await elsewhere.log_out()
    ended = ana.page.locator(".mux-notice").filter(has_text="Your login has ended")
    await expect(ended).to_be_visible()
    died = ana.page.locator(".jp-Dialog").filter(has_text="Kernel died unexpectedly")
    await died.get_by_role("button", name="Ok").click()
    await elsewhere.fill_in_login()
    await expect(elsewhere.page.get_by_role("heading", name="Your projects")).to_be_visible()
    # A browser without a window shows every tab at once.
    await ana.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(ended).to_have_count(0)
    await lab.kernel_idle()
    assert await lab.run("print(kept + 1)") == "42"


async def test_what_jupyterlab_has_given_up_is_taken_up_again(room: Room) -> None:
    ben = await room.attendee("Ben")
    away = False
    open_: list[WebSocketRoute] = []
    tries: list[WebSocketRoute] = []

    async def wire(socket: WebSocketRoute) -> None:
        if away:
            tries.append(socket)
            await socket.close(code=3000, reason="")
        else:
            socket.connect_to_server()
            open_.append(socket)

    async def ask(route: Route) -> None:
        await (route.abort("internetdisconnected") if away else route.continue_())

    await ben.page.route_web_socket("**/camp/**", wire)
    await ben.page.route("**/camp/**", ask)
    lab = await ben.lab()
    await lab.in_terminal("echo > before.txt", "before.txt")
    await ben.page.evaluate("window.chance = Math.random; Math.random = () => 0")  # JupyterLab's pauses
    away = True
    for socket in open_:
        await socket.close(code=3000, reason="")
    await expect(no_connection(ben.page)).to_be_visible()
    terminal = [socket for socket in tries if "/terminals/" in socket.url]
    await until(lambda: len(terminal) >= 7)  # as often as JupyterLab tries
    await ben.page.evaluate("Math.random = window.chance")
    away = False
    await expect(no_connection(ben.page)).to_have_count(0)
    await in_terminal(lab, "after.txt")


async def test_a_connection_on_which_nothing_is_said_is_given_up(room: Room) -> None:
    ben = await room.attendee("Ben")
    tries: list[WebSocketRoute] = []

    async def answer(socket: WebSocketRoute) -> None:
        tries.append(socket)
        if len(tries) != 2:
            socket.send(word())

    await ben.page.route_web_socket(LIVE, answer)
    await ben.lab()
    await until(lambda: len(tries) == 1)
    await tries[0].close(code=1012, reason="")
    await until(lambda: len(tries) == 2)
    await expect(no_connection(ben.page)).to_be_visible()
    await until(lambda: len(tries) == 3)
    await expect(no_connection(ben.page)).to_have_count(0)


async def test_a_flood_of_hostile_notices_is_text_inside_the_page(room: Room) -> None:
    cleo = await room.attendee("Cleo")
    said: list[dict[str, Any]] = []
    lives: list[WebSocketRoute] = []

    async def answer(socket: WebSocketRoute) -> None:
        lives.append(socket)
        socket.on_message(lambda text: said.append(json.loads(text)))
        socket.send(word())

    await cleo.page.route_web_socket(LIVE, answer)
    await cleo.lab()
    await until(lambda: bool(lives))
    shown = cleo.page.locator(".mux-notice")
    for text in ("", "null", "[]", "{", '{"notices": {}}', '{"notices": [null, 1, {"id": 1}]}', '{"save": -1}'):
        lives[-1].send(text)
    lives[-1].send(word(*(notice(number, f"{number} " + "word " * 500) for number in range(10_000))))
    await expect(shown).to_have_count(NOTICES_MAX)
    box, size = await cleo.page.locator(".mux-notices").bounding_box(), cleo.page.viewport_size
    assert box is not None and size is not None
    assert box["y"] >= 0 and box["x"] >= 0
    assert box["y"] + box["height"] <= size["height"] and box["x"] + box["width"] <= size["width"]
    await shown.first.get_by_role("button", name="Close this notice").click(timeout=START_MS_MAX)
    await expect(shown).to_have_count(NOTICES_MAX - 1)

    lives[-1].send(word(notice(20_000, HOSTILE, HOSTILE + "y" * 80)))
    await expect(shown).to_have_count(1)
    assert await shown.locator("p").text_content() == HOSTILE
    assert await shown.locator("img").count() == 0
    press = shown.get_by_role("button").first
    edge = await press.bounding_box()
    assert edge is not None and edge["x"] + edge["width"] <= size["width"]
    await press.click()
    await until(lambda: {"accept": {"project": "intro", "number": 20_000}} in said)
