"""`mux image try`: one project in a small mux of its own, which follows what its author saves.

Owns the event file of such a mux, its directory, and the loop that looks for saved files. Rules: what the author saved
goes into the workspace's home unless somebody changed that file there; then it stays, and that is said. Anything else
that changes (hooks, a Dockerfile) ends the mux and starts it anew. At the end everything is gone but a built image.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from mux.auth.codes import new_code
from mux.child import say
from mux.demo import ADMIN_SOCKET, without_event_file
from mux.imagecheck.errors import ImageCheckError
from mux.imagecheck.follow import Followed, changes, seen, take_over
from mux.imagecheck.subject import Subject, Wishes, subject_of
from mux.supervisor import Settings, SupervisorError, open_standard_streams, supervise

LOOK_S = 0.5
"""How often saved files are looked for, and how far the mux is."""
NAME = "author"


@dataclass
class _Round:
    """One mux, from its start to the change that ends it."""

    again: bool = False


def run(given: str, wishes: Wishes, *, port: int, browser: bool) -> int:
    """Until Ctrl-C; the exit code. Raises ImageCheckError.

    Args:
        given: the author's directory.
        wishes: see there.
        port: attendees' port; the next hundred are used as well.
        browser: open one when it is ready for the first time.
    """
    open_standard_streams()
    code = new_code()
    while True:
        subject = asyncio.run(subject_of(given, wishes, os.environ))
        before = seen(Path(given))
        directory = Path(tempfile.mkdtemp(prefix="mux-image-"))
        turn = _Round()
        try:
            lay_out(directory, subject, port, code)
            tryout = Tryout(directory, Path(given).resolve(), subject, turn, before, browser=browser)
            outcome = asyncio.run(
                supervise(directory / "event.toml", park_on_exit=True, apply_file=True, beside=tryout.watch)
            )
        except SupervisorError as error:
            raise ImageCheckError(without_event_file(error)) from error
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        if not turn.again:
            return outcome
        browser = False


def lay_out(directory: Path, subject: Subject, port: int, code: str) -> None:
    """Write the event file and the roster of one person, 0600."""
    os.umask(0o077)
    (directory / "event.toml").write_text(subject.event_text(port), encoding="utf-8")
    (directory / "roster.csv").write_text(f"name,email,role,code\n{NAME},,attendee,{code}\n", encoding="utf-8")


class Tryout:
    """What runs beside the mux: says when it is ready, then follows the author."""

    def __init__(
        self, directory: Path, source: Path, subject: Subject, turn: _Round, before: Followed, *, browser: bool
    ) -> None:
        self._directory = directory
        self._source = source
        self._subject = subject
        self._turn = turn
        self._before = before
        self._browser = browser

    async def watch(self, settings: Settings) -> None:
        """Runs beside the mux until it ends."""
        say(f"starting {self._subject.title} by the runtime {self._subject.runtime}")
        connector = aiohttp.UnixConnector(str(settings.data / ADMIN_SOCKET))
        async with aiohttp.ClientSession(connector=connector) as session:
            while not await _is_ready(session):  # noqa: ASYNC110 - another process gets ready
                await asyncio.sleep(LOOK_S)
        code = (self._directory / "roster.csv").read_text(encoding="utf-8").strip().rpartition(",")[2]
        address = f"http://localhost:{settings.public[1]}/camp/{self._subject.name}/"
        sys.stdout.write(f"\n  {address}\n  code {code}\n\nCtrl-C ends it.\n")
        sys.stdout.flush()
        if self._browser:
            await asyncio.to_thread(webbrowser.open, address)
        await self._follow()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = await asyncio.to_thread(seen, self._source, self._before)
            changed = changes(self._before, now)
            if not changed:
                continue
            if self._subject.runtime == "docker" or not all(path.startswith("home/") for path in changed):
                say(f"{sorted(changed)[0]} has changed: starting anew")
                self._turn.again = True
                os.kill(os.getpid(), signal.SIGTERM)
                return
            homes = await asyncio.to_thread(lambda: list(self._directory.glob("data/**/workspaces/*/home")))
            for line in await asyncio.to_thread(take_over, self._source, homes, self._before, now, changed):
                say(line)
            self._before = now


async def _is_ready(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("http://mux/api/v1/status") as response:
            status: Mapping[str, int] = await response.json()
            return response.status == 200 and status["seats_ready"] + status["seats_assigned"] >= 1
    except (aiohttp.ClientError, OSError, ValueError):
        return False
