"""Processes are killed with ``kill -9`` while a kernel is open: what an attendee notices, and what is so afterwards.

A variable in the kernel's memory is the witness: it is there as long as the same kernel runs on.
"""

from __future__ import annotations

import asyncio

import psutil
import pytest
from playwright.async_api import expect

from tests.e2e.at_work import PROCESS, on_both, on_process
from tests.e2e.harness import STOP_S_MAX, MuxUnderTest, kill
from tests.e2e.lab import START_MS_MAX, Lab
from tests.e2e.people import Person, Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
]

CONTROL = "mux.daemon run"
PROXY = "mux.proxy "
AGENT = "ship_agent.cli"
SUPERVISOR = " serve"
JUPYTERLAB = "-m jupyterlab "
"""Not the ``node …/jupyterlab/staging/yarn.js config`` that it runs for a moment where there is node."""


async def with_witness(room: Room, name: str) -> tuple[Person, Lab]:
    """Somebody in a notebook whose kernel remembers a number."""
    person = await room.attendee(name)
    lab = await person.notebook()
    assert await lab.run("witness = 41; print(witness)") == "41"
    return person, lab


async def remembers(lab: Lab) -> bool:
    """The kernel answers, and it is the one that it was."""
    return await lab.run("print(witness + 1)") == "42"


def workspaces(mux: MuxUnderTest) -> set[int | str]:
    """What runs of everybody's: ids of containers, or pids."""
    return set(mux.containers()) if mux.engine else {process.pid for process in mux.processes_of(JUPYTERLAB)}


async def same_session(person: Person) -> bool:
    """The login is still in force: the projects are shown without a question."""
    tab = await person.another_tab()
    await tab.page.goto(person.address("intro").replace("/intro/", "/"))
    await expect(tab.page.get_by_role("heading", name="Your projects")).to_be_visible()
    await expect(tab.page.locator(".card[data-project=intro]")).to_have_attribute("data-state", "ready")
    await tab.page.close()
    return True


@on_both
async def test_the_kernel_answers_while_the_control_process_is_dead_and_session_and_seat_are_kept(room: Room) -> None:
    ana, lab = await with_witness(room, "Ana")
    seats = await room.mux.seats()
    killed = room.mux.processes_of(CONTROL)
    await kill(killed)
    assert await remembers(lab)
    await room.mux.reachable()
    assert await remembers(lab)
    assert await same_session(ana)
    assert await room.mux.seats() == seats
    assert {process.pid for process in room.mux.processes_of(CONTROL)}.isdisjoint({process.pid for process in killed})


@on_both
async def test_the_page_reconnects_to_its_kernel_after_a_proxy_was_killed(room: Room) -> None:
    ana, lab = await with_witness(room, "Ana")
    async with ana.page.expect_websocket(lambda socket: "/api/kernels/" in socket.url, timeout=START_MS_MAX):
        await kill(room.mux.processes_of(PROXY))
    # After a reconnect JupyterLab shows no state of the kernel until something has run: there is no "idle" to wait for.
    assert await remembers(lab)
    assert await same_session(ana)


@on_both
async def test_an_agent_that_was_killed_adopts_what_runs(room: Room) -> None:
    ana, lab = await with_witness(room, "Ana")
    await room.mux.ready()  # nothing is being made
    before = workspaces(room.mux)
    await kill(room.mux.processes_of(AGENT))
    assert await remembers(lab)
    await room.mux.linked()
    assert await remembers(lab)
    assert await same_session(ana)
    assert workspaces(room.mux) == before


@pytest.mark.parametrize("mux", [PROCESS, pytest.param("docker", marks=pytest.mark.long)], indirect=True)
async def test_everything_killed_and_started_again_finds_session_seat_and_kernel(room: Room, mux: MuxUnderTest) -> None:
    ana, lab = await with_witness(room, "Ana")
    seats = await mux.seats()
    children = [*mux.processes_of(CONTROL), *mux.processes_of(PROXY)]
    # The supervisor first: what it would start again must stay dead. Its children end by themselves, and park nobody.
    await kill(mux.processes_of(SUPERVISOR))
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, STOP_S_MAX)
    assert not alive
    await kill(mux.processes_of(AGENT))
    assert len(workspaces(mux)) >= 4
    await mux.start()
    await mux.ready()
    await mux.linked()
    assert await mux.seats() == seats
    assert await same_session(ana)
    await ana.page.reload()
    await lab.ready()
    assert await remembers(await lab.kernel_idle())


@on_process
async def test_a_workspace_that_was_killed_comes_back_by_itself_with_every_saved_file(room: Room) -> None:
    ana, lab = await with_witness(room, "Ana")
    assert await lab.run("import os; print(open('kept.txt', 'w').write('saved'))") == "5"
    workspace = await lab.run("print(os.getppid())")
    await kill(process for process in room.mux.processes_of(JUPYTERLAB) if process.pid == int(workspace))
    await ana.page.goto(f"{ana.address('intro')}lab/tree/kept.txt?reset")
    await ana.enters("/camp/intro/lab/tree/kept.txt")
    await expect(ana.page.locator(".jp-FileEditor .cm-content")).to_have_text("saved", timeout=START_MS_MAX)
