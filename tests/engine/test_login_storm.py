"""Three hundred people log in at once: over HTTP, against the real store, core, publisher and pages."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import TestServer

from mux.auth.login import Auth
from mux.auth.roster import Roster
from mux.auth.settings import AuthSettings
from mux.core.feed import FeedSettings
from mux.core.fleet import Fleet
from mux.engine import Engine
from mux.files.directory import DirectoryStore
from mux.keys import Keyring
from mux.publisher import Publisher
from mux.store.sql import SqlStore, sqlite_url
from mux.web.attendee import attendee_app
from mux.web.deps import WebDeps
from tests.core.room import event_spec
from tests.engine.simulated import SimulatedFleet

PEOPLE = 300
ORIGIN = "http://localhost:8000"


async def test_three_hundred_logins_at_once_no_error_and_no_double_seat(tmp_path: Path) -> None:
    keys = Keyring.open(tmp_path / "root.key")
    store = SqlStore(sqlite_url(tmp_path / "mux.db"), clock=time.time)
    await store.open()
    auth = Auth(store, keys, AuthSettings())
    rows = "\n".join(f"attendee {number},,attendee," for number in range(PEOPLE))
    issued = await Roster(store, keys, auth.passwords).import_csv(f"name,email,role,code\n{rows}\n", time.time())
    codes = {code.name: code.code for code in issued.codes}
    publisher = Publisher(keys.workspace_token, FeedSettings(ORIGIN, "mux_session", "room"))
    ships = SimulatedFleet()
    # Simulated ships report once: on a slow machine the storm must not outlast their grace.
    spec = event_spec(attendees=PEOPLE, seats_per_ship=6, heartbeat_grace_s=3600.0)
    fleet = Fleet.restored(spec, time.time())
    engine = Engine(fleet, store, publisher, ships, time.time)
    ships.post = engine.post
    running = asyncio.create_task(engine.run())
    deps = WebDeps(
        engine=engine, auth=auth, store=store, keys=keys, event_name="room", public_origin=ORIGIN,
        admin_origin="http://127.0.0.1:8001", runtime="docker", secure=False, clock=time.time,
        files=DirectoryStore(tmp_path / "files", 1 << 20),
    )  # fmt: skip
    server = TestServer(attendee_app(deps))
    await server.start_server()
    try:
        answers = await asyncio.gather(*(_log_in(server, name, code) for name, code in codes.items()))
    finally:
        await server.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert set(answers) == {(303, True)}
    kept = await store.load(time.time())
    await store.close()
    assert len({(assignment.ship, assignment.seat) for assignment in kept.assignments}) == PEOPLE
    assert len({assignment.user for assignment in kept.assignments}) == PEOPLE
    assert {route.workspace for route in publisher.table.routes.values()} == {
        workspace.id for desired in ships.desired.values() for workspace in desired.workspaces if workspace.user
    }
    fleet.validate()


async def _log_in(server: TestServer, name: str, code: str) -> tuple[int, bool]:
    """Status of the login's answer, and whether it set the session cookie."""
    headers = {"Host": "localhost:8000", "Origin": ORIGIN, "X-Mux-Peer": "192.0.2.1"}
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser:
        async with browser.get(server.make_url("/login"), headers=headers) as page:
            token = re.search(r'name="csrf" value="([^"]+)"', await page.text())
        assert token is not None
        form = {"csrf": token[1], "login": name, "secret": code, "next": "/camp/"}
        async with browser.post(server.make_url("/login"), data=form, headers=headers, allow_redirects=False) as answer:
            return answer.status, "mux_session" in answer.cookies
