"""A whole mux in a namespace, its first ship in another, its second beside it, and one attendee who sits on the first.

It is started as people start it. The one thing that is arranged: the provider's command for agents is a script that
enters the ship's namespace for the first ship, and tells it which Docker engine is there if workspaces are containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from tests.docker_engine import Engine
from tests.e2e.harness import LOOK_S, MUX, MuxUnderTest, kill
from tests.e2e.partition import engines
from tests.e2e.partition.attendee import Attendee
from tests.e2e.partition.network import Network
from tests.ship_agent.images import COMMAND, SERVER, make_image

NAME = "Ana"
FIRST, SECOND = "ship-0001", "ship-0002"
GRACE_S = 6.0
CHANGE_S_MAX = 240.0
"""Bound of the wait for anything that is to follow: minutes, since this machine may be doing other things."""

EVENT = """\
[event]
name = "{event}"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "intro"
kind = "http"
health_path = "api"
image = "{image}"
command = {command}
memory = "256MiB"

[fleet]
provider = "local"
runtime = "{runtime}"
attendees = 2
seats_per_ship = 1
ready_seats = 2
heartbeat_s = 1.0
heartbeat_grace_s = {grace}
lost_after_s = {lost_after}
ports = "30000-30999"

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"
proxies = 2

[data]
directory = "data"
"""
PUBLIC, ADMIN, CONTROL = 12_000, 12_001, 12_002
"""In a namespace of its own every port is free."""
AGENT = """\
#!/bin/sh
# An agent's command; the last word is the ship's directory.
for last; do :; done
case "$last" in
*/{first}) exec env {environment} {within} {python} -P -m ship_agent.cli "$@" ;;
*) exec {python} -P -m ship_agent.cli "$@" ;;
esac
"""
HOOK = """\
from mux.providers.local import LocalProvider

LocalProvider.__init__.__kwdefaults__["command"] = ("/bin/sh", {script!r})
"""
KEPT_ALIVE = SERVER.replace(
    "BaseHTTPRequestHandler):\n", 'BaseHTTPRequestHandler):\n    protocol_version = "HTTP/1.1"\n'
)
"""Connections are kept, as those to a Jupyter server are."""


class House(MuxUnderTest):
    """See the module.

    Args:
        directory: for everything; its path must be short (Unix sockets).
        network: where it runs.
        lost_after_s: of the event file.
        beside: the engine in the mux's namespace, which the second ship uses; None for processes.
        away: the engine in the ship's namespace.
    """

    def __init__(
        self,
        directory: Path,
        network: Network,
        lost_after_s: float,
        beside: Engine | None = None,
        away: Engine | None = None,
    ) -> None:
        super().__init__(directory, beside)
        self.network = network
        self.away = away
        self.lost_after_s = lost_after_s
        self.public, self.admin = f"http://localhost:{PUBLIC}", f"http://127.0.0.1:{ADMIN}"
        image, command = engines.IMAGE, engines.COMMAND
        if away is None:
            image, command = str(make_image(directory / "image")), COMMAND
            Path(image, "home", "server.py").write_text(KEPT_ALIVE)
        self.config.write_text(
            EVENT.format(
                event=self.event, public=PUBLIC, admin=ADMIN, control=CONTROL, image=image, command=json.dumps(command),
                runtime="docker" if away else "process", grace=GRACE_S, lost_after=lost_after_s,
            ),
            encoding="utf-8",
        )  # fmt: skip
        script, hooks = directory / "agent.sh", directory / "hooks"
        script.write_text(
            AGENT.format(
                first=FIRST, within=" ".join(network.within(network.ship)), python=sys.executable,
                environment=f"DOCKER_HOST={away.host}" if away else "",
            )
        )  # fmt: skip
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(HOOK.format(script=str(script)))
        self._hooks = hooks

    async def start(self) -> None:
        """Start it in its namespace; returns when every seat is ready."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.network.within(self.network.mux), MUX, "--config", str(self.config), "serve", "--park-on-exit",
                env={**self.environment, "PYTHONPATH": str(self._hooks)},
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        await self.reachable()
        await self.ready()
        machine = json.loads((self.directory / "data" / "ships" / FIRST / "machine.json").read_text())
        self.network.publish(machine["port_first"], machine["port_count"])

    async def ship(self, name: str = FIRST) -> dict[str, Any]:
        """One ship, as `mux status` has it."""
        return next(each for each in (await self.status())["ships"] if each["id"] == name)

    async def until(self, what: str, fulfilled: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the first ship is as it should be."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(CHANGE_S_MAX):
                while not fulfilled(found := await self.ship()):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not within {CHANGE_S_MAX:g} s: {what}; it is {found}") from None
        return found

    async def seat(self) -> str:
        """The ship on which the attendee sits; empty while there is none."""
        return next((ship for ship, _ in (await self.seats()).values()), "")

    def edits(self, ship: str = FIRST) -> list[Path]:
        """Files of attendees on a ship."""
        return sorted((self.directory / "data" / "ships" / ship).rglob("edit.txt"))

    def running_on(self, home: Path) -> list[str]:
        """What runs on an attendee's files on the first ship."""
        if self.away is None:
            return [str(process) for process in self.processes_of(str(home))]
        return [each["Names"][0] for each in self.away.ask("GET", "/containers/json")]


@contextlib.contextmanager
def _machines(directory: Path, engine: Engine | None) -> Iterator[tuple[Network, list[Engine]]]:
    """The namespaces and, for containers, an engine in each: beside the mux, and away from it."""
    with Network(CONTROL) as network, contextlib.ExitStack() as stack:
        if engine is None:
            yield network, []
            return
        archive = directory / "image.tar"
        engines.save_image(engine, KEPT_ALIVE, archive)
        inside = [network.within(name) for name in (network.mux, network.ship)]
        yield network, [stack.enter_context(engines.engine_within(each, archive)) for each in inside]


@contextlib.asynccontextmanager
async def opened(lost_after_s: float, engine: Engine | None) -> AsyncIterator[tuple[House, Attendee]]:
    """A house with the attendee on its first ship; nothing of it is left afterwards.

    Args:
        lost_after_s: of the event file.
        engine: in which the image of containers is made; None for processes.
    """
    # Not below pytest's own directory: a Unix socket's path is short.
    directory = Path(tempfile.mkdtemp(prefix="mux-cut-"))
    try:
        with _machines(directory, engine) as (network, inside):
            house = House(directory, network, lost_after_s, *inside)
            try:
                await house.start()
                await house.invite([NAME])
                attendee = Attendee(network, house.public, NAME, house.codes[NAME])
                try:
                    await attendee.log_in()
                    assert await house.seat() == FIRST
                    yield house, attendee
                finally:
                    await attendee.close()
                network.heal()
                await house.stop()
                assert house.processes() == [], "mux left processes behind"
            except BaseException:
                print(house.log_tail())  # noqa: T201 - what a failed test printed is in its report
                raise
            finally:
                if left := house.processes():
                    await kill(left)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
