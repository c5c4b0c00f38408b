"""`mux image try`: one project in a small mux of its own, which follows what its author saves in its directory.

Owns the event file of such a mux, its directory, and the loop that looks for saved files. Rules: what the author saved
goes into the workspace's home unless somebody changed that file there; then it stays, and that is said. Anything else
that changes (hooks, a Dockerfile) is pushed, as an organizer would: the workspace keeps its files, and an image that
fails stays out. At the end everything is gone but a built image.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import webbrowser
from collections.abc import Set
from pathlib import Path

import aiohttp

from mux.auth.codes import new_code
from mux.child import say
from mux.demo import ADMIN_SOCKET, without_event_file
from mux.imagecheck.errors import ImageCheckError
from mux.imagecheck.follow import Followed, changes, seen, take_over
from mux.imagecheck.small_mux import TROUBLE, SmallMux
from mux.imagecheck.subject import Subject, Wishes, build, forget_images, subject_of
from mux.logfile import last_words, logged_to
from mux.supervisor import Settings, SupervisorError, open_standard_streams, supervise

LOOK_S = 0.5
"""How often saved files are looked for, and how far the mux is."""
NAME = "author"
LOG = "mux.log"
"""What the processes of this mux log; gone with its directory."""
NOT_FOLLOWED = (
    "An image is shown as it is: what you save beside the browser does not come into it. Build it anew and start this "
    "again, or name its directory."
)


def run(given: str, wishes: Wishes, *, port: int, browser: bool) -> int:
    """Until Ctrl-C; the exit code. Raises ImageCheckError.

    Args:
        given: the author's directory, or an image's name.
        wishes: see there.
        port: attendees' port; the next hundred are used as well.
        browser: open one when it is ready.
    """
    open_standard_streams()
    before = seen(Path(given))  # nothing of an image; what is saved while it is built is looked at afterwards
    subject = asyncio.run(subject_of(given, wishes, os.environ))
    directory = Path(tempfile.mkdtemp(prefix="mux-image-"))
    tryout = Tryout(directory, subject, before, browser=browser)
    try:
        lay_out(directory, subject, port, new_code())
        with logged_to(directory / LOG):
            code = asyncio.run(
                supervise(directory / "event.toml", park_on_exit=True, apply_file=True, beside=tryout.watch)
            )
        for line in last_words(directory / LOG) if code else ():
            say(line)
        return code
    except SupervisorError as error:
        raise ImageCheckError(without_event_file(error)) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        asyncio.run(forget_images(tryout.replaced, os.environ))


def lay_out(directory: Path, subject: Subject, port: int, code: str) -> None:
    """Write the event file and the roster of one person, 0600."""
    os.umask(0o077)
    (directory / "event.toml").write_text(subject.event_text(port), encoding="utf-8")
    (directory / "roster.csv").write_text(f"name,email,role,code\n{NAME},,attendee,{code}\n", encoding="utf-8")


class Tryout:
    """What runs beside the mux: says when it is ready, then follows the author."""

    def __init__(self, directory: Path, subject: Subject, before: Followed, *, browser: bool) -> None:
        self._directory = directory
        self._subject = subject
        self._before = before
        self._browser = browser
        self.replaced: list[str] = []
        """Ids of images that were built here and have no name any more."""

    async def watch(self, settings: Settings) -> None:
        """Runs beside the mux: until it ends where there is a directory to follow."""
        say(f"starting {self._subject.title} by the runtime {self._subject.runtime}")
        connector = aiohttp.UnixConnector(str(settings.data / ADMIN_SOCKET))
        async with aiohttp.ClientSession(connector=connector) as session:
            mux = SmallMux(session, self._subject)
            told: set[str] = set()
            ready = False
            while not ready:
                ready, lines = await mux.arriving()
                for line in (line for line in lines if line not in told):
                    say(line)
                told.update(lines)
                await asyncio.sleep(0 if ready else LOOK_S)
            code = (self._directory / "roster.csv").read_text(encoding="utf-8").strip().rpartition(",")[2]
            address = f"http://localhost:{settings.public[1]}/camp/{self._subject.name}/"
            rest = "" if self._subject.source else f"{NOT_FOLLOWED}\n"
            sys.stdout.write(f"\n  {address}\n  name {NAME}, code {code}\n\n{rest}Ctrl-C ends it.\n")
            sys.stdout.flush()
            if self._browser:
                await asyncio.to_thread(webbrowser.open, address)
            while self._subject.source is not None:
                await asyncio.sleep(LOOK_S)
                await self._look(mux, self._subject.source)

    async def _look(self, mux: SmallMux, source: Path) -> None:
        """Once: what the author saved, and what became of what was pushed."""
        before, now = self._before, await asyncio.to_thread(seen, source, self._before)
        changed = changes(before, now)
        try:
            if not changed:
                for line in await mux.news():
                    say(line)
                return
            self._before = now
            if self._subject.runtime == "docker" or not all(path.startswith("home/") for path in changed):
                await self._push(mux, source, changed)
                return
            homes = await asyncio.to_thread(lambda: list(self._directory.glob("data/**/workspaces/*/home")))
            lines = await asyncio.to_thread(take_over, source, homes, before, now, changed)
            for line in lines:
                say(line)
            if lines and (refused := await mux.tell(lines)):
                say(refused)
        except TROUBLE as error:
            say(f"what was saved could not be brought over ({type(error).__name__}); save once more")

    async def _push(self, mux: SmallMux, source: Path, changed: Set[str]) -> None:
        """Give the workspace what all of the directory makes now."""
        first = min(changed, key=lambda path: (path.startswith("home/"), path))
        built = self._subject.runtime == "docker"
        say(f"{first} has changed: {'building and ' if built else ''}trying it before your workspace gets it")
        if built:
            try:
                replaced = await build(source, self._subject.image, os.environ)
            except ImageCheckError as error:
                for line in (error.message, *error.detail):
                    say(line)
                return
            if not replaced:
                say("it builds to the same image: your workspace stays as it is")
                return
            self.replaced.append(replaced)
        if refused := await mux.push():
            say(refused)
