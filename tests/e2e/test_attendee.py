"""What an attendee does in a day, in Chromium, against a whole mux."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.lab import START_MS_MAX, Lab
from tests.e2e.people import Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(700),
]
PROCESS = pytest.param("process", marks=pytest.mark.xdist_group("one mux"))

on_both = pytest.mark.parametrize("mux", [PROCESS, "docker"], indirect=True)
on_process = pytest.mark.parametrize("mux", [PROCESS], indirect=True)
on_docker = pytest.mark.parametrize("mux", ["docker"], indirect=True)

DASHBOARD = """
import os, tornado.web, tornado.websocket
class Status(tornado.web.RequestHandler):
    def get(self):
        self.write("The dashboard of " + os.environ["MUX_WORKSPACE"])
class Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message):
        self.write_message(message + "!")
pages = tornado.web.Application([("/status", Status), ("/echo", Echo)])
pages.listen(int(os.environ["MUX_PORT_DASHBOARD"]), "0.0.0.0")
print("listening")
"""
ECHO = """() => new Promise((resolve, reject) => {
    const socket = new WebSocket("echo")
    socket.onopen = () => socket.send("hello")
    socket.onmessage = (event) => resolve(event.data)
    socket.onclose = reject
})"""


@on_both
async def test_somebody_logs_in_opens_a_tutorial_and_runs_a_cell(room: Room) -> None:
    ana = await room.person("Ana")
    await ana.page.goto(room.mux.public)
    await ana.picture("login")
    await ana.fill_in_login()
    card = ana.page.locator(".card[data-project=intro]")
    await expect(card).to_have_attribute("data-state", "ready")
    await ana.picture("projects")
    async with ana.page.expect_websocket(lambda socket: socket.url.endswith("/camp/live/intro")) as live:
        await card.locator("a[data-action]").click()
        await ana.enters("/camp/intro/")
    lab = await Lab(ana.page, ana.address("intro")).ready()
    assert not (await live.value).is_closed(), "the extension is not in touch with the mux"
    await lab.file("01-welcome.ipynb").dblclick()
    assert re.fullmatch(r"Hello from Python 3\.\d+\.\d+\n42", await lab.run_first_code_cell())
    await expect(ana.page.get_by_text("official Jupyter news")).to_have_count(0)
    await ana.picture("jupyterlab")


@on_both
async def test_a_terminal_works_on_the_same_files(room: Room) -> None:
    lab = await (await room.attendee("Ana")).lab()
    assert await lab.in_terminal("echo $((40 + 2)) > from-terminal.txt", "from-terminal.txt") == "42\n"


@on_both
async def test_a_file_comes_back_as_it_was_uploaded(room: Room, tmp_path: Path) -> None:
    lab = await (await room.attendee("Ana")).lab()
    sent, received = tmp_path / "measurements.bin", tmp_path / "received.bin"
    sent.write_bytes(bytes(range(256)) * 12_000)
    await lab.upload(sent)
    await lab.download(sent.name, received)
    assert received.read_bytes() == sent.read_bytes()


@on_both
async def test_a_deep_link_survives_the_login(room: Room) -> None:
    ben = await room.person("Ben")
    await ben.page.goto(f"{room.mux.public}/camp/intro/lab/tree/02-estimating-pi.ipynb?reset")
    await ben.fill_in_login()
    await ben.enters("/camp/intro/lab/tree/02-estimating-pi.ipynb")
    await expect(ben.page.get_by_role("heading", name="Estimating π by throwing darts")).to_be_visible(
        timeout=START_MS_MAX
    )


@on_both
async def test_two_attendees_work_at_once_each_in_their_own(room: Room) -> None:
    ana, ben = await room.attendee("Ana"), await room.attendee("Ben")
    labs = {"Ana": await ana.notebook(), "Ben": await ben.notebook()}
    for name, lab in labs.items():
        assert await lab.run(f"whose = {name!r}; print(open('whose.txt', 'w').write(whose))") == "3"
    for name, lab in labs.items():
        assert await lab.run("print(whose, open('whose.txt').read())") == f"{name} {name}"
    assert len(set((await room.mux.seats()).values())) == len(await room.mux.seats()) >= 2


@on_both
async def test_a_project_that_starts_on_use_starts_when_it_is_opened(room: Room) -> None:
    ana = await room.attendee("Ana")
    await ana.page.goto(f"{room.mux.public}/camp/stats/lab/tree/01-bootstrap.ipynb")
    await ana.enters("/camp/stats/lab/tree/01-bootstrap.ipynb")
    lab = await Lab(ana.page, ana.address("stats")).ready()
    assert (await lab.run_first_code_cell()).startswith("82 people;")


@on_both
async def test_logging_out_in_another_tab_closes_the_open_kernel_socket_of_that_login_alone(room: Room) -> None:
    working, elsewhere = await room.person("Ana"), await room.attendee("Ana")
    await working.log_in()
    stays = await elsewhere.notebook()
    async with working.page.expect_websocket(lambda socket: "/api/kernels/" in socket.url) as opened:
        lab = await working.notebook()
    socket = await opened.value
    assert await lab.run("print(6 * 7)") == "42"
    async with socket.expect_event("close"):
        await (await working.another_tab()).log_out()
    assert socket.is_closed()
    await working.page.goto(f"{room.mux.public}/camp/intro/lab")
    await expect(working.page.locator("#login")).to_be_visible()
    assert await stays.run("print(6 * 7)") == "42"


@on_both
async def test_the_waiting_room_tells_the_reason_and_enters_by_itself(room: Room) -> None:
    cleo = await room.person("Cleo")
    await room.mux.run("doors", "close")
    try:
        await cleo.page.goto(f"{room.mux.public}/camp/intro/lab/tree/01-welcome.ipynb")
        await cleo.fill_in_login()
        await expect(cleo.page.locator("#position")).to_have_text("1")
        await expect(cleo.page.locator("#reason")).to_have_text(re.compile("doors", re.IGNORECASE))
        await cleo.picture("waiting")
    finally:
        await room.mux.run("doors", "open")
    await cleo.enters("/camp/intro/lab/tree/01-welcome.ipynb")
    lab = await Lab(cleo.page, cleo.address("intro")).ready()
    assert (await lab.run_first_code_cell()).endswith("42")


@on_both
async def test_an_organizer_sees_the_room_on_the_other_host_name(room: Room) -> None:
    olga = await room.person("Olga")
    await olga.page.goto(room.mux.admin)
    await olga.fill_in_login()
    await expect(olga.page.get_by_role("heading", name="The room")).to_be_visible()
    await expect(olga.page.locator("article.ship")).to_have_count(2)
    await olga.picture("organizer")


@on_process
async def test_a_dashboard_is_found_beside_the_notebook_by_its_owner_alone(room: Room) -> None:
    ana, ben = await room.attendee("Ana"), await room.attendee("Ben")
    address = f"{ana.address('intro')}port/dashboard/status"
    lab = await ana.notebook()
    beside = await ana.another_tab()
    await beside.page.goto(address)
    await expect(beside.page.get_by_text("Nothing answers at the port dashboard of your workspace.")).to_be_visible()
    assert await lab.run(f"exec({DASHBOARD!r})") == "listening"
    # The page looks again by itself.
    await expect(beside.page.get_by_text("The dashboard of ship-")).to_be_visible()
    assert await beside.page.evaluate(ECHO) == "hello!"
    await ben.page.goto(address)
    await expect(ben.page.get_by_text("Nothing answers at the port dashboard of your workspace.")).to_be_visible()


@pytest.mark.long
@on_both
async def test_two_projects_of_an_attendee_share_a_directory_and_nothing_else(room: Room) -> None:
    ana = await room.attendee("Ana")
    lab = await ana.notebook()
    assert await lab.run("print(open('shared-data/found.txt', 'w').write('mine'))") == "4"
    assert await lab.run("print(open('own.txt', 'w').write('mine'))") == "4"
    stats = await ana.notebook("stats")
    assert await stats.run("print(open('shared-data/found.txt').read())") == "mine"
    assert (
        await stats.run("import os; print(os.path.exists('own.txt'), 'MUX_PORT_DASHBOARD' in os.environ)")
        == "False False"
    )


@on_docker
async def test_a_camp_image_is_entered_by_the_same_link_as_any_other(room: Room) -> None:
    ana = await room.attendee("Ana")
    await ana.page.goto(ana.address("spark"))
    await ana.enters("/camp/spark/jupyter/")
    lab = Lab(ana.page, f"{ana.address('spark')}jupyter/")
    assert await (await lab.new_notebook()).run("print(open('tutorial.txt').read())") == "A tutorial of its time."
    # Its own redirect is absolute, with the port of its nginx.
    await ana.page.goto(ana.address("spark").rstrip("/"))
    await ana.enters("/camp/spark/jupyter/lab")


@on_docker
async def test_a_container_that_was_killed_comes_back_by_itself_with_every_saved_file(room: Room) -> None:
    ana = await room.attendee("Ana")
    lab = await ana.notebook()
    assert await lab.run("print(open('kept.txt', 'w').write('saved'))") == "5"
    workspace = await lab.run("import os; print(os.environ['MUX_WORKSPACE'])")
    engine = room.mux.engine
    assert engine is not None
    (before,) = room.mux.containers(workspace)
    engine.ask("POST", f"/containers/{before}/kill")
    await ana.page.goto(f"{ana.address('intro')}lab/tree/kept.txt?reset")
    await ana.enters("/camp/intro/lab/tree/kept.txt")
    await expect(ana.page.locator(".jp-FileEditor .cm-content")).to_have_text("saved", timeout=START_MS_MAX)
    assert before not in room.mux.containers(workspace)
