"""One attendee as a program in the mux's namespace: saves on and on, and notices whatever else comes for an answer."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.e2e.partition.network import Network

POLL_S = 0.1
ANSWER_S_MAX = 60.0
"""What a person would wait for an answer; then it counts as none."""
FILE = "edit.txt"


@dataclass
class Seen:
    """What the attendee saw.

    Args:
        since: of the last good answer, monotonic seconds.
        gap_s: longest time without a good answer.
        good: good answers.
        errors: answers that were not the workspace's, by status or kind.
        texts: what was to be read instead, each once.
    """

    since: float
    gap_s: float = 0.0
    good: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)

    def answered(self) -> None:
        """A good answer has come."""
        now = time.monotonic()
        self.gap_s, self.since, self.good = max(self.gap_s, now - self.since), now, self.good + 1


class Attendee:
    """See the module.

    Args:
        network: where the mux is.
        public: the attendees' origin.
        name, code: of the login.
    """

    def __init__(self, network: Network, public: str, name: str, code: str) -> None:
        self._public = public
        self._name, self._code = name, code

        def made(address: Any) -> Any:
            return network.socket(*address[:3])

        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, socket_factory=made),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX),
            headers={"Origin": public},
        )
        self._number = 0
        self.saved = 0
        self.seen = Seen(time.monotonic())

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.close()

    async def log_in(self) -> None:
        """By the form, as a browser does."""
        async with self._http.get(f"{self._public}/login") as page:
            token = re.search(r'name="csrf" value="([^"]+)"', await page.text())
        assert token is not None
        fields = {"csrf": html.unescape(token[1]), "login": self._name, "secret": self._code, "next": "/camp/"}
        async with self._http.post(f"{self._public}/login", data=fields, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()

    async def reaches(self, path: str, **query: str) -> Any:
        """What the workspace answers; raises LookupError for any other answer."""
        address = f"{self._public}/camp/intro/{path}"
        async with self._http.get(address, params=query, allow_redirects=False) as answer:
            body = await answer.text()
        if answer.status != 200 or not answer.content_type.startswith("application/octet"):
            raise LookupError(str(answer.status), body)
        return json.loads(body)

    async def save(self) -> None:
        """Save another number than before."""
        self._number += 1
        number = self._number
        await self.reaches("write", name=FILE, text=str(number))
        self.saved = number

    async def content(self) -> int:
        """The number in the file."""
        return int(await self.reaches("read", name=FILE))

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[Seen]:
        """Notice everything until the end of the block."""
        self.seen = Seen(time.monotonic())
        watch = asyncio.create_task(self._watch())
        try:
            yield self.seen
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        # What was still missing at the end counts too.
        self.seen.gap_s = max(self.seen.gap_s, time.monotonic() - self.seen.since)

    async def _watch(self) -> None:
        while True:
            try:
                await self.save()
                self.seen.answered()
            except LookupError as error:
                status, body = error.args
                self.seen.errors[status] += 1
                text = _readable(body)
                if text and text not in self.seen.texts:
                    self.seen.texts.append(text)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.seen.errors[type(error).__name__] += 1
            await asyncio.sleep(POLL_S)

    async def until(self, fulfilled: Callable[[Seen], bool], seconds_max: float) -> None:
        """Wait until what was seen is so."""
        async with asyncio.timeout(seconds_max):
            while not fulfilled(self.seen):
                await asyncio.sleep(POLL_S)


def _readable(body: str) -> str:
    """The sentence of a small page, or of a JSON refusal."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body)["error"]["message"])
    paragraph = re.search(r"<p[^>]*>(.*?)</p>", body, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", paragraph[1]).split())[:200] if paragraph else ""
