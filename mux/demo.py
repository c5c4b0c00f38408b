"""``mux demo``: a whole mux on this machine, with people, projects and real JupyterLab, in one directory.

Owns the demo's event file and its people; everything else is the mux itself, run as any event is. Needs no terminal and
asks nothing, so that scripts can drive it. A second start goes on where the first one ended, with the runtime that it
had.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mux.auth.codes import new_code
from mux.child import say
from mux.demo_runtime import EXAMPLES, IMAGES, Choice, Runtime, Wanted, choose
from mux.listeners import ListenError
from mux.logfile import last_words, logged_to
from mux.supervisor import Settings, SupervisorError, lock, open_standard_streams, supervise

PORT = 8000
"""Attendees' port; organizers have the next one, ships the one after it."""
ADMIN_SOCKET = Path("run") / "admin.sock"
LOG = "mux.log"
"""Beside the event file: what the processes log. A terminal shows how far they are instead."""
PEOPLE = (("ada", "attendee"), ("grace", "attendee"), ("alan", "attendee"), ("olivia", "organizer"))
"""Names and roles of the demo's people."""
POLL_S = 0.5
"""How often the demo looks how far the fleet is."""
SILENT_S = 15.0
"""Progress is told again after this long, even if nothing has changed: somebody may be wondering."""

EVENT_FILE = """\
# The demo's event file. `mux demo` writes it anew at each start; `mux init` writes one for an event of your own.

[event]
name = "demo"
title = "mux demo"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "intro"
title = "Introduction"
image = {images[0]}

[[project]]
name = "stats"
title = "Statistics by simulation"
image = {images[1]}
start = "on_use"

[fleet]
provider = "local"
runtime = "{runtime}"
attendees = 4
seats_per_ship = 2
ready_seats = 1
heartbeat_s = 1
heartbeat_grace_s = 10

[auth]
roster = "roster.csv"

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[data]
directory = "data"
"""


@dataclass(frozen=True, slots=True)
class Person:
    """One of the demo's people. The code is shown, since it is a demo's."""

    name: str
    role: str
    code: str


def run(directory: Path, *, as_json: bool = False, port: int = PORT, runtime: Wanted = "auto") -> int:
    """Run the demo until it is stopped.

    Args:
        directory: where everything is kept.
        as_json: print what is ready as one line of JSON, and progress on standard error only.
        port: attendees' port; the next two are used as well.
        runtime: what runs the workspaces; ``auto``: see `mux.demo_runtime`.

    Returns the exit code, after one clear line when it cannot start.
    """
    directory = directory.absolute()
    open_standard_streams()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Before anything is written: another demo may be running on what is there.
        os.close(lock(directory / "data"))
        chosen = choose(runtime, kept_runtime(directory), os.environ)
        people = lay_out(directory, port, chosen.runtime)
        demo = Demo(directory, people, chosen, as_json=as_json)
        with logged_to(directory / LOG):
            code = asyncio.run(
                supervise(directory / "event.toml", park_on_exit=True, apply_file=True, beside=demo.watch)
            )
        for line in last_words(directory / LOG) if code else ():
            say(line)
        return code
    except SupervisorError as error:
        say(without_event_file(error))
        return error.exit_code
    except OSError as error:
        say(f"{error.filename or directory}: {error.strerror}; the demo needs to write there")
        return 1


def without_event_file(error: SupervisorError) -> str:
    """Why mux does not start, for people whose event file was written for them: they choose ports by an option."""
    cause = error.__cause__
    if isinstance(cause, ListenError) and cause.remedy:
        return f"{cause.message}; choose other ports, for instance with --port 9000"
    return str(error)


def kept_runtime(directory: Path) -> Runtime | None:
    """The runtime that an earlier demo in a directory began with; None if there was none."""
    try:
        found = tomllib.loads((directory / "event.toml").read_text(errors="replace"))["fleet"]["runtime"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not (directory / "data" / "mux.db").exists():
        return None
    return "docker" if found == "docker" else "process"


def lay_out(directory: Path, port: int, runtime: Runtime = "process") -> list[Person]:
    """Write the event file, and the roster if there is none. Raises OSError, SupervisorError."""
    images = [str(IMAGES / name) for name in EXAMPLES] if runtime == "process" else [f"mux/{name}" for name in EXAMPLES]
    missing = [path for path in images if runtime == "process" and not Path(path).is_dir()]
    if missing:
        raise SupervisorError(f"the demo's images are not here ({', '.join(missing)}); run it from a checkout of mux")
    text = EVENT_FILE.format(
        public=port,
        admin=port + 1,
        control=port + 2,
        runtime=runtime,
        images=[json.dumps(image) for image in images],
    )
    _write(directory / "event.toml", text)
    roster = directory / "roster.csv"
    if not roster.exists():
        rows = [f"{name},,{role},{new_code()}" for name, role in PEOPLE]
        _write(roster, "\n".join(["name,email,role,code", *rows]) + "\n")
    people = []
    for number, row in enumerate(roster.read_text(errors="replace").splitlines()[1:], 2):
        fields = row.split(",")
        if len(fields) != len(("name", "email", "role", "code")):
            raise SupervisorError(
                f"{roster}, line {number}: not name,email,role,code; delete the file to get a new one"
            )
        people.append(Person(fields[0], fields[2], fields[3]))
    if "organizer" not in {person.role for person in people}:
        raise SupervisorError(f"{roster}: nobody is an organizer; delete the file to get a new one")
    return people


def _write(path: Path, text: str) -> None:
    """Whole or not at all, 0600: the roster holds codes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Demo:
    """Tells how far the demo is, and how to enter once it is ready.

    Args:
        directory: the demo's.
        people: who may enter.
        chosen: what runs the workspaces.
        as_json: one line of JSON instead of text.
    """

    def __init__(self, directory: Path, people: list[Person], chosen: Choice, *, as_json: bool) -> None:
        self._directory = directory
        self._people = people
        self._chosen = chosen
        self._as_json = as_json
        self._told = ""
        self._told_at = 0.0

    async def watch(self, settings: Settings) -> None:
        """Runs beside the mux until every seat is ready."""
        begins = f"starting; runtime: {self._chosen}"
        self._tell(begins)
        connector = aiohttp.UnixConnector(str(settings.data / ADMIN_SOCKET))
        async with aiohttp.ClientSession(connector=connector) as session:
            while (status := await self._status(session)) is None or not _ready(status):
                self._tell(begins if status is None else _progress(status))
                await asyncio.sleep(POLL_S)
        self._tell_ready(settings)

    async def _status(self, session: aiohttp.ClientSession) -> Mapping[str, Any] | None:
        try:
            async with session.get("http://mux/api/v1/status") as response:
                status: Mapping[str, Any] = await response.json()
                return status if response.status == 200 else None
        except (aiohttp.ClientError, OSError, ValueError):
            return None

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if text != self._told or now - self._told_at >= SILENT_S:
            self._told, self._told_at = text, now
            say(text)

    def _tell_ready(self, settings: Settings) -> None:
        public = f"http://localhost:{settings.public[1]}"
        admin = f"http://127.0.0.1:{settings.admin[1]}"
        attendees = [person for person in self._people if person.role == "attendee"]
        organizer = next(person for person in self._people if person.role == "organizer")
        if self._as_json:
            ready = {
                "public": public,
                "admin": admin,
                "attendees": [{"name": person.name, "code": person.code} for person in attendees],
                "organizer": {"name": organizer.name, "code": organizer.code},
                "runtime": self._chosen.runtime,
                "directory": str(self._directory),
                "pid": os.getpid(),
            }
            print(json.dumps(ready), flush=True)  # noqa: T201 - this line is what scripts read
            return
        lines = [
            "",
            "mux is ready.",
            "",
            f"  Attendees    {public}",
            *(f"               {person.name:<8} {person.code}" for person in attendees),
            "",
            f"  Organizers   {admin}",
            f"               {organizer.name:<8} {organizer.code}",
            "",
            f"  Everything is kept in {self._directory}, the log in {LOG} there.",
            "  Ctrl-C ends it; the next start goes on from there.",
            "",
        ]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def _ready(status: Mapping[str, Any]) -> bool:
    return bool(status["seats_ready"] + status["seats_assigned"] >= status["seats_wanted"])


def _progress(status: Mapping[str, Any]) -> str:
    ships = ", ".join(f"{count} {state}" for state, count in status["ships_by_state"].items()) or "none yet"
    phases = sorted({ship["phase"] for ship in status["ships"] if ship["phase"]})
    ready = status["seats_ready"] + status["seats_assigned"]
    doing = f" ({'; '.join(phases)})" if phases else ""
    return f"{ready} of {status['seats_wanted']} seats ready; ships: {ships}{doing}"
