"""What heavy tutorials bring: widgets, plots, apps at a further port, and packages that want JupyterLab built.

Everything goes through the mux, in Chromium; the environment is made here from the package index.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e.environments import ARGUMENTS, made
from tests.e2e.harness import EVENT, EXAMPLES, MuxUnderTest, kill
from tests.e2e.lab import START_MS_MAX, Lab
from tests.e2e.people import Person, Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1200),
    pytest.mark.long,
]
PACKAGES = ("jupyterlab~=4.4", "ipywidgets", "ipympl", "tqdm", "plotly", "pandas", "bokeh~=3.9", "panel", "dash")
PROJECT = """
[[project]]
name = "heavy"
image = "{image}"
start = "on_use"
memory = "4GiB"
ports = {{ app = 8050, site = 8051 }}
command = {command}
"""
WIDGET = "import ipywidgets as w; slider = w.IntSlider(3); display(slider)"
FIGURE = """\
%matplotlib widget
import matplotlib.pyplot as plt
figure, axes = plt.subplots(); clicks = []
c = figure.canvas.mpl_connect('button_press_event', clicks.append); plt.show()"""
APP = """\
import os
from bokeh.io import output_notebook, show
from bokeh.layouts import column
from bokeh.models import Button, Div
from bokeh.resources import INLINE
output_notebook(INLINE)
def app(page):
    button, text = Button(label='press me'), Div(text='nothing')
    button.on_click(lambda: text.update(text='pressed'))
    page.add_root(column(button, text))
def address(port):
    return '{host}' if port is None else '{workspace}port/app'
show(app, notebook_url=address, port=int(os.environ['MUX_PORT_APP']))"""
FRAME = "import os\nfrom IPython.display import IFrame\nIFrame(os.environ['MUX_BASE_PATH'] + 'port/site/', 600, 200)"
SERVE = """\
import subprocess, sys
os.makedirs('site', exist_ok=True); open('site/index.html', 'w').write('<h1>served</h1>')
port = os.environ['MUX_PORT_SITE']
server = subprocess.Popen([sys.executable, '-m', 'http.server', port, '--bind', '127.0.0.1', '-d', 'site'])"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def heavy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MuxUnderTest]:
    """A mux with one such project."""
    directory = Path(tempfile.mkdtemp(prefix="mux-e2e-"))
    environment = tmp_path_factory.mktemp("environment")
    try:
        python = await asyncio.to_thread(made, environment / "heavy", PACKAGES)
        command = json.dumps([str(python), "-m", "jupyterlab", *ARGUMENTS])
        head, _, rest = EVENT.partition("[[project]]")
        project = PROJECT.format(image=EXAMPLES[0], command=command).replace("{", "{{").replace("}", "}}")
        under_test = MuxUnderTest(directory, template=head + project + rest.partition("{more}")[2])
        try:
            await under_test.start()
            await under_test.invite(["Ana"])
            await under_test.ready()
            yield under_test
            await under_test.stop()
            assert under_test.processes() == [], "mux left processes behind"
        finally:
            if left := under_test.processes():
                await kill(left)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(environment, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="session")
async def ana(heavy: MuxUnderTest, browser: Browser) -> AsyncIterator[Person]:
    """An attendee who has logged in, the workspace started."""
    room = Room(heavy, browser, {}, None)
    person = await room.person("Ana")
    await person.log_in()
    await person.page.goto(person.address("heavy"), timeout=START_MS_MAX)
    await person.page.wait_for_selector(".jp-DirListing-item", timeout=START_MS_MAX)
    yield person
    await room.close()


async def test_widgets_figures_and_plots_are_shown_and_answer(ana: Person) -> None:
    """Dash is there, too: JupyterLab would ask whether to build it in, over all of this."""
    page, lab = ana.page, await ana.notebook("heavy")
    await lab.run(WIDGET)
    await page.locator(".noUi-handle").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator(".widget-readout")).to_have_text("4")
    assert await lab.run("print(slider.value)") == "4"
    await lab.run(FIGURE)
    canvas = page.locator(".jupyter-matplotlib canvas").last
    await canvas.click(position={"x": 200, "y": 200})
    assert await lab.run("print(len(clicks))") == "1"
    assert "500/500" in await lab.run("from tqdm.auto import tqdm\nfor _ in tqdm(range(500)): pass")
    await lab.run("import plotly.express as px; px.line(y=[1, 2, 3]).show()")
    await page.locator(".js-plotly-plot .plot-container").wait_for()
    await expect(page.locator(".jp-Dialog")).to_have_count(0)


async def test_an_app_within_a_notebook_is_reached_at_its_port(ana: Person, heavy: MuxUnderTest) -> None:
    lab = await ana.notebook("heavy")
    host, workspace = heavy.public.partition("://")[2], ana.address("heavy")
    await lab.run(APP.replace("{host}", host).replace("{workspace}", workspace))
    await ana.page.get_by_role("button", name="press me").click()
    await expect(ana.page.get_by_text("pressed", exact=True)).to_be_visible()


async def test_a_frame_waits_for_what_is_not_served_yet(ana: Person) -> None:
    lab = await ana.notebook("heavy")
    await lab.run(FRAME)
    await lab.run(SERVE)
    frame = ana.page.frame_locator("iframe[src*='port/site']")
    await expect(frame.locator("h1")).to_have_text("served")


async def test_a_cell_asks_and_is_interrupted_and_its_kernel_started_anew(ana: Person) -> None:
    page, lab = ana.page, await ana.notebook("heavy")
    printed = page.locator(".jp-OutputArea-output")
    toolbar = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-NotebookPanel-toolbar")
    await starts(lab, "kept = input('name? '); print('hello', kept)")
    await page.locator(".jp-Stdin-input").fill("ana")
    await page.keyboard.press("Enter")
    await expect(printed.filter(has_text="hello ana")).to_be_visible()
    await starts(lab, "import time; print('begun'); time.sleep(600)")
    await expect(printed.filter(has_text="begun")).to_be_visible()
    await toolbar.locator("[data-jp-item-name=interrupt] jp-button").click()
    await expect(printed.filter(has_text="KeyboardInterrupt").last).to_be_visible()
    await toolbar.locator("[data-jp-item-name=restart] jp-button").click()
    await page.locator(".jp-Dialog .jp-mod-accept").click()
    await expect(page.locator(".jp-Dialog")).to_have_count(0)
    assert await lab.run("print('kept' in globals())") == "False"


async def starts(lab: Lab, code: str) -> None:
    """Begin to run code in the last cell."""
    editor = lab.cells().last.locator(".cm-content")
    await editor.click()
    await lab.page.keyboard.insert_text(code)
    await expect(editor).to_contain_text(code)
    await lab.page.keyboard.press("Shift+Enter")
