"""`mux push` against a real mux: files stay, what was not touched is updated, and a bad image stops itself."""

from __future__ import annotations

import asyncio
import html
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.harness import MuxUnderTest, kill
from tests.e2e.polls import POLL_S, Polls
from tests.ship_agent.images import COMMAND, make_image

EVENT = """\
[event]
name = "{event}"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "pages"
kind = "http"
health_path = "api"
image = "image"
command = COMMAND

[fleet]
runtime = "{runtime}"
attendees = 2
seats_per_ship = 2
heartbeat_s = 1.0
ports = "{ports}"

[rollout]
max_unavailable = "1"
monitor_s = 0.5
start_max_s = 120.0
swap_hold_s = 120.0

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[data]
directory = "data"
"""
NAMES = ("Ana", "Ben")
OPEN_S_MAX = 120.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def mux() -> AsyncIterator[MuxUnderTest]:
    """A mux on processes with one ship of two seats; its one project is a small web server."""
    directory = Path(tempfile.mkdtemp(prefix="mux-push-"))
    make_image(directory / "image")
    # The template is formatted: what the command itself has in braces is for the mux.
    command = json.dumps(COMMAND).replace("{", "{{").replace("}", "}}")
    under_test = MuxUnderTest(directory, template=EVENT.replace("COMMAND", command))
    try:
        await under_test.start()
        await under_test.invite(NAMES)
        await under_test.ready()
        yield under_test
    finally:
        await under_test.stop()
        if left := under_test.processes():
            await kill(left)
        shutil.rmtree(directory, ignore_errors=True)


class Attendee:
    """Somebody with a cookie, and what they see."""

    def __init__(self, mux: MuxUnderTest, name: str, http: aiohttp.ClientSession) -> None:
        self._mux = mux
        self._name = name
        self._http = http
        self.polls = Polls(http, f"{mux.public}/camp/pages/api")

    async def log_in(self) -> None:
        """By the form, as a browser does; returns when the workspace answers."""
        async with self._http.get(f"{self._mux.public}/login") as page:
            token = re.search(r'name="csrf" value="([^"]+)"', await page.text())
        assert token is not None
        code = self._mux.codes[self._name]
        fields = {"csrf": html.unescape(token[1]), "login": self._name, "secret": code, "next": "/camp/"}
        async with self._http.post(f"{self._mux.public}/login", data=fields, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
        async with asyncio.timeout(OPEN_S_MAX):
            while (await self._get("api"))[0] != 200:
                await asyncio.sleep(POLL_S)

    async def _get(self, path: str, **query: str) -> tuple[int, str]:
        address = f"{self._mux.public}/camp/pages/{path}"
        async with self._http.get(address, params=query, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def reaches(self, path: str, **query: str) -> Any:
        """What the workspace answers."""
        status, text = await self._get(path, **query)
        assert status == 200, text
        return json.loads(text)


@asynccontextmanager
async def attendees(mux: MuxUnderTest) -> AsyncIterator[list[Attendee]]:
    """Everybody, logged in and polling."""
    jar = [
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), connector=aiohttp.TCPConnector(limit=0))
        for _ in NAMES
    ]
    found = [Attendee(mux, name, http) for name, http in zip(NAMES, jar, strict=True)]
    try:
        for each in found:
            await each.log_in()
            await each.reaches("write", name="mine.txt", text="my own words")
        async with AsyncExitStack() as polling:
            for each in found:
                await polling.enter_async_context(each.polls)
            yield found
    finally:
        for http in jar:
            await http.close()


async def test_a_push_keeps_files_and_fails_no_poll_and_a_bad_one_touches_nobody(mux: MuxUnderTest) -> None:
    make_image(mux.directory / "fixed", text="mended")
    make_image(mux.directory / "broken", hooks={"10-fail.sh": "#!/bin/sh\nexit 3\n"})
    async with attendees(mux) as people:
        before = [(await each.reaches("api"))["pid"] for each in people]
        with pytest.raises(AssertionError, match="stopped itself"):
            await mux.run("push", "pages", "broken", "--yes")
        assert [(await each.reaches("api"))["pid"] for each in people] == before, "nobody was touched"

        lines = (await mux.run("push", "pages", "fixed", "--yes", "--json")).splitlines()
        last = json.loads(lines[-1])
        assert (last["phase"], last["bound"], last["swapped"], last["failures"]) == ("done", 2, 2, [])
        for each, pid in zip(people, before, strict=True):
            assert (await each.reaches("api"))["pid"] != pid
            assert await each.reaches("read", name="mine.txt") == "my own words"
            assert await each.reaches("read", name="notes.txt") == "mended"

        await mux.run("rollout", "rollback", "pages", "--yes")
        async with asyncio.timeout(OPEN_S_MAX):
            while (await each.reaches("read", name="notes.txt")) != "as given":
                await asyncio.sleep(POLL_S)
        assert await each.reaches("read", name="mine.txt") == "my own words"
    assert [set(each.polls.came) for each in people] == [{"200"}, {"200"}], "a poll every 20 ms, many at once in a swap"
