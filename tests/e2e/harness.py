"""A whole mux on this machine: real supervisor, control process, proxy, ships, and JupyterLab in the workspaces.

It is started as people start it, `mux serve` on an event file, and spoken to as they do: through the command line and a
browser. Everything lies in one directory, by which its processes are known.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import random
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.docker_engine import ROOT, Engine

EXAMPLES = [str(ROOT / "images" / name) for name in ("example", "example-stats")]
MUX = str(Path(sys.executable).with_name("mux"))
READY_S_MAX = 180.0
"""Bound of the wait for ready seats: eight JupyterLabs start on two cores that have other things to do."""
STOP_S_MAX = 60.0
LOOK_S = 0.25
"""Between two looks at something that gives no sign of its own: a process table, a status."""
WHOLE = (" serve", "mux.daemon run", "--name=proxy")
"""What stands in the command lines of a mux: supervisor, control process, proxies."""
BELOW_EPHEMERAL = range(10_000, 20_000)
"""Linux gives clients ports from 32768 up, ships have theirs from 20000 up: one below stays free over a restart."""
SHIPS = range(30_000, 32_700, 100)
"""Where ranges of ports for workspaces may start: beside the default range, which a demo may be using."""

EVENT = """\
[event]
name = "{event}"
title = "Camp of the browser tests"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "intro"
title = "Introduction to notebooks"
image = "{images[0]}"
ports = {{dashboard = 8787}}
shared = ["data"]

[[project]]
name = "stats"
title = "Statistics by simulation"
image = "{images[1]}"
start = "on_use"
shared = ["data"]
{more}
[fleet]
provider = "local"
runtime = "{runtime}"
attendees = 4
seats_per_ship = 2
ready_seats = 4
heartbeat_s = 1.0
heartbeat_grace_s = 10.0
ports = "{ports}"

[rollout]
monitor_s = 1.0
start_max_s = 120.0
swap_hold_s = 60.0
idle_after_s = 30.0

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[data]
directory = "data"
"""


CAMP = """
[[project]]
name = "spark"
kind = "camp"
image = "mux/camp"
start = "on_use"
allow = ["root"]
"""
"""A further project where there are containers."""


def free_ports(number: int, *, adjacent: bool = False) -> list[int]:
    """Ports below the ephemeral range that nobody listens on; ``adjacent``: one after the other."""
    for _ in range(200):
        first = random.choice(BELOW_EPHEMERAL)
        ports = [*range(first, first + number)] if adjacent else random.sample(BELOW_EPHEMERAL, number)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in ports:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return ports
    raise AssertionError("no free ports")


class FreeRange:
    """Ports for workspaces of which nobody listens on one, taken for as long as this lives.

    Two muxes on one machine must not share them. That nobody listens is not enough: workspaces of a mux that has just
    been started will. Processes take ranges by locks in the temporary directory.

    Args:
        width: how many.
    """

    def __init__(self, width: int = 100) -> None:
        for first in random.sample(SHIPS, len(SHIPS)):
            parts = range(first, first + width, SHIPS.step)
            with contextlib.suppress(OSError), contextlib.ExitStack() as locks:
                if parts[-1] not in SHIPS:
                    continue
                for part in parts:
                    lock = (Path(tempfile.gettempdir()) / f"mux-tests-ports-{part}.lock").open("a")
                    fcntl.flock(locks.enter_context(lock), fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.ExitStack() as listening:
                    for port in range(first, first + width):
                        listening.enter_context(socket.socket()).bind(("127.0.0.1", port))
                self._locks = locks.pop_all()
                self.text = f"{first}-{first + width - 1}"
                return
        raise AssertionError("no free range of ports")


class MuxUnderTest:
    """One mux.

    Args:
        directory: for the event file and everything else; its path must be short (Unix sockets).
        engine: the Docker engine that workspaces run on; None for processes.
        template: of the event file.
        ports: that workspaces of all ships may need.
    """

    ready_s_max = READY_S_MAX
    stop_s_max = STOP_S_MAX

    def __init__(
        self, directory: Path, engine: Engine | None = None, *, template: str = EVENT, ports: int = 100
    ) -> None:
        self.engine = engine
        # The engine may hold containers of other tests.
        self.event = f"camp-{secrets.token_hex(4)}"
        self.directory = directory
        self.config = directory / "event.toml"
        self.log = directory / "mux.log"
        self.codes: dict[str, str] = {}
        self.environment = clean_environment() | ({"DOCKER_HOST": engine.host} if engine else {})
        public, admin, control = free_ports(3)
        self.public = f"http://localhost:{public}"
        self.admin = f"http://127.0.0.1:{admin}"
        self.program = [MUX]
        self.serve = ["serve", "--park-on-exit"]
        self._process: asyncio.subprocess.Process | None = None
        self._ports = FreeRange(ports)
        self.config.write_text(
            template.format(
                event=self.event,
                public=public,
                admin=admin,
                control=control,
                ports=self._ports.text,
                runtime="docker" if engine else "process",
                images=["mux/example", "mux/example-stats"] if engine else EXAMPLES,
                more=CAMP if engine else "",
            ),
            encoding="utf-8",
        )

    async def start(self) -> None:
        """Start it, or start it again; returns when the admin API answers."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.program, "--config", str(self.config), *self.serve,
                env=self.environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        await self.reachable()

    async def reachable(self) -> None:
        """Wait until the admin API answers."""
        assert self._process is not None
        async with asyncio.timeout(self.ready_s_max):
            while True:
                assert self._process.returncode is None, f"mux ended: {self.log_tail()}"
                if await self.quick_status() is not None:
                    return
                await asyncio.sleep(LOOK_S)

    async def linked(self) -> None:
        """Wait until every ship has a link."""
        await self._until(lambda status: all(ship["linked"] for ship in status["ships"]))

    async def ready(self) -> None:
        """Wait until every seat is ready or somebody's."""
        await self._until(
            lambda status: bool(status["seats_ready"] + status["seats_assigned"] >= status["seats_wanted"])
        )

    async def _until(self, fulfilled: Callable[[dict[str, Any]], bool]) -> None:
        try:
            async with asyncio.timeout(self.ready_s_max):
                while (status := await self.quick_status()) is None or not fulfilled(status):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not so after {self.ready_s_max:.0f} s:\n{await self.account()}") from None

    async def stop(self) -> None:
        """Stop it as Ctrl-C does, and prove that no process of it is left."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
            async with asyncio.timeout(self.stop_s_max):
                await self._process.wait()

    async def kill_whole(self) -> None:
        """``kill -9`` of everything that is the mux, at once; ships go on."""
        await kill(process for part in WHOLE for process in self.processes_of(part))
        assert self._process is not None
        await self._process.wait()

    async def run(self, *words: str) -> str:
        """One `mux` command; its output. Fails the test when the command does."""
        process = await asyncio.create_subprocess_exec(
            MUX, "--config", str(self.config), *words,
            env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, f"mux {' '.join(words)}: {err.decode()}"
        return out.decode()

    async def status(self) -> dict[str, Any]:
        """`mux status`."""
        found: dict[str, Any] = json.loads(await self.run("status", "--json"))
        return found

    async def quick_status(self) -> dict[str, Any] | None:
        """What `mux status` says, without the start of a program; None when nobody answers."""
        connector = aiohttp.UnixConnector(str(self.directory / "data/run/admin.sock"))
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
            async with (
                aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session,
                session.get("http://mux/api/v1/status") as answer,
            ):
                found: dict[str, Any] = await answer.json()
                return found if answer.status == 200 else None
        return None

    async def invite(self, names: Iterable[str], role: str = "attendee") -> None:
        """Put people into the roster; their codes are kept in `codes`."""
        roster = self.directory / f"{role}.csv"
        roster.write_text("name,role\n" + "".join(f"{name},{role}\n" for name in names), encoding="utf-8")
        found = json.loads(await self.run("roster", "import", str(roster), "--json"))
        self.codes |= {issued["name"]: issued["code"] for issued in found["codes"]}

    async def seats(self) -> Mapping[str, tuple[str, int]]:
        """Whose seat is where: id of the attendee to ship and seat."""
        status = await self.quick_status() or await self.status()
        return {
            seat["user"]: (ship["id"], seat["index"])
            for ship in status["ships"]
            for seat in ship["seats"]
            if seat["user"] is not None
        }

    async def ship_of_the_attendee(self) -> str:
        """The ship of the only seat that is somebody's."""
        ((ship, _),) = (await self.seats()).values()
        return ship

    @property
    def files(self) -> Path:
        """Where the mux keeps attendees' files."""
        return self.directory / "data" / "files"

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to this mux: those that it started, and all that they left behind."""
        return processes_of(self.directory)

    def processes_of(self, part: str) -> list[psutil.Process]:
        """Processes of one part, by what stands in their command line."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):  # it may end while it is looked at
                if part in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def containers(self, workspace: str = "") -> list[str]:
        """Ids of the running containers of this mux's workspaces; ``workspace``: of that one alone."""
        assert self.engine is not None
        found = self.engine.ask("GET", "/containers/json")
        labels = [(each["Id"], each["Labels"]) for each in found]
        return [
            identity
            for identity, label in labels
            if label.get("mux.event") == self.event and workspace in ("", label.get("mux.workspace"))
        ]

    async def account(self) -> str:
        """What there is to know of a mux whose test has failed: its ships and seats, its containers, its own output."""
        parts = []
        try:
            async with asyncio.timeout(STOP_S_MAX):
                parts.append(await self.run("fleet", "status"))
        except (AssertionError, TimeoutError) as error:
            parts.append(f"mux fleet status: {error!r}")
        if self.engine is not None:
            parts += [
                f"{' '.join(each['Names'])}: {each['Status']}"
                for each in self.engine.ask("GET", "/containers/json?all=1")
                if each["Labels"].get("mux.event") == self.event
            ]
        return "\n".join([*parts, f"load: {os.getloadavg()}", self.log_tail()])

    def log_tail(self) -> str:
        """The end of mux's own output."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


def clean_environment() -> dict[str, str]:
    """What a mux under test is started with: nothing from outside steers it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MUX_")}


def processes_of(directory: Path) -> list[psutil.Process]:
    """Every process that has a directory in its command line, or is part of a workspace there."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), process.environ().get("MUX_WORKSPACE_DIR", "")]
            if process.pid != os.getpid() and any(str(directory) in word for word in words):
                found.append(process)
    return found


async def kill(processes: Iterable[psutil.Process]) -> None:
    """``kill -9``, and wait until they are gone."""
    chosen = list(processes)
    assert chosen, "there is no such process"
    for process in chosen:
        process.kill()
    await asyncio.to_thread(psutil.wait_procs, chosen, STOP_S_MAX)
