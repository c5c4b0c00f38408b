"""A mux with one ship and one attendee, started again when it dies as systemd would, and its parts by name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path

import psutil

from mux.child import EXIT_CONFIG
from tests.docker_engine import Engine, left_in
from tests.e2e.harness import MUX, MuxUnderTest, kill
from tests.e2e.kills.attendee import Attendee
from tests.parts import missing

NAME = "Ana"
RESTART_PAUSE_S = 0.5
"""``RestartSec`` of deploy/systemd/mux.service."""
CONVERGED_S_MAX = 240.0
"""Bound of the wait until everything is as it should be: minutes, since this machine may be doing other things."""
LOOK_S = 0.1
DISK_BYTES = 64 << 20
"""Room for a ship with one seat, several times over."""

EVENT = """\
[event]
name = "{event}"
title = "Camp of the kills"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "intro"
title = "Introduction to notebooks"
image = "{images[0]}"
memory = "{memory}"

[fleet]
provider = "local"
runtime = "{runtime}"
attendees = 1
seats_per_ship = 1
ready_seats = 1
heartbeat_s = 1.0
heartbeat_grace_s = 10.0
ports = "{ports}"

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"
proxies = 2

[data]
directory = "data"
"""

PARTS = {
    "process": ("supervisor", "control", "proxy 0", "proxy 1", "agent", "shim", "workspace"),
    "docker": ("supervisor", "control", "proxy 0", "proxy 1", "agent", "engine", "container"),
}
"""Every process of the tree, by runtime."""
WORDS = {
    "supervisor": " serve",
    "control": "mux.daemon run",
    "proxy 0": "--name=proxy-0",
    "proxy 1": "--name=proxy-1",
    "agent": "ship_agent.cli run",
    "shim": "shim.py",
    "workspace": "jupyterlab",
}
"""What stands in the command line of a part that is a process of this machine."""
ONCE = tuple(WORDS)[:5]


class House(MuxUnderTest):
    """See the module.

    Args:
        directory: for everything; its path must be short.
        engine: the Docker engine that workspaces run on; None for processes.
    """

    def __init__(self, directory: Path, engine: Engine | None = None) -> None:
        super().__init__(directory, engine, template=EVENT.replace("{memory}", "512MiB"))
        self.runtime = "docker" if engine else "process"
        self.parts = PARTS[self.runtime]
        self.why = ""
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and keep it running."""
        self._keeper = asyncio.create_task(self._keep(), name="as systemd")
        await self._until_converged(self._answers)

    async def _keep(self) -> None:
        while True:
            await self._spawn()
            assert self._process is not None
            assert await self._process.wait() != EXIT_CONFIG, f"the event file is refused: {self.log_tail()}"
            await asyncio.sleep(RESTART_PAUSE_S)

    async def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                MUX, "--config", str(self.config), "serve",
                env=self.environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def stop(self) -> None:
        """Park the ship, end the mux; nothing is left."""
        await self.run("fleet", "park", "--yes")
        await self._until_converged(self._is_parked)
        assert self._keeper is not None
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        await super().stop()
        assert self.processes() == [], "the mux left processes behind"
        if self.engine is not None:
            assert left_in(self.engine, self.directory / "data" / "ships") == [], "it left something in the engine"

    async def _is_parked(self) -> bool:
        status = await self.quick_status()
        return status is not None and all(ship["state"] == "parked" for ship in status["ships"])

    async def _answers(self) -> bool:
        return await self.quick_status() is not None

    def pids(self, part: str) -> set[int]:
        """Of a part; several of a workspace's may be starting."""
        if part == "engine":
            assert self.engine is not None
            return {self.engine.pid}
        if part == "container":
            assert self.engine is not None
            return {self.engine.ask("GET", f"/containers/{each}/json")["State"]["Pid"] for each in self.containers()}
        return {process.pid for process in self.processes_of(WORDS[part])}

    def kill(self, parts: Iterable[str]) -> set[int]:
        """``kill -9`` of all that these parts are, at once; their pids."""
        # Looked for first, so that nothing lies between two kills.
        chosen = {pid for part in parts for pid in self.pids(part)}
        for pid in chosen:
            os.kill(pid, signal.SIGKILL)
        return chosen

    def wrong(self, before: dict[str, set[int]]) -> str:
        """What is not as it should be with the processes; empty if nothing is.

        Args:
            before: pids that were killed, by part.
        """
        found: Counter[str] = Counter()
        parents: dict[str, list[int]] = {"workspace": [], "kernel": []}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                line = " ".join(process.cmdline())
                part = next((name for name, words in WORDS.items() if words in line), "something else")
                if part == "workspace":
                    parents[part].append(process.pid)
                elif "ipykernel" in line:
                    parents["kernel"].append(process.ppid())
                    continue
                found[part] += 1
        wanted = dict.fromkeys(WORDS if self.engine is None else ONCE, 1)
        if dict(found) != wanted:
            return f"processes: {dict(found)}"
        if set(parents["kernel"]) - set(parents["workspace"]):
            return "a kernel has outlived its workspace"
        left = {part for part, pids in before.items() if part in self.parts and pids & self.pids(part)}
        return f"still there: {left}" if left else ""

    async def converged(self, attendee: Attendee, killed: dict[str, set[int]]) -> None:
        """Wait until every part is there once, the ship has its link, the seat is kept and the workspace answers."""
        await self._until_converged(lambda: self._is_well(attendee, killed))

    async def _is_well(self, attendee: Attendee, killed: dict[str, set[int]]) -> bool:
        status = await self.quick_status()
        if status is None or not all(ship["linked"] for ship in status["ships"]):
            self.why = f"status: {status and [ship['linked'] for ship in status['ships']]}"
            return False
        if status["seats_assigned"] != 1 or not await attendee.answers():
            self.why = "the workspace does not answer"
            return False
        try:
            self.why = await asyncio.to_thread(self.wrong, killed)
        except OSError as error:
            self.why = f"the engine: {error}"
        return not self.why

    async def _until_converged(self, fulfilled: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(CONVERGED_S_MAX):
                while not await fulfilled():
                    if self._keeper is not None and self._keeper.done() and not self._keeper.cancelled():
                        self._keeper.result()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not well after {CONVERGED_S_MAX:g} s: {self.why}\n{self.log_tail()}") from None


@contextlib.contextmanager
def disk(place: Path) -> Iterator[None]:
    """A small disk at a directory. Needs root."""
    place.mkdir(parents=True, mode=0o700)
    if os.geteuid() != 0:
        missing("a small disk", "to mount one takes root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "mux-kills", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@contextlib.asynccontextmanager
async def open_house(engine: Engine | None = None, *, small_disk: str = "") -> AsyncIterator[tuple[House, Attendee]]:
    """A mux with an attendee at work in it.

    Args:
        engine: see `House`.
        small_disk: a directory of the house's that is to be a disk of its own, of `DISK_BYTES`.
    """
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mux-kills-", ignore_cleanup_errors=True)))
        if small_disk:
            stack.enter_context(disk(path / small_disk))
        house = House(path, engine)
        try:
            await house.start()
            await house.ready()
            await house.invite([NAME])
            attendee = Attendee(house.public, NAME, house.codes[NAME])
            try:
                await attendee.log_in()
                await attendee.open_kernel()
                await house.converged(attendee, {})
                yield house, attendee
            finally:
                await attendee.close()
            await house.stop()
        finally:
            if left := house.processes():
                await kill(left)
