"""A mux with ships of containers or processes, attendees who work on them, and what is seen while images are pushed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.docker_engine import Engine, left_in
from tests.e2e.harness import MUX, READY_S_MAX, STOP_S_MAX, MuxUnderTest, kill
from tests.e2e.polls import POLL_S
from tests.e2e.pushes.directories import Directories
from tests.e2e.pushes.gate import Gate
from tests.e2e.pushes.guest import PROJECT, Guest
from tests.e2e.pushes.images import LIGHT, NOTES, PROCESS, Images, Kind
from tests.e2e.pushes.running import Running, in_engine, on_this_machine
from tests.e2e.pushes.shelf import Shelf
from tests.registry.server import login, registry

LOOK_S = 0.05
LOOK_LARGE_S = 0.5
"""Between two looks at a room that is larger than this: an engine that is asked more often has nothing else to do."""
LARGE = 8
POLLED_SLOWLY_S = 1.0
POLLED_QUICKLY = 4
"""Of a large room so many ask every `POLL_S`, the others every second: this program must not be what is slow."""
WAIT_S_MAX = 240.0
WAIT_EACH_S = 40.0
"""Bound of every wait, and what each attendee adds: minutes, since this machine may be doing other things."""
ENDED = ("done", "stopped", "aborted", "rolled back")
EVENT = """\
[event]
name = "{event}"
title = "Camp of the pushes"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "intro"
title = "Introduction to notebooks"
image = "IMAGE"
COMMAND

[fleet]
provider = "local"
runtime = "{runtime}"
attendees = ATTENDEES
seats_per_ship = SEATS
ready_seats = ATTENDEES
heartbeat_s = 1.0
heartbeat_grace_s = 10.0
ports = "{ports}"

[rollout]
max_unavailable = "AT_ONCE"
monitor_s = 1.0
start_max_s = START_MAX_S
swap_hold_s = 120.0
idle_after_s = 30.0

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[registry]
LOGINS

[data]
directory = "data"
"""


class House(MuxUnderTest):
    """See the module.

    Args:
        directory: for everything; its path must be short.
        engine: the Docker engine of all ships; None for processes.
        images: that are pushed.
    """

    def __init__(self, directory: Path, engine: Engine | None, images: Images) -> None:
        self.images = images
        self.gate = images.gate
        self.kind = kind = images.kind
        self.ships = kind.ships
        self.seats_per_ship = kind.attendees // kind.ships
        words = {
            "IMAGE": images.name("first"),
            "COMMAND": kind.command,
            "ATTENDEES": str(kind.attendees),
            "SEATS": str(self.seats_per_ship),
            "AT_ONCE": kind.at_once,
            "START_MAX_S": str(kind.start_max_s),
            "LOGINS": f'config = "{images.logins}"' if isinstance(images, Shelf) else "",
        }
        template = EVENT
        for word, value in words.items():
            template = template.replace(word, value)
        super().__init__(directory, engine, template=template, ports=100 + 10 * kind.attendees)
        large = kind.attendees > LARGE
        self.look_s = LOOK_LARGE_S if large else LOOK_S
        self.wait_s_max = WAIT_S_MAX + WAIT_EACH_S * kind.attendees
        self.ready_s_max = READY_S_MAX + WAIT_EACH_S * kind.attendees
        self.stop_s_max = STOP_S_MAX + WAIT_EACH_S * kind.attendees
        self.guests: list[Guest] = []
        self._users: dict[str, str] = {}

    # --- who is there -----------------------------------------------------------------------------------------------

    async def admit(self) -> None:
        """Have everybody at work, each with a file of their own."""
        names = ["Ana", "Ben", *(f"Guest {number}" for number in range(3, self.kind.attendees + 1))]
        await self.invite(names)
        for number, name in enumerate(names):
            quick = self.kind.attendees <= LARGE or number < POLLED_QUICKLY
            guest = Guest(self.public, name, self.codes[name], POLL_S if quick else POLLED_SLOWLY_S)
            self.guests.append(guest)
            await guest.log_in()
        await self.healthy()
        for guest in self.guests:
            await guest.writes("mine.txt", guest.name)

    async def healthy(self) -> None:
        """Wait until every attendee's workspace answers."""
        async with asyncio.timeout(self.wait_s_max):
            while not all([await guest.answers() for guest in self.guests]):
                await asyncio.sleep(self.look_s)

    async def ship_of(self, guest: Guest) -> str | None:
        """Where somebody sits; None while they wait for a seat."""
        if not self._users:
            users = json.loads(await self.run("roster", "list", "--json"))["users"]
            self._users = {each["name"]: each["id"] for each in users}
        found = (await self.seats()).get(self._users[guest.name])
        return found[0] if found is not None else None

    # --- what an organizer does -------------------------------------------------------------------------------------

    async def push(self, image: str, *words: str) -> tuple[bool, str]:
        """`mux push`; whether it went well, and what it said at last."""
        process = await asyncio.create_subprocess_exec(
            MUX, "--config", str(self.config), "push", PROJECT, image, "--yes", *words,
            env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self.wait_s_max):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode == 0, (err or out).decode().strip()

    async def start_over(self, name: str, path: str) -> None:
        """Have a file of an attendee's as the image has it; returns when that is so."""
        await self.run("files", "reset", name, PROJECT, path, "--yes")

    # --- how the rollout stands -------------------------------------------------------------------------------------

    async def reachable(self) -> None:
        """Wait until the admin API answers; asked without the start of a program."""
        async with asyncio.timeout(self.wait_s_max):
            while await self._rollouts() is None:
                assert self._process is not None
                assert self._process.returncode is None, f"mux ended: {self.log_tail()}"
                await asyncio.sleep(LOOK_S)

    async def rollout(self) -> dict[str, Any] | None:
        """How the latest rollout stands; None when there was none, or nobody answers."""
        found = await self._rollouts()
        return found[0] if found else None

    async def _rollouts(self) -> list[dict[str, Any]] | None:
        connector = aiohttp.UnixConnector(str(self.directory / "data/run/admin.sock"))
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError):
            async with (
                aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session,
                session.get("http://mux/api/v1/rollouts") as answer,
            ):
                found: list[dict[str, Any]] = (await answer.json())["rollouts"]
                return found
        return None

    async def until(self, fulfilled: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for something of the rollout; the rollout as it is then."""
        last = None
        try:
            async with asyncio.timeout(self.wait_s_max):
                while (last := await self.rollout()) is None or not fulfilled(last):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not so after {self.wait_s_max:g} s: {last}\n{await self.account()}") from None
        return last

    async def done(self) -> None:
        """Wait until the rollout has ended, and well."""
        found = await self.until(lambda found: found["phase"] in ENDED)
        assert found["phase"] == "done", f"{found}\n{await self.account()}"

    # --- what runs --------------------------------------------------------------------------------------------------

    async def bound(self) -> dict[str, str]:
        """What attendees are led to: identities by workspace."""
        return {each.workspace: each.identity for each in await self._bound()}

    async def digests(self) -> dict[str, str]:
        """What these run: digests by workspace."""
        return {each.workspace: each.digest for each in await self._bound()}

    async def _bound(self) -> list[Running]:
        found = await asyncio.to_thread(self._running)
        # A trial is on no seat: its number is one more than the last seat's.
        return [each for each in found if each.seat < self.seats_per_ship]

    def _running(self) -> list[Running]:
        if self.engine is None:
            return on_this_machine(self.directory / "data/ships")
        while True:
            try:
                return in_engine(self.engine, self.event)
            except OSError:  # it was killed, and is started again
                self.engine.wait_ready()

    # --- what is killed ---------------------------------------------------------------------------------------------

    async def kill_control(self) -> None:
        """``kill -9`` of the process that decides; the supervisor starts it again."""
        await kill(self.processes_of("mux.daemon run"))

    async def kill_mux(self) -> None:
        """``kill -9`` of everything that is the mux, at once, and start it again; ships go on."""
        await self.kill_whole()
        await self.start()

    async def kill_agents(self) -> None:
        """``kill -9`` of every ship's agent; the mux starts them again, as systemd would."""
        await kill(self.agents())

    async def kill_engine(self) -> None:
        """``kill -9`` of the Docker engine of all ships; its keeper starts it again, and containers go on."""
        assert self.engine is not None
        await asyncio.to_thread(self.engine.wait_ready)
        await kill([psutil.Process(self.engine.pid)])

    def agents(self, ship: str = "") -> list[psutil.Process]:
        """Agents of all ships, or of one."""
        return list({*self.processes_of("ship_agent.cli run")} & {*self.processes_of(f"/{ship}")})

    async def close(self) -> None:
        """Everybody leaves."""
        for guest in self.guests:
            await guest.close()


@contextlib.asynccontextmanager
async def open_house(engine: Engine | None, kind: Kind = LIGHT) -> AsyncIterator[House]:
    """A registry, a mux whose workspaces come from it, and attendees who work in them; for the rest see `House`.

    Without an engine there is no registry: images are directories.
    """
    directory = Path(tempfile.mkdtemp(prefix="mux-push-"))
    # Elsewhere: the mux's processes are known by their directory.
    with tempfile.TemporaryDirectory(prefix="mux-registry-") as name, contextlib.ExitStack() as ending:
        images = _images(engine, kind, Path(name), ending)
        house = House(directory, engine, images)
        try:
            await house.gate.open()
            await images.have_base()
            await images.put("first")
            await house.start()
            await house.ready()
            await house.admit()
            assert {await guest.text(NOTES) for guest in house.guests} == {"first"}
            yield house
            await house.stop()
            assert house.processes() == [], "the mux left processes behind"
            if engine is not None:
                assert left_in(engine, directory / "data" / "ships") == [], "it left something in the engine"
        finally:
            await house.close()
            if left := house.processes():
                await kill(left)
            if engine is not None:
                for each in house.containers():  # of a test that has failed
                    engine.ask("DELETE", f"/containers/{each}?force=1")
            await images.clear()
            await house.gate.cut()
            shutil.rmtree(directory, ignore_errors=True)


def _images(engine: Engine | None, kind: Kind, apart: Path, ending: contextlib.ExitStack) -> Images:
    if engine is None:
        assert kind is PROCESS
        return Directories(apart)
    config, users = apart / "docker", apart / "login"
    config.mkdir()
    auth = login(users)
    server = ending.enter_context(registry(apart / "registry", auth=auth))
    return Shelf(engine, Gate(server.port), kind, config, Path(auth["htpasswd"]["path"]))


def last_line(said: str) -> dict[str, Any]:
    """The last of several JSON lines."""
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found
