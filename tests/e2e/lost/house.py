"""A mux with two ships of one seat each and an attendee on one of them, which can be killed whole.

Workspaces are JupyterLab, or `contents`, which starts in a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil

from tests.docker_engine import Engine
from tests.e2e.harness import LOOK_S, MuxUnderTest, kill, processes_of
from tests.e2e.kills.attendee import Attendee

NAME = "Ana"
SHARED_FILE = "shared-data/edit.txt"
"""In the directory that Ana's projects share."""
MOVED_S_MAX = 240.0
"""Bound of every wait: minutes, since this machine may be doing other things."""
EVENT = """\
[event]
name = "{event}"
title = "Camp of the lost ships"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "intro"
title = "Introduction to notebooks"
image = "{images[0]}"
shared = ["data"]
{command}

[[project]]
name = "later"
title = "Opened later"
image = "{images[0]}"
start = "on_use"
shared = ["data"]
{command}

[fleet]
provider = "local"
runtime = "{runtime}"
attendees = 1
spare_seats = 1
seats_per_ship = 1
ready_seats = 2
heartbeat_s = 1.0
heartbeat_grace_s = 10.0
ports = "{ports}"

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[data]
directory = "data"
"""


SERVER = Path(__file__).with_name("contents.py")
COMMAND = 'command = ["python3", "contents.py"]'


class House(MuxUnderTest):
    """See the module.

    Args:
        directory: for everything; its path must be short.
        light: whether workspaces are `contents`; in containers they are JupyterLab.
        engine: the Docker engine that workspaces run on; None for processes.
        more: further tables of the event file.
    """

    def __init__(self, directory: Path, *, light: bool, engine: Engine | None = None, more: str = "") -> None:
        template = EVENT.replace("{command}", COMMAND if light else "") + more
        if light:
            (directory / "image" / "home").mkdir(parents=True)
            shutil.copy(SERVER, directory / "image" / "home" / SERVER.name)
            template = template.replace("{images[0]}", "image")
        super().__init__(directory, engine, template=template)

    def kept(self, file: str) -> str:
        """What the newest snapshot has in the attendee's file; empty if there is none."""
        return newest(self.files, file)

    async def until_moved(self, ship: str) -> None:
        """Wait until the attendee has a seat on another ship than this."""
        async with asyncio.timeout(MOVED_S_MAX):
            while {place for place, _ in (await self.seats()).values()} in ({ship}, set()):
                await asyncio.sleep(LOOK_S)

    async def kill_ship(self, ship: str) -> None:
        """``kill -9`` of its agent and of all that runs in its workspaces, as if the machine were off."""
        place = self.directory / "data" / "ships" / ship
        found = processes_of(place)
        below = {child for process in found for child in _children(process)}
        if self.engine is not None:
            # The init of a container takes everything in it along.
            below |= {psutil.Process(pid) for pid in self._inits(ship)}
        await kill({*found, *below})

    def _inits(self, ship: str) -> Iterator[int]:
        assert self.engine is not None
        for each in self.engine.ask("GET", "/containers/json"):
            if (each["Labels"].get("mux.event"), each["Labels"].get("mux.ship")) == (self.event, ship):
                yield int(self.engine.ask("GET", f"/containers/{each['Id']}/json")["State"]["Pid"])

    async def until_kept(self, file: str, text: str) -> None:
        """Wait until a snapshot has that in the attendee's file."""
        async with asyncio.timeout(MOVED_S_MAX):
            while await asyncio.to_thread(self.kept, file) != text:
                await asyncio.sleep(LOOK_S)


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return list(process.children(recursive=True))
    return []


async def first_answer(attendee: Attendee) -> int | None:
    """What the file holds when the workspace answers first; None if it is not there."""
    async with asyncio.timeout(MOVED_S_MAX):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError, ValueError, KeyError):
                try:
                    return await attendee.content()
                except aiohttp.ClientResponseError as error:
                    if error.status == 404:
                        return None
            await asyncio.sleep(LOOK_S)


def newest(files: Path, file: str) -> str:
    """What the newest snapshot of the only attendee has in a file; empty if there is none.

    Args:
        files: where a mux keeps attendees' files.
        file: of their home or, for SHARED_FILE, of what their projects share.
    """
    of = "shared.data" if file == SHARED_FILE else "intro"
    for path in sorted(files.glob(f"*/project-{of}/*.json"), reverse=True):
        for entry in json.loads(path.read_bytes())["entries"]:
            if entry["path"] == Path(file).name:
                objects = path.parent.parent / "objects"
                packed = [(objects / chunk[:2] / chunk).read_bytes() for chunk in entry["chunks"]]
                return b"".join(map(zlib.decompress, packed)).decode()
        return ""
    return ""


@contextlib.asynccontextmanager
async def open_house(*, light: bool, engine: Engine | None = None) -> AsyncIterator[tuple[House, Attendee]]:
    """A mux with an attendee at work in it. ``light`` and ``engine``: see `House`."""
    with tempfile.TemporaryDirectory(prefix="mux-lost-", ignore_cleanup_errors=True) as directory:
        house = House(Path(directory), light=light, engine=engine)
        async with opened(house) as attendee:
            yield house, attendee


@contextlib.asynccontextmanager
async def opened(house: House) -> AsyncIterator[Attendee]:
    """A house, started, and the attendee at work in it."""
    try:
        await house.start()
        await house.ready()
        await house.invite([NAME])
        attendee = Attendee(house.public, NAME, house.codes[NAME])
        try:
            await attendee.log_in()
            async with asyncio.timeout(MOVED_S_MAX):
                while not await attendee.answers():
                    await asyncio.sleep(LOOK_S)
            yield attendee
        finally:
            await attendee.close()
        await house.stop()
    finally:
        if left := house.processes():
            await kill(left)
