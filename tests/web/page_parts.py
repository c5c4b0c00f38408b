"""Both apps with a real store, real logins and a fake engine, and a browser's view of them."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict

from mux.auth.codes import code_hash, new_code
from mux.auth.login import Auth
from mux.auth.sessions import token_hash
from mux.auth.settings import AuthSettings
from mux.core.model import Role, SessionHash, UserId
from mux.files.directory import DirectoryStore
from mux.keys import Keyring
from mux.store.base import User
from mux.store.sql import SqlStore, sqlite_url
from mux.web.attendee import attendee_app
from mux.web.deps import WebDeps
from mux.web.organizer import organizer_app
from tests.web.page_fakes import Clock, FakeEngine

PUBLIC = "http://camp.test:8000"
ADMIN = "http://rooms.test:8001"
PAGE = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate"}
PASSCODE = "blue whale"
_DIRECTORY = tempfile.TemporaryDirectory(prefix="mux-pages-")


class Browser:
    """One browser: keeps cookies, follows no redirect by itself, sends what browsers send with a page."""

    def __init__(self, client: TestClient[web.Request, web.Application], origin: str) -> None:
        self._client = client
        self.origin = origin
        self.host = origin.partition("//")[2]

    async def get(self, path: str, **headers: str) -> aiohttp.ClientResponse:
        return await self._request("GET", path, {**PAGE, **_dashed(headers)})

    async def fetch(self, path: str, method: str = "GET", **headers: str) -> aiohttp.ClientResponse:
        """As a script or a program asks."""
        return await self._request(method, path, {"Accept": "application/json", **_dashed(headers)})

    async def post(self, path: str, fields: dict[str, str], **headers: str) -> aiohttp.ClientResponse:
        """As a form of our own page is sent."""
        return await self._request("POST", path, {**PAGE, "Origin": self.origin, **_dashed(headers)}, data=fields)

    async def form(self, page: str, action: str) -> dict[str, str]:
        """The hidden fields of the form that posts to ``action`` on a page."""
        answer = await self.get(page)
        return hidden(await answer.text(), action)

    async def send(self, page: str, action: str, **fields: str) -> aiohttp.ClientResponse:
        """Open a page and send one of its forms."""
        return await self.post(action, {**await self.form(page, action), **fields})

    def live(self, path: str, origin: str | None = None) -> Any:
        """The page's WebSocket."""
        headers = CIMultiDict({"Host": self.host, "Origin": origin or self.origin})
        return self._client.ws_connect(path, headers=headers)

    def cookie(self, name: str) -> str:
        """Value of a cookie that this browser holds; empty for none."""
        return next((cookie.value for cookie in self._client.session.cookie_jar if cookie.key == name), "")

    async def _request(self, method: str, path: str, headers: dict[str, str], **kwargs: Any) -> aiohttp.ClientResponse:
        from yarl import URL

        url = URL(path, encoded=True)
        return await self._client.request(
            method, url, headers={"Host": self.host, **headers}, allow_redirects=False, **kwargs
        )


class House:
    """An event with an organizer, a helper and two attendees; codes by name in :attr:`codes`."""

    def __init__(self, store: SqlStore, clock: Clock, settings: AuthSettings, files: DirectoryStore) -> None:
        self.clock = clock
        self.store = store
        self.files = files
        self.engine = FakeEngine()
        self.keys = Keyring(bytes(range(32)))
        self.codes: dict[str, str] = {}
        self.deps = WebDeps(
            engine=self.engine,
            auth=Auth(store, self.keys, settings),
            store=store,
            keys=self.keys,
            event_name="Summer school",
            public_origin=PUBLIC,
            admin_origin=ADMIN,
            runtime="process",
            secure=False,
            clock=clock,
            files=files,
        )
        self._clients: list[TestClient[web.Request, web.Application]] = []
        self._servers: dict[str, TestServer] = {}

    async def add(self, name: str, role: Role = Role.ATTENDEE) -> UserId:
        """One more entry of the roster, with a code."""
        self.codes[name] = new_code()
        credential = code_hash(self.keys, self.codes[name]) or ""
        user = User(UserId(f"u-{name}"), name, f"{name}@example.org", role, "code", credential)
        await self.store.save_users([user])
        return user.id

    async def attendee(self) -> Browser:
        """A fresh browser on the attendees' host."""
        return await self._browser(PUBLIC)

    async def organizer(self) -> Browser:
        """A fresh browser on the organizers' host."""
        return await self._browser(ADMIN)

    async def signed_in(self, name: str = "ada") -> Browser:
        """A browser in which ``name`` is logged in as an attendee."""
        browser = await self.attendee()
        answer = await browser.send("/login", "/login", login=name, secret=self.codes[name])
        assert answer.status == 303
        return browser

    async def organizing(self, name: str) -> Browser:
        """A browser in which ``name`` is logged in on the organizers' host."""
        browser = await self.organizer()
        answer = await browser.send("/login", "/login", login=name, secret=self.codes[name])
        assert answer.status == 303
        return browser

    def session(self, browser: Browser) -> SessionHash:
        """Hash of the attendee session that a browser holds."""
        session = token_hash(browser.cookie("mux_session"))
        assert session is not None
        return session

    async def raw(self, origin: str, request: bytes) -> bytes:
        """Bytes to an app whose browser has been made; hangs up after the first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._servers[origin].port)
        writer.write(request)
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer

    async def stop(self) -> None:
        """Stop the apps, as the control process does."""
        for server in self._servers.values():
            await server.close()

    async def close(self) -> None:
        """Let go of everything."""
        for client in self._clients:
            await client.session.close()
        await self.stop()
        self.deps.auth.close()

    async def _browser(self, origin: str) -> Browser:
        if origin not in self._servers:
            app = attendee_app(self.deps) if origin == PUBLIC else organizer_app(self.deps)
            self._servers[origin] = TestServer(app)
            await self._servers[origin].start_server()
        client = TestClient(self._servers[origin], cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._clients.append(client)
        return Browser(client, origin)


@asynccontextmanager
async def house(directory: Path, settings: AuthSettings | None = None) -> AsyncIterator[House]:
    """A house in ``directory``."""
    clock = Clock()
    shutil.copy(await _migrated(), directory / "mux.db")
    store = SqlStore(sqlite_url(directory / "mux.db"), clock=clock)
    await store.open()
    files = DirectoryStore(directory / "files", 64 << 20)
    await files.open()
    built = House(store, clock, settings or AuthSettings(), files)
    try:
        for name, role in (("ada", Role.ATTENDEE), ("bob", Role.ATTENDEE), ("olga", Role.ORGANIZER)):
            await built.add(name, role)
        await built.add("hal", Role.HELPER)
        yield built
    finally:
        await built.close()
        await store.close()


async def _migrated() -> Path:
    """A database with an up-to-date schema and nothing in it, made once: migrations have tests of their own."""
    path = Path(_DIRECTORY.name) / "empty.db"
    if not path.exists():
        store = SqlStore(sqlite_url(path))
        await store.open()
        await store.close()
    return path


def hidden(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that posts to ``action``."""
    form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', page, re.DOTALL)
    assert form is not None, f"no form for {action}"
    fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form[0])
    return dict(fields)


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
