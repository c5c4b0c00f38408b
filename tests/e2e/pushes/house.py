"""A mux with two ships, of containers or processes, an attendee on each, and what is seen while images are pushed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.docker_engine import Engine, left_in
from tests.e2e.harness import MUX, MuxUnderTest, kill
from tests.e2e.kills.attendee import Attendee
from tests.e2e.pushes.gate import Gate
from tests.e2e.pushes.running import Running, in_engine, on_this_machine
from tests.e2e.pushes.shelf import LIGHT, NOTES, PROCESS, Directories, Kind, Shelf
from tests.registry.server import registry

NAMES = ("Ana", "Ben")
POLL_S = 0.02
LOOK_S = 0.05
WAIT_S_MAX = 240.0
"""Bound of every wait: minutes, since this machine may be doing other things."""
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
attendees = 2
seats_per_ship = SEATS
ready_seats = 2
heartbeat_s = 1.0
heartbeat_grace_s = 10.0
ports = "{ports}"

[rollout]
max_unavailable = "1"
monitor_s = 1.0
start_max_s = START_MAX_S
swap_hold_s = 120.0

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[data]
directory = "data"
"""


class Polls:
    """Requests every `POLL_S`: how often each answer came, and the longest time without a good one."""

    def __init__(self) -> None:
        self.came: Counter[str] = Counter()
        self.gap_s = 0.0

    async def run(self, http: aiohttp.ClientSession, address: str) -> None:
        """Ask on and on. A request may wait as long as whoever answers lets it: what it brings is what counts."""
        last = time.monotonic()
        patience = aiohttp.ClientTimeout(total=WAIT_S_MAX)
        while True:
            try:
                async with http.get(address, allow_redirects=False, timeout=patience) as answer:
                    await answer.read()
                    said = str(answer.status)
            except (aiohttp.ClientError, OSError) as error:
                said = type(error).__name__
            self.came[said] += 1
            if said == "200":
                now = time.monotonic()
                self.gap_s, last = max(self.gap_s, now - last), now
            await asyncio.sleep(POLL_S)


class Guest(Attendee):
    """An attendee who asks again and again, with files of their own."""

    def __init__(self, public: str, name: str, code: str) -> None:
        super().__init__(public, name, code)
        self.polls = Polls()

    async def text(self, name: str) -> str:
        """What a file of theirs holds."""
        async with self._http.get(f"{self.workspace}/api/contents/{name}?content=1") as answer:
            answer.raise_for_status()
            return str((await answer.json())["content"])

    async def writes(self, name: str, text: str) -> None:
        """Save a file."""
        content = {"type": "file", "format": "text", "content": text}
        async with self._http.put(f"{self.workspace}/api/contents/{name}", json=content) as answer:
            answer.raise_for_status()

    async def poll(self) -> None:
        """Ask on and on, from now."""
        self.polls = Polls()
        await self.polls.run(self._http, f"{self.workspace}/api")


class House(MuxUnderTest):
    """See the module.

    Args:
        directory: for everything; its path must be short.
        engine: the Docker engine of both ships; None for processes.
        shelf: images, by way of its gate.
        seats: of each ship, 1 or 2: both attendees have seats.
        start_max_s: `rollout.start_max_s`.
    """

    def __init__(
        self, directory: Path, engine: Engine | None, shelf: Shelf | Directories, seats: int, start_max_s: float
    ) -> None:
        template = EVENT.replace("COMMAND", shelf.kind.command).replace("START_MAX_S", str(start_max_s))
        template = template.replace("SEATS", str(seats))
        super().__init__(directory, engine, template=template.replace("IMAGE", shelf.name("first")))
        self.shelf = shelf
        self.gate = shelf.gate
        self.kind = shelf.kind
        self.ships = len(NAMES) // seats
        self.guests: list[Guest] = []
        self._seats = seats

    async def admit(self) -> None:
        """Have everybody at work, with a file of their own and one that they edited."""
        await self.invite(NAMES)
        for name in NAMES:
            guest = Guest(self.public, name, self.codes[name])
            self.guests.append(guest)
            await guest.log_in()
        await self.healthy()
        for guest, name in zip(self.guests, NAMES, strict=True):
            await guest.writes("mine.txt", name)

    async def reachable(self) -> None:
        """Wait until the admin API answers; asked without the start of a program."""
        async with asyncio.timeout(WAIT_S_MAX):
            while await self._rollouts() is None:
                assert self._process is not None
                assert self._process.returncode is None, f"mux ended: {self.log_tail()}"
                await asyncio.sleep(LOOK_S)

    async def push(self, image: str, *words: str) -> tuple[bool, str]:
        """`mux push`; whether it went well, and what it said at last."""
        process = await asyncio.create_subprocess_exec(
            MUX, "--config", str(self.config), "push", "intro", image, "--yes", *words,
            env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode == 0, (err or out).decode().strip()

    async def start_over(self, name: str, path: str) -> None:
        """Have a file of an attendee's as the image has it; returns when that is so."""
        await self.run("files", "reset", name, "intro", path, "--yes")

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
            async with asyncio.timeout(WAIT_S_MAX):
                while (last := await self.rollout()) is None or not fulfilled(last):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not so after {WAIT_S_MAX:g} s: {last}\n{await self.account()}") from None
        return last

    async def done(self) -> None:
        """Wait until the rollout has ended, and well."""
        found = await self.until(lambda found: found["phase"] in {"done", "stopped", "aborted", "rolled back"})
        assert found["phase"] == "done", f"{found}\n{await self.account()}"

    async def healthy(self) -> None:
        """Wait until every attendee's workspace answers."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not all([await guest.answers() for guest in self.guests]):
                await asyncio.sleep(LOOK_S)

    async def bound(self) -> dict[str, str]:
        """What attendees are led to: identities by workspace."""
        return {each.workspace: each.identity for each in await self._bound()}

    async def digests(self) -> dict[str, str]:
        """What these run: digests by workspace."""
        return {each.workspace: each.digest for each in await self._bound()}

    async def _bound(self) -> list[Running]:
        if self.engine is not None:
            found = await asyncio.to_thread(in_engine, self.engine, self.event)
        else:
            found = await asyncio.to_thread(on_this_machine, self.directory / "data/ships")
        # A trial is on no seat: its number is one more than the last seat's.
        return [each for each in found if each.seat < self._seats]

    async def kill_control(self) -> None:
        """``kill -9`` of the process that decides; the supervisor starts it again."""
        await kill(self.processes_of("mux.daemon run"))

    async def kill_mux(self) -> None:
        """``kill -9`` of everything that is the mux, at once, and start it again; ships go on."""
        await self.kill_whole()
        await self.start()

    async def close(self) -> None:
        """Everybody leaves."""
        for guest in self.guests:
            await guest.close()


@contextlib.asynccontextmanager
async def open_house(
    engine: Engine | None, kind: Kind = LIGHT, *, seats: int = 1, start_max_s: float = 60.0
) -> AsyncIterator[House]:
    """A registry, a mux whose workspaces come from it, and attendees who work in them; for the rest see `House`.

    Without an engine there is no registry: images are directories.
    """
    directory = Path(tempfile.mkdtemp(prefix="mux-push-"))
    # Elsewhere: the mux's processes are known by their directory.
    with tempfile.TemporaryDirectory(prefix="mux-registry-") as name, contextlib.ExitStack() as ending:
        apart = Path(name)
        shelf: Shelf | Directories
        if engine is None:
            assert kind is PROCESS
            shelf = Directories(apart)
        else:
            shelf = Shelf(engine, Gate(ending.enter_context(registry(apart)).port), kind)
        house = House(directory, engine, shelf, seats, start_max_s)
        try:
            await house.gate.open()
            await shelf.have_base()
            await shelf.put("first")
            await house.start()
            await house.ready()
            await house.admit()
            assert [await guest.text(NOTES) for guest in house.guests] == ["first", "first"]
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
            await shelf.clear()
            await house.gate.cut()
            shutil.rmtree(directory, ignore_errors=True)


def last_line(said: str) -> dict[str, Any]:
    """The last of several JSON lines."""
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found
