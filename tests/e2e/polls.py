"""Requests at an even pace, whatever still waits for its answer: what the polls of open pages see of an outage.

Owns the pace and the counts. Knows nothing of what is asked. Rules: a request may wait as long as whoever answers lets
it: what it brings is what counts. What was asked before the end is waited for, so that no bad answer goes unseen.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from types import TracebackType
from typing import Self

import aiohttp

POLL_S = 0.02
WAITING_MAX = 100
"""Requests that wait at once; while they do, no more are made. Fewer than a Jupyter server has room for in its backlog
(128), since all come to it at once when a swap is over, and than a proxy allows each attendee (`SHARE_MIN`)."""
ANSWER_S_MAX = 240.0
"""Longer than any mux under test holds a request."""


class Polls:
    """Asks from the beginning of a block to its end.

    Args:
        http: makes the requests; with as many connections as that takes.
        address: what is asked for.
        every_s: pause between two requests, in seconds.
    """

    def __init__(self, http: aiohttp.ClientSession, address: str, every_s: float = POLL_S) -> None:
        self._http = http
        self._address = address
        self._every_s = every_s
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._last = 0.0
        self.came: Counter[str] = Counter()
        """How often each answer came: by status, or by what came instead."""
        self.gap_s = 0.0
        """The longest time without a good one."""

    async def __aenter__(self) -> Self:
        """Begin."""
        self._last = time.monotonic()
        self._task = asyncio.create_task(self._ask_on(), name="polls")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask no more, and wait for the answers; where the block has failed, do not."""
        assert self._task is not None
        self._ended = True
        if kind is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            return
        await self._task
        self._note_gap()

    async def _ask_on(self) -> None:
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(WAITING_MAX)
        due = loop.time()
        async with asyncio.TaskGroup() as asked:
            while not self._ended:
                await room.acquire()
                asked.create_task(self._ask(room))
                # After a pause of this whole process the requests that were missed are not made up for.
                due = max(due + self._every_s, loop.time())
                await asyncio.sleep(due - loop.time())

    async def _ask(self, room: asyncio.Semaphore) -> None:
        patience = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        try:
            async with self._http.get(self._address, allow_redirects=False, timeout=patience) as answer:
                await answer.read()
                said = str(answer.status)
        except (aiohttp.ClientError, OSError) as failed:
            said = type(failed).__name__
        finally:
            room.release()
        self.came[said] += 1
        if said == "200":
            self._note_gap()

    def _note_gap(self) -> None:
        now = time.monotonic()
        self.gap_s, self._last = max(self.gap_s, now - self._last), now
