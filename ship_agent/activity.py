"""What people do in their notebooks: Jupyter servers are asked how long their kernels and terminals have been quiet.

Owns its HTTP client and the pace of asking. Decides nothing, and knows nothing of what follows from an answer.

Rules: an open tab is no activity; a cell that runs is, however long it is silent, and so is one that waits for input.
Asking is rare and bounded, goes to this machine alone, and is activity to nobody. A server that does not say it, as one
that is no Jupyter server or has another interface, is left out of the answers: nobody is called idle for that.

Sources: Jupyter Server's REST API (``/api/kernels``, ``/api/terminals``), whose ``last_activity`` is of executions,
outputs and inputs, and of what went through a terminal.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

ASK_S = 15.0
"""Between two questions to one server: fine enough for minutes of idleness, and no load."""
TIMEOUT_S = 5.0
AT_ONCE_MAX = 4
"""Servers that are asked at once."""
BODY_BYTES_MAX = 256 * 1024
"""Of an answer: a kernel takes about 250 bytes."""
FAILURES_MAX = 4
"""Questions in a row without an answer, after which what a server said before counts no more."""
BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Server:
    """A Jupyter server that works for an attendee.

    Args:
        workspace: its id.
        epoch: of the assignment; another one is somebody else's activity.
        url: of its API, ending in ``/api/``, on this machine.
        token: what it demands.
    """

    workspace: str
    epoch: int
    url: str
    token: str = field(repr=False)


@dataclass(slots=True)
class _Quiet:
    """Since when a server is quiet, in seconds since the epoch, and how often it has not answered since it said so."""

    since: float
    told: bool = False
    failures: int = 0


class Activity:
    """Keeps asking the servers that it is given.

    Args:
        clock: seconds since the epoch; the same that the servers' times are told by.
        ask_s: between two rounds, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time, ask_s: float = ASK_S) -> None:
        self._clock = clock
        self._ask_s = ask_s
        self._quiet: dict[Server, _Quiet] = {}

    def watch(self, servers: Iterable[Server]) -> None:
        """Ask exactly these from now on. One that is new counts as active just now."""
        now = self._clock()
        self._quiet = {server: self._quiet.get(server) or _Quiet(now) for server in servers}

    def idle(self) -> dict[str, float]:
        """For how long each has been quiet, in seconds, by workspace; without those of which it is not known."""
        now = self._clock()
        return {
            server.workspace: max(0.0, now - quiet.since)
            for server, quiet in self._quiet.items()
            if quiet.told and quiet.failures < FAILURES_MAX
        }

    async def run(self) -> None:
        """Ask, round after round, until cancelled."""
        limit = asyncio.Semaphore(AT_ONCE_MAX)
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=AT_ONCE_MAX),
        ) as client:
            while True:
                await asyncio.gather(*(self._look(client, server, limit) for server in list(self._quiet)))
                await asyncio.sleep(self._ask_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load

    async def _look(self, client: aiohttp.ClientSession, server: Server, limit: asyncio.Semaphore) -> None:
        async with limit:
            asked_at = self._clock()
            kernels = await _ask(client, server, "kernels")
            terminals = await _ask(client, server, "terminals")
        quiet = self._quiet.get(server)
        if quiet is None:
            return
        if kernels is None:
            quiet.failures += 1
            return
        quiet.failures, quiet.told = 0, True
        # A kernel that was shut down takes its time with it: what was known of it stays.
        quiet.since = max(quiet.since, min(asked_at, last_active(kernels, terminals or [], asked_at)))


async def _ask(client: aiohttp.ClientSession, server: Server, what: str) -> list[Any] | None:
    """A list that a server gives; None if it gives none."""
    try:
        async with client.get(
            server.url + what, headers={"Authorization": f"token {server.token}"}, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                return None
            body = b""
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    return None
            found = json.loads(body)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def last_active(kernels: Iterable[Any], terminals: Iterable[Any], now: float) -> float:
    """When something last happened in any of them, in seconds since the epoch; 0 for never. What is told is hostile.

    Args:
        kernels: as ``/api/kernels`` lists them.
        terminals: as ``/api/terminals`` lists them.
        now: when they were asked.
    """
    latest = 0.0
    for each in (*kernels, *terminals):
        if not isinstance(each, dict):
            continue
        if each.get("execution_state") == BUSY:
            return now
        latest = max(latest, _moment(each.get("last_activity")))
    return latest


def _moment(said: object) -> float:
    """A time of Jupyter's (ISO 8601, ``Z`` or an offset) in seconds since the epoch; 0 if it is none."""
    if not isinstance(said, str) or len(said) > 64:
        return 0.0
    try:
        moment = datetime.fromisoformat(said)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
