"""One attendee as a program: logs in, opens a kernel, and then notices everything that a browser would.

Three things go on at once: page loads on new connections, saves of a file, and questions to a kernel over one
WebSocket that is opened again whenever it closes, as JupyterLab does.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

POLL_S = 0.03
"""Between two page loads: an outage of a tenth of a second is seen."""
SAVE_S = 0.2
ASK_S = 0.1
"""Between two saves, and two questions to the kernel."""
ANSWER_S_MAX = 30.0
"""What a person would wait for an answer; then it counts as an error."""
FILE = "edit.txt"
RESTARTED = ("restarting", "autorestarting", "dead")
"""States of a kernel that Jupyter tells of one that has died."""
WITNESS = 41
"""In the kernel's memory as long as the same kernel runs."""


class KernelDiedError(Exception):
    """The kernel died and was started again by its server; it owes no answer any more."""


@dataclass
class Stretch:
    """Answers of one kind: when the last good one came, and the longest time without."""

    last: float
    longest: float = 0.0

    def good(self) -> None:
        """An answer has come, now."""
        now = time.monotonic()
        self.longest, self.last = max(self.longest, now - self.last), now


@dataclass
class Seen:
    """What the attendee saw.

    Args:
        page: of page loads.
        kernel: of the kernel's answers.
        errors: page loads that brought no answer of the workspace, by how.
        texts: what was to be read instead, each once.
        closed: how often the WebSocket ended.
        saved: number of the last save that Jupyter confirmed.
        refused: saves that it did not.
    """

    page: Stretch
    kernel: Stretch
    errors: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    closed: int = 0
    saved: int = 0
    refused: int = 0


class Attendee:
    """See the module.

    Args:
        public: the attendees' origin.
        name, code: of the login.

    ``file`` is where it saves, in its home.
    """

    def __init__(self, public: str, name: str, code: str) -> None:
        self.public = public
        self.opens("intro")
        self._name, self._code = name, code
        # A new connection each time, as the first request of a page has.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX),
            headers={"Origin": public},
        )
        self.file = FILE
        self._kernel = ""
        self._number = 0
        self.seen = self._nothing_yet()

    def _nothing_yet(self) -> Seen:
        now = time.monotonic()
        return Seen(page=Stretch(now), kernel=Stretch(now))

    async def close(self) -> None:
        await self._http.close()

    def opens(self, project: str) -> None:
        """Work in this project from now on."""
        self.workspace = f"{self.public}/camp/{project}"

    async def log_in(self) -> None:
        """By the form, as a browser does."""
        async with self._http.get(f"{self.public}/login") as page:
            token = re.search(r'name="csrf" value="([^"]+)"', await page.text())
        assert token is not None
        fields = {"csrf": html.unescape(token[1]), "login": self._name, "secret": self._code, "next": "/camp/"}
        async with self._http.post(f"{self.public}/login", data=fields, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()

    async def is_logged_in(self) -> bool:
        """Whether the cookie still opens the page with the projects."""
        async with self._http.get(f"{self.public}/camp/", allow_redirects=False) as answer:
            return answer.status == 200 and "Your projects" in await answer.text()

    async def reads(self, path: str) -> str:
        """What is to be read on a page of the mux, or of what it tells such a page."""
        async with self._http.get(f"{self.public}{path}", allow_redirects=False) as answer:
            return html.unescape(await answer.text())

    async def open_kernel(self) -> None:
        """A kernel that remembers the witness."""
        async with self._http.post(f"{self.workspace}/api/kernels", json={"name": "python3"}) as answer:
            self._kernel = (await answer.json())["id"]
        async with self._channels() as channels:
            await self._asked(channels, "execute_request", _code(f"witness = {WITNESS}"))

    async def kernel_is_the_same(self) -> bool:
        """Whether the witness is still there."""
        async with self._http.get(f"{self.workspace}/api/kernels/{self._kernel}") as answer:
            if answer.status == 404:
                return False
        try:
            async with self._channels() as channels:
                reply = await self._asked(channels, "execute_request", _code(f"assert witness == {WITNESS}"))
        except KernelDiedError:
            return False
        return bool(reply["content"]["status"] == "ok")

    async def has_its_memory(self) -> bool:
        """As `kernel_is_the_same`, while the kernel may be dying: no answer is no news."""
        try:
            return await self.kernel_is_the_same()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return True

    async def run(self, code: str) -> None:
        """Have the kernel run something."""
        async with self._channels() as channels:
            reply = await self._asked(channels, "execute_request", _code(code))
        assert reply["content"]["status"] == "ok", reply

    async def content(self) -> int:
        """The number in the file."""
        async with self._http.get(f"{self.workspace}/api/contents/{self.file}?content=1") as answer:
            answer.raise_for_status()
            return int((await answer.json())["content"])

    async def answers(self) -> bool:
        """Whether the workspace answers a page load now, and takes a save."""
        return await self._load() and await self.saves()

    # --- watching ---------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Seen]:
        """Notice everything until the end of the block."""
        self.seen = self._nothing_yet()
        tasks = [asyncio.create_task(work) for work in (self._poll(), self._save_on(), self._talk())]
        try:
            yield self.seen
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended

    async def _poll(self) -> None:
        while True:
            await self._load()
            await asyncio.sleep(POLL_S)

    async def _load(self) -> bool:
        headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
        try:
            async with self._http.get(f"{self.workspace}/api", headers=headers, allow_redirects=False) as answer:
                body = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.seen.errors[_in_words(error)] += 1
            return False
        if answer.status == 200 and body.startswith("{"):
            self.seen.page.good()
            return True
        self.seen.errors["waiting page" if answer.status == 200 else str(answer.status)] += 1
        text = _readable(body)
        if text and text not in self.seen.texts:
            self.seen.texts.append(text)
        return False

    async def _save_on(self) -> None:
        while True:
            await self.saves()
            await asyncio.sleep(SAVE_S)

    async def saves(self) -> bool:
        """Save, with a number that rises each time; whether Jupyter confirmed it."""
        self._number += 1
        number = self._number
        content = {"type": "file", "format": "text", "content": str(number)}
        try:
            async with self._http.put(f"{self.workspace}/api/contents/{self.file}", json=content) as answer:
                if answer.status in (200, 201):
                    self.seen.saved = number
                    return True
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        self.seen.refused += 1
        return False

    async def _talk(self) -> None:
        """Ask the kernel again and again; when the WebSocket ends, open it again, with a new kernel if need be."""
        began = False
        while True:
            try:
                async with self._channels() as channels:
                    began = True
                    while True:
                        with contextlib.suppress(KernelDiedError):
                            await self._asked(channels, "kernel_info_request", {})
                            self.seen.kernel.good()
                        await asyncio.sleep(ASK_S)
            except (aiohttp.ClientError, TimeoutError, OSError, ConnectionError):
                self.seen.closed += began
                began = False
            await asyncio.sleep(ASK_S)
            await self._renew_kernel()

    async def _renew_kernel(self) -> None:
        """A kernel that died with its server is gone: the attendee starts another one."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError):
            async with self._http.get(f"{self.workspace}/api/kernels/{self._kernel}", allow_redirects=False) as answer:
                if answer.status != 404:
                    return
            async with self._http.post(f"{self.workspace}/api/kernels", json={"name": "python3"}) as answer:
                self._kernel = (await answer.json())["id"]

    @contextlib.asynccontextmanager
    async def _channels(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        address = f"{self.workspace}/api/kernels/{self._kernel}/channels?session_id={uuid.uuid4().hex}"
        async with self._http.ws_connect(address, timeout=aiohttp.ClientWSTimeout(ws_close=1.0)) as channels:
            yield channels

    async def _asked(
        self, channels: aiohttp.ClientWebSocketResponse, kind: str, content: dict[str, Any]
    ) -> dict[str, Any]:
        message = _message(kind, content)
        await channels.send_json(message)
        async with asyncio.timeout(ANSWER_S_MAX):
            while True:
                received = await channels.receive()
                if received.type != aiohttp.WSMsgType.TEXT:
                    raise ConnectionError(f"the WebSocket ended ({received.type})")
                found: dict[str, Any] = json.loads(received.data)
                if found["content"].get("execution_state") in RESTARTED:
                    raise KernelDiedError
                same = found["parent_header"].get("msg_id") == message["header"]["msg_id"]
                if same and found["msg_type"] == kind.replace("_request", "_reply"):
                    return found


def _message(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """A message of the Jupyter protocol, https://jupyter-client.readthedocs.io/en/stable/messaging.html."""
    header = {
        "msg_id": uuid.uuid4().hex, "msg_type": kind, "username": "", "session": "kills", "version": "5.3", "date": "",
    }  # fmt: skip
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}


def _code(text: str) -> dict[str, Any]:
    return {"code": text, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}


def _in_words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {ANSWER_S_MAX:g} s"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "refused"
    return "cut off"


def _readable(body: str) -> str:
    """The sentences of a small page, or of a JSON refusal."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body)["error"]["message"])
    paragraph = re.search(r"<p[^>]*>(.*?)</p>", body, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", paragraph[1]).split())[:200] if paragraph else ""
