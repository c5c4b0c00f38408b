"""A push while somebody has more than one quiet page open, in Chromium: two tabs, two browsers, one that was asleep."""

from __future__ import annotations

import asyncio
import json

import pytest
from playwright.async_api import Locator, WebSocketRoute, expect

from tests.e2e.at_work import EDIT, AtWork, notice, on_both, on_process, push, rolled_out
from tests.e2e.lab import START_MS_MAX, Lab
from tests.e2e.people import Person, Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
    pytest.mark.long,
]
LARGE_BYTES = 30 << 20
WRITE = """async ([address, model]) => {
    const answer = await fetch(address, {method: "PUT", body: JSON.stringify(model)})
    if (!answer.ok) throw new Error(`${answer.status} for ${address}`)
}"""


async def write(person: Person, path: str, model: object) -> None:
    """Put a file or a directory into their workspace."""
    await person.page.evaluate(WRITE, [f"{person.address('intro')}api/contents/{path}", model])


def notebook(*sources: str, outputs: list[dict[str, object]] | None = None) -> dict[str, object]:
    """A notebook of code cells, as the contents API takes it; what the first has printed."""
    empty: dict[str, object] = {"cell_type": "code", "metadata": {}, "execution_count": None}
    cells: list[dict[str, object]] = [
        {**empty, "id": f"cell-{number}", "source": source, "outputs": []} for number, source in enumerate(sources)
    ]
    cells[0]["outputs"] = outputs or []
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}
    return {"type": "notebook", "format": "json", "content": content}


async def opens(person: Person, path: str) -> Lab:
    """JupyterLab at a file, as a link leads to it."""
    lab = Lab(person.page, person.address("intro"))
    await person.page.goto(f"{lab.address}lab/tree/{path}?reset", timeout=START_MS_MAX)
    return await lab.ready()


async def sources(lab: Lab, path: str) -> list[str]:
    """What stands in the cells of a notebook's file."""
    return ["".join(cell["source"]) for cell in json.loads(await lab.read(path))["cells"]]


async def types(lab: Lab, text: str) -> None:
    """Into the last cell."""
    editor = lab.cells().last.locator(".cm-content")
    await editor.click()
    await lab.page.keyboard.press("ControlOrMeta+a")
    await lab.page.keyboard.insert_text(text)
    await expect(editor).to_have_text(text)


def dirty(person: Person) -> Locator:
    """The tab in front, if it has unsaved edits."""
    return person.page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty")


async def no_dialog(*people: Person) -> None:
    for person in people:
        await expect(person.page.locator(".jp-Dialog")).to_have_count(0)


@on_process
async def test_of_two_tabs_of_one_notebook_each_keeps_what_was_typed_in_it(room: Room) -> None:
    ana = await room.attendee("Ana")
    other = await ana.another_tab()
    await ana.lab()
    await write(ana, "twice.ipynb", notebook("1", "2"))
    labs = [await opens(person, "twice.ipynb") for person in (ana, other)]
    for lab, text in zip(labs, ("typed here", "typed there"), strict=True):
        await lab.kernel_idle()
        await types(lab, text)
    await push(room, "two-tabs")
    for person in (ana, other):
        await expect(notice(person, "its kernel has ended")).to_be_visible()
    await no_dialog(ana, other)
    both = [await notice(person, "twice.ipynb has edits").is_visible() for person in (ana, other)]
    assert sorted(both) == [False, True], "one is in the file, the other says that it is not"
    in_file = "typed there" if both[0] else "typed here"
    assert (await sources(labs[0], "twice.ipynb"))[-1] == in_file
    for lab, text in zip(labs, ("typed here", "typed there"), strict=True):
        await expect(lab.cells().last.locator(".cm-content")).to_have_text(text)
    await (ana if both[0] else other).picture("push-two-tabs")
    for person in (ana, other):
        await notice(person, "its kernel has ended").get_by_role("button", name="Start a kernel").click()
        await Lab(person.page, person.address("intro")).kernel_idle()


@on_process
async def test_a_second_browser_in_a_directory_below_saves_its_text_file(room: Room) -> None:
    ana, again = await room.attendee("Ana"), await room.person("Ana")
    await again.log_in()
    lab = await ana.lab()
    await write(ana, "below", {"type": "directory"})
    await write(ana, "below/plan.txt", {"type": "file", "format": "text", "content": "before"})
    await lab.file("README.md").dblclick()
    await ana.page.locator(".jp-FileEditor .cm-content").wait_for()
    there = await opens(again, "below/plan.txt")
    editor = again.page.locator(".jp-FileEditor .cm-content")
    await editor.click()
    await again.page.keyboard.press("ControlOrMeta+a")
    await again.page.keyboard.insert_text("after")
    await push(room, "second-browser")
    await expect(ana.page.locator(".jp-FileEditor")).to_contain_text("# second-browser")
    await expect(dirty(again)).to_have_count(0)
    await expect(editor).to_have_text("after")
    assert await there.read("below/plan.txt") == "after"
    await no_dialog(ana, again)


@on_process
async def test_a_notebook_with_much_in_it_is_saved_whole(room: Room) -> None:
    ana = await room.attendee("Ana")
    await ana.lab()
    much = {"text/plain": "much", "application/vnd.mux.test": "x" * LARGE_BYTES}
    output: dict[str, object] = {"output_type": "display_data", "metadata": {}, "data": much}
    await write(ana, "large.ipynb", notebook("1", "2", outputs=[output]))
    lab = await opens(ana, "large.ipynb")
    await lab.kernel_idle()
    await types(lab, EDIT)
    await push(room, "much")
    await expect(notice(ana, "its kernel has ended")).to_be_visible()
    await no_dialog(ana)
    await expect(dirty(ana)).to_have_count(0)
    assert (await sources(lab, "large.ipynb"))[-1] == EDIT
    assert len(await lab.read("large.ipynb")) > LARGE_BYTES


@on_process
async def test_a_cell_that_waits_for_an_answer_keeps_nobody_from_going_on(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    await ana.types("name = input('Your name? ')")
    await ana.page.keyboard.press("Shift+Enter")
    asked = ana.page.locator(".jp-Stdin-input")
    await asked.wait_for()
    await ana.types(EDIT)
    await push(room, "input")
    await ana.sees_that_nothing_is_lost()
    await ana.person.picture("push-input")
    await ana.goes_on()


@on_both
async def test_that_terminals_have_ended_is_told_and_what_they_wrote_is_there(room: Room) -> None:
    ana = await room.attendee("Ana")
    lab = await ana.lab()
    await lab.in_terminal("while date >> dates.txt; do sleep 0.1; done", "dates.txt")
    await push(room, "terminal")
    await expect(notice(ana, "its terminals have ended")).to_be_visible()
    await ana.picture("push-terminal")
    before = await lab.read("dates.txt")
    await push(room, "no-terminal")
    await rolled_out(room)
    await expect(notice(ana, "its terminals have ended")).to_have_count(0)
    assert await lab.read("dates.txt") == before


@on_process
async def test_a_browser_that_was_asleep_finds_what_it_left(room: Room) -> None:
    ana = await room.attendee("Ana")
    lives: list[WebSocketRoute] = []
    told = asyncio.Event()
    asleep = False

    async def wire(socket: WebSocketRoute) -> None:
        lives.append(socket)
        if asleep:
            await socket.close(code=1012, reason="")
            return
        mux = socket.connect_to_server()

        def hear(said: str | bytes) -> None:
            if json.loads(said).get("unsaved"):
                told.set()
            mux.send(said)

        socket.on_message(hear)

    await ana.page.route_web_socket("**/camp/live/intro", wire)
    at_work = await AtWork.begins(room, "Ana", ana)
    await asyncio.wait_for(told.wait(), START_MS_MAX / 1000)
    asleep = True
    await lives[-1].close(code=1012, reason="")
    await push(room, "asleep")
    await rolled_out(room)
    await expect(at_work.kernel_gone).to_have_count(0)
    asleep = False
    await expect(at_work.kernel_gone).to_be_visible()
    await expect(at_work.lab.cells().last.locator(".cm-content")).to_have_text(EDIT)
    await no_dialog(ana)
    await at_work.lab.cells().last.locator(".cm-content").click()
    await ana.page.keyboard.press("ControlOrMeta+s")
    await ana.page.get_by_role("button", name="Rename and Save").click()
    await expect(dirty(ana)).to_have_count(0)
    await at_work.sees_that_nothing_is_lost()
    await at_work.goes_on()
