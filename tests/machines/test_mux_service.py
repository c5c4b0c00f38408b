"""The mux as a service of systemd, installed as docs/how-to/run-under-systemd.md says: what its unit keeps from it does
not keep it from its work, and whatever is killed is there again.

Ships are processes of the service, so that everything which the mux does on one machine happens under the unit's rules.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.docker_engine import ROOT, Engine
from tests.machines.containers import SYSTEMD, DockerError, docker
from tests.machines.rig import BOOT_S_MAX, LOOK_S, TAKEN_OUT, Inside, baked, needs_containers

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

UV = ROOT / ".tools" / "venv" / "bin" / "uv"
INSTALL_S_MAX = 600
EVENT = """\
[event]
name = "unit"
title = "Camp of the unit"
public_address = "http://localhost"
admin_address = "http://127.0.0.1:8001"

[[project]]
name = "intro"
title = "Introduction to notebooks"
image = "/srv/example"

[fleet]
provider = "local"
runtime = "process"
attendees = 1
seats_per_ship = 1
ready_seats = 1
heartbeat_s = 1.0

[listen]
public = "127.0.0.1:80"
admin = "127.0.0.1:8001"
control = "127.0.0.1:8002"
proxies = 2

[data]
directory = "/var/lib/mux"
"""
"""A port below 1024 takes the one capability that the unit leaves."""
NAME = "Ana"
WORK = """\
import asyncio, sys
sys.path.insert(0, "/srv")
from attendee import Attendee

async def work(name, code, begin):
    somebody = Attendee("http://localhost", name, code)
    try:
        await somebody.log_in()
        somebody.file = "again.txt"
        while not await somebody.answers():
            await asyncio.sleep(0.5)
        somebody.file = "kept.txt"
        assert not begin or await somebody.saves()
        print(await somebody.content())
    finally:
        await somebody.close()

asyncio.run(asyncio.wait_for(work(sys.argv[1], sys.argv[2], "begin" in sys.argv), 120))
"""
"""Log in, wait for a workspace that takes saves, and say the number in a file, which the first one writes."""
PIDS = """\
import psutil, sys
for process in psutil.process_iter(["cmdline", "username"]):
    if process.info["username"] == "mux" and sys.argv[1] in " ".join(process.info["cmdline"]):
        print(process.pid)
"""
CONTROL, PROXY = "mux.daemon run", "mux.proxy "


class Machine:
    """A machine with systemd.

    Args:
        host: of the engine.
        name: of its container.
    """

    def __init__(self, host: str, name: str) -> None:
        self.host = host
        self.name = name
        self.code = ""

    async def inside(self, *words: str) -> str:
        """Run a program on it; its output. Raises DockerError."""
        return await docker(self.host, "exec", self.name, *words)

    async def until(self, fulfilled: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is so; what is asked meanwhile may not answer."""
        last: object = None
        try:
            async with asyncio.timeout(BOOT_S_MAX):
                while True:
                    try:
                        if last := await fulfilled():
                            return
                    except DockerError as error:
                        last = error
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"not so after {BOOT_S_MAX:.0f} s: {last}\n{await self.journal()}") from None

    async def journal(self) -> str:
        """What the mux has said."""
        return await self.inside("journalctl", "--no-pager", "--output", "cat", "--unit", "mux")

    async def mux(self, *words: str) -> str:
        """One `mux` command."""
        return await self.inside("/opt/mux/bin/mux", "--config", "/etc/mux/event.toml", *words)

    async def shows(self, what: str) -> str:
        """A property of the service."""
        return await self.inside("systemctl", "show", "--value", "--property", what, "mux")

    async def pids(self, part: str) -> set[int]:
        """Of processes of the service, by what stands in their command line."""
        return {int(pid) for pid in (await self.inside("/opt/mux/bin/python", "-c", PIDS, part)).split()}

    async def kill(self, part: str) -> None:
        """``kill -9``, and wait until as many others are there."""
        before = await self.pids(part)
        assert before
        await self.inside("kill", "-9", *map(str, before))
        await self.others(part, before)

    async def others(self, part: str, before: set[int]) -> None:
        """Wait until as many processes of a part are there as were, and all of them are others."""

        async def renewed() -> bool:
            now = await self.pids(part)
            return len(now) == len(before) and not now & before

        await self.until(renewed)

    async def well(self) -> bool:
        """Whether the seat is ready or somebody's, and its ship linked."""
        status = json.loads(await self.mux("status", "--json"))
        seats = status["seats_ready"] + status["seats_assigned"]
        return bool(seats == 1 and all(ship["linked"] for ship in status["ships"]))

    async def work(self, *words: str) -> str:
        """An attendee at work: see `WORK`."""
        await self.until(self.well)
        return await self.inside("/opt/mux/bin/python", "-c", WORK, NAME, self.code, *words)

    async def invite(self) -> None:
        """Put the attendee into the roster."""
        roster = io.StringIO()
        csv.writer(roster).writerows([("name", "role"), (NAME, "attendee")])
        await self.inside("sh", "-c", 'printf "%s" "$1" >/tmp/roster.csv', "sh", roster.getvalue())
        (issued,) = json.loads(await self.mux("roster", "import", "/tmp/roster.csv", "--json"))["codes"]
        self.code = issued["code"]


def installation(directory: Path) -> Path:
    """A virtual environment with mux, as a wheel, and JupyterLab, for Debian's Python and ``/opt/mux``."""
    place = directory / "opt"
    for words in (
        ["venv", "--relocatable", "--python", str(ROOT / ".venv" / "bin" / "python"), str(place)],
        ["sync", "--frozen", "--no-default-groups", "--group", "demo", "--no-editable", "--compile-bytecode"],
    ):
        done = subprocess.run(
            [UV, "--quiet", "--project", ROOT, *words],
            env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(place)},
            capture_output=True,
            text=True,
            timeout=INSTALL_S_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    python = place / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python3")
    (place / "pyvenv.cfg").write_text("home = /usr/bin\n")
    return place


@asynccontextmanager
async def machine(engine: Engine) -> AsyncIterator[Machine]:
    """A machine that has booted, with mux at ``/opt/mux`` and its unit."""
    needs_containers()
    image = baked(engine, TAKEN_OUT[Inside.NOTHING])
    opened = Machine(engine.host, f"mux-service-{secrets.token_hex(4)}")
    with tempfile.TemporaryDirectory(prefix="mux-service-") as made:
        directory = Path(made)
        (directory / "event.toml").write_text(EVENT)
        mux = f"{installation(directory)}:/opt/mux:ro"
        words = ("run", "--detach", "--name", opened.name, *SYSTEMD, "--volume", mux, image, "/sbin/init")
        await docker(opened.host, *words)
        try:
            await opened.until(lambda: _is(opened, "systemctl", "is-active", "basic.target"))
            await opened.inside("mkdir", "-p", "/etc/mux", "/etc/sysusers.d")
            for source, target in (
                (ROOT / "deploy/systemd/mux.service", "/etc/systemd/system/mux.service"),
                (ROOT / "deploy/systemd/mux.sysusers", "/etc/sysusers.d/mux.conf"),
                (ROOT / "images/example", "/srv/example"),
                (ROOT / "tests/e2e/kills/attendee.py", "/srv/attendee.py"),
                (directory / "event.toml", "/etc/mux/event.toml"),
            ):
                await docker(opened.host, "cp", str(source), f"{opened.name}:{target}")
            await opened.inside("systemd-sysusers")
            await opened.inside("systemctl", "daemon-reload")
            yield opened
        except BaseException:
            print(await opened.journal())  # noqa: T201 - what a failed test printed is in its report
            raise
        finally:
            await docker(opened.host, "rm", "--force", "--volumes", opened.name)


async def _is(machine: Machine, *words: str) -> bool:
    return bool(await machine.inside(*words))


async def test_the_mux_works_under_its_unit_and_is_there_again_whatever_is_killed(docker_engine: Engine) -> None:
    async with machine(docker_engine) as host:
        await host.inside("systemctl", "enable", "--now", "mux")
        await host.until(host.well)
        await host.invite()
        kept = await host.work("begin")

        for part in (CONTROL, PROXY):
            await host.kill(part)
            assert await host.work() == kept
        assert await host.shows("NRestarts") == "0", "the supervisor sees to its children"

        main = await host.shows("MainPID")
        await host.inside("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "mux")
        await host.until(lambda: _restarted(host))
        assert await host.work() == kept
        assert await host.shows("MainPID") != main

        main, proxies = await host.shows("MainPID"), await host.pids(PROXY)
        await host.inside("systemctl", "reload", "mux")
        await host.others(PROXY, proxies)
        assert await host.work() == kept
        assert (await host.shows("MainPID"), await host.shows("NRestarts")) == (main, "1")

        await host.inside("systemctl", "stop", "mux")
        assert (await host.shows("ActiveState"), await host.shows("Result")) == ("inactive", "success")
        assert await host.pids("") == set(), "the mux left processes behind"
        assert "Traceback" not in await host.journal()


async def _restarted(host: Machine) -> bool:
    return (await host.shows("NRestarts"), await host.shows("ActiveState")) == ("1", "active")
