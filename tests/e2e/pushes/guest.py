"""Somebody in the room of a push: files of their own, polls, and the open page of a notebook, as a program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp

from tests.e2e.kills.attendee import Attendee
from tests.e2e.polls import POLL_S, Polls

PROJECT: Final = "intro"
AGAIN_S = 0.2
"""Pause before a page's connection that has ended is opened again: sooner than JupyterLab does."""
WORKS_S = 1.0
"""How often a page says that somebody works."""


class Guest(Attendee):
    """An attendee who asks again and again, with files of their own.

    Args:
        public, name, code: see `Attendee`.
        every_s: pause between two of their polls, in seconds.
    """

    def __init__(self, public: str, name: str, code: str, every_s: float = POLL_S) -> None:
        super().__init__(public, name, code)
        self.name = name
        self._every_s = every_s
        self.polls = self.polling()

    async def text(self, name: str) -> str:
        """What a file of theirs holds."""
        async with self._http.get(f"{self.workspace}/api/contents/{name}?content=1") as answer:
            answer.raise_for_status()
            return str((await answer.json())["content"])

    async def writes(self, name: str, text: str) -> None:
        """Save a file."""
        content = {"type": "file", "format": "text", "content": text}
        async with self._http.put(f"{self.workspace}/api/contents/{name}", json=content) as answer:
            answer.raise_for_status()

    def polling(self) -> Polls:
        """Polls that have not begun yet; they take the place of those before."""
        self.polls = Polls(self._http, f"{self.workspace}/api", self._every_s)
        return self.polls

    @contextlib.asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A page of theirs with the notebook, open until the end of the block."""
        page = Page(self, self._http)
        task = asyncio.create_task(page.stay_open(), name=f"page of {self.name}")
        try:
            yield page
            assert not task.done(), "the page is gone"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Page:
    """What mux's extension does in an open page, as far as a push or a move concerns it.

    Says how many documents are not saved and whether somebody works, saves when it is asked to, and comes back whenever
    its connection ends. See `labextension/src` for the real one.
    """

    def __init__(self, guest: Guest, http: aiohttp.ClientSession) -> None:
        self._guest = guest
        self._http = http
        self._address = f"{guest.public}/camp/live/{PROJECT}"
        self._id = secrets.token_hex(8)
        self._typed: dict[str, str] = {}
        self._saved = 0
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._notices: list[dict[str, Any]] = []
        self.works = False
        """Somebody types, and says so."""
        self.saves = 0
        """How often it was asked to save, and did."""

    async def types(self, name: str, text: str) -> None:
        """Type into a file, and do not save it."""
        self._typed[name] = text
        await self._say()

    async def accept(self) -> None:
        """Press the button of the update on offer, if there is one and the mux hears it."""
        for notice in self._notices:
            if notice["action"] and self._socket is not None:
                with contextlib.suppress(ConnectionError):
                    await self._socket.send_json({"accept": {"project": PROJECT, "number": notice["number"]}})

    async def stay_open(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with self._http.ws_connect(
                    self._address, timeout=aiohttp.ClientWSTimeout(ws_close=1.0)
                ) as socket:
                    self._socket = socket
                    await self._say()
                    await self._listen(socket)
            self._socket = None
            await asyncio.sleep(AGAIN_S)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        working = asyncio.create_task(self._work())
        try:
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    await self._heard(json.loads(message.data))
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            if self.works:
                await self._say()
            await asyncio.sleep(WORKS_S)

    async def _heard(self, word: dict[str, Any]) -> None:
        self._notices = word["notices"]
        if word["save"] and word["save"] != self._saved:
            for name, text in list(self._typed.items()):
                await self._guest.writes(name, text)
                del self._typed[name]
            self._saved = word["save"]
            self.saves += 1
            await self._say()

    async def _say(self) -> None:
        word = {
            "page": self._id, "unsaved": len(self._typed), "busy": False, "active": self.works, "saved": self._saved,
        }  # fmt: skip
        if self._socket is not None:
            with contextlib.suppress(ConnectionError):
                await self._socket.send_json(word)
