"""Attendees of the rehearsal: each loads a page, saves a file and talks over a WebSocket, as long as it is asked to."""

from __future__ import annotations

import asyncio
import contextlib
import html
import random
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PAGE_S, SAVE_S, TALK_S = (1.0, 3.0), (2.0, 6.0), (1.0, 3.0)
"""Between two of each, at least and at most, in seconds."""
ANSWER_S_MAX = 90.0
IN_S_MAX = 600.0
AGAIN_S = 0.5
FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass
class Seen:
    """What one attendee has seen since the last look.

    Args:
        pages: how long each good page took, in seconds.
        talks: likewise of echoes over the WebSocket.
        gap_s: the longest time without a good page.
        failed: answers that were none of the workspace's, by what they were.
        closed: how often the WebSocket ended.
        versions: images that answered.
    """

    pages: list[float] = field(default_factory=list)
    talks: list[float] = field(default_factory=list)
    gap_s: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)
    closed: int = 0
    versions: set[str] = field(default_factory=set)


class Person:
    """One attendee.

    Args:
        public: the attendees' origin.
        name, code: of the login.
    """

    def __init__(self, public: str, name: str, code: str) -> None:
        self._public, self._name, self._code = public, name, code
        self._workspace = f"{public}/camp/room"
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX),
            headers={"Origin": public},
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._good_at = 0.0
        self._number = 0
        self.saved = 0
        self.wrong: list[str] = []
        """What must never be: somebody else's answers, and work that is older than a save that was confirmed."""
        self.seen = Seen()

    async def enter(self) -> tuple[float, float]:
        """Log in and wait for the workspace; how long each took, in seconds from the first request."""
        began = time.monotonic()
        async with self._http.get(f"{self._public}/login") as page:
            token = re.search(r'name="csrf" value="([^"]+)"', await page.text())
        assert token is not None
        fields = {"csrf": html.unescape(token[1]), "login": self._name, "secret": self._code, "next": "/camp/"}
        async with self._http.post(f"{self._public}/login", data=fields, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
        logged_in_s = time.monotonic() - began
        async with asyncio.timeout(IN_S_MAX):
            while (await self._page())[0] != "200":
                await asyncio.sleep(AGAIN_S)
        return logged_in_s, time.monotonic() - began

    def work(self) -> None:
        """Begin to work."""
        self._good_at = time.monotonic()
        self._tasks = [asyncio.create_task(each) for each in (self._load_on(), self._save_on(), self._talk_on())]

    def look(self) -> Seen:
        """What was seen since the last look."""
        seen, self.seen = self.seen, Seen()
        seen.gap_s = max(seen.gap_s, time.monotonic() - self._good_at)
        return seen

    async def leave(self) -> None:
        """Stop working."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended

    async def found(self) -> int:
        """The number of the save that is there."""
        async with self._http.get(f"{self._workspace}/work") as answer:
            answer.raise_for_status()
            return self._mine(await answer.text(), 0)

    async def close(self) -> None:
        await self._http.close()

    async def _page(self) -> tuple[str, str]:
        saved = self.saved
        async with self._http.get(f"{self._workspace}/version", allow_redirects=False) as answer:
            text = await answer.text()
        work = answer.headers.get("X-Work")
        if work is not None and answer.status == 200:
            self._mine(work, saved)
            return "200", text.strip()
        return "a waiting page" if answer.status == 200 else str(answer.status), text.strip()

    def _mine(self, work: str, saved: int) -> int:
        """The number of the save that an answer bears, which is ours and not older than one that was confirmed."""
        name, _, number = work.partition(" ")
        if name not in ("", self._name) or int(number or "0") < saved:
            self.wrong.append(f"{self._name} had saved {saved}, and was answered {work!r}")
        return int(number or "0")

    async def _load_on(self) -> None:
        while True:
            began = time.monotonic()
            try:
                said, text = await self._page()
            except FAILURES as error:
                said = type(error).__name__
            if said == "200":
                now = time.monotonic()
                self.seen.pages.append(now - began)
                self.seen.gap_s, self._good_at = max(self.seen.gap_s, now - self._good_at), now
                self.seen.versions.add(text)
            else:
                self.seen.failed[said] += 1
            await asyncio.sleep(random.uniform(*PAGE_S))

    async def _save_on(self) -> None:
        while True:
            self._number += 1
            work = f"{self._name} {self._number}"
            try:
                async with self._http.put(f"{self._workspace}/work", data=work) as answer:
                    if answer.status == 200 and await answer.text() == work:
                        self.saved = self._number
                    else:
                        self.seen.failed[f"save: {answer.status}"] += 1
            except FAILURES as error:
                self.seen.failed[f"save: {type(error).__name__}"] += 1
            await asyncio.sleep(random.uniform(*SAVE_S))

    async def _talk_on(self) -> None:
        while True:
            with contextlib.suppress(FAILURES):
                await self._talk()
            self.seen.closed += 1
            await asyncio.sleep(AGAIN_S)

    async def _talk(self) -> None:
        patience = aiohttp.ClientWSTimeout(ws_close=1.0)
        async with self._http.ws_connect(f"{self._workspace}/channel", timeout=patience) as channel:
            while True:
                began = time.monotonic()
                said = f"{self._name} {self._number} ".encode().ljust(100, b"x")
                await channel.send_bytes(said)
                heard = await channel.receive(timeout=ANSWER_S_MAX)
                if heard.type is not aiohttp.WSMsgType.BINARY:
                    return
                if heard.data != said:
                    self.wrong.append(f"{self._name} said {said!r} and heard {heard.data!r}")
                self.seen.talks.append(time.monotonic() - began)
                await asyncio.sleep(random.uniform(*TALK_S))


def summed(looks: Iterable[Seen]) -> dict[str, Any]:
    """What everybody has seen, as a row of the results; times in milliseconds, but gaps in seconds."""
    seen = list(looks)
    pages = sorted(each for one in seen for each in one.pages)
    talks = sorted(each for one in seen for each in one.talks)
    gaps = sorted(one.gap_s for one in seen)
    failed: Counter[str] = Counter()
    for one in seen:
        failed.update(one.failed)
    return {
        "pages": len(pages),
        "page_ms": {"p50": quantile(pages, 0.5, 1e3), "p99": quantile(pages, 0.99, 1e3)},
        "echoes": len(talks),
        "echo_ms": {"p50": quantile(talks, 0.5, 1e3), "p99": quantile(talks, 0.99, 1e3)},
        "gap_s": {"p50": quantile(gaps, 0.5, 1), "max": quantile(gaps, 1, 1)},
        "failed": dict(failed),
        "websockets_closed": sum(one.closed for one in seen),
        "images": dict(Counter(" and ".join(sorted(one.versions)) for one in seen)),
    }


def quantile(ordered: list[float], share: float, scale: float) -> float | None:
    """One of some ordered values, or None of none."""
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * scale, 1) if ordered else None
