"""`mux fleet warm` against a real mux with real ships, killed in the middle: exactly as many ships afterwards."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.harness import LOOK_S, READY_S_MAX, MuxUnderTest, kill
from tests.ship_agent.images import COMMAND, make_image

EVENT = """\
[event]
name = "{event}"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "pages"
kind = "http"
health_path = "api"
image = "image"
command = COMMAND

[fleet]
runtime = "{runtime}"
attendees = 1
seats_per_ship = 1
heartbeat_s = 1.0
ports = "{ports}"

[spend]
price_per_ship_hour = 0.5

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[data]
directory = "data"
"""
SEATS = 5

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
async def mux() -> AsyncIterator[MuxUnderTest]:
    """A mux on processes, whose one project is a small web server below the project's path."""
    directory = Path(tempfile.mkdtemp(prefix="mux-warm-"))
    make_image(directory / "image")
    # The template is formatted: what the command itself has in braces is for the mux.
    command = json.dumps(COMMAND).replace("{", "{{").replace("}", "}}")
    under_test = MuxUnderTest(directory, template=EVENT.replace("COMMAND", command))
    try:
        await under_test.start()
        yield under_test
    finally:
        await under_test.stop()
        if left := under_test.processes():
            await kill(left)
        shutil.rmtree(directory, ignore_errors=True)


async def test_a_mux_that_is_killed_while_it_warms_has_exactly_the_ships_that_were_asked_for(mux: MuxUnderTest) -> None:
    await mux.run("fleet", "warm", str(SEATS), "--yes", "--no-watch")
    async with asyncio.timeout(READY_S_MAX):
        while not (await mux.status())["ships"]:
            await asyncio.sleep(LOOK_S)
    await kill(mux.processes_of("mux.daemon run"))
    await mux.reachable()
    lines = (await mux.run("fleet", "warm", str(SEATS), "--yes", "--json", "--timeout", "600")).splitlines()
    last = json.loads(lines[-1])
    assert (last["seats"], last["ready"]) == (SEATS, SEATS)
    assert last["spend"]["per_hour"] == 0.5 * SEATS
    assert len((await mux.status())["ships"]) == SEATS
    assert len(mux.processes_of("ship_agent.cli")) == SEATS
    await mux.run("fleet", "cool")
    async with asyncio.timeout(READY_S_MAX):
        while mux.processes_of("ship_agent.cli"):
            await asyncio.sleep(LOOK_S)
