"""Health checks: does a workspace's health path answer?

One task for each running workspace, so that one that hangs holds up no other. Owns the HTTP client. Knows nothing of
what follows from an answer.

Rules: only this machine is asked; no cookie is kept (all workspaces have one host), no redirect followed, and of a body
only a bound is read. A first answer is looked for often; afterwards a workspace is unhealthy only after several
failures in a row, since a busy kernel may miss one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import aiohttp

FAST_S = 0.2
"""Between checks until the first answer: people wait for it."""
STEADY_S = 3.0
"""Between checks of what is healthy."""
FAILING_S = 1.0
"""Between checks of what has just stopped to answer."""
TIMEOUT_S = 5.0
"""How long an answer may take; a machine under load is slow, not broken."""
FAILURES_MAX = 3
"""Failures in a row after which a workspace that was healthy is not."""
BODY_BYTES_MAX = 64 * 1024
"""What is read of an answer, so that its connection can be used again; more is cut off with the connection."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What to ask of one start of one workspace.

    Args:
        workspace: its id.
        starts: which start; another one is asked anew.
        url: ``http://address:port/…``, on this machine.
        token: what it demands.
    """

    workspace: str
    starts: int
    url: str
    token: str = field(repr=False)


class HealthChecks:
    """Keeps asking the workspaces that it is given.

    Args:
        changed: called when a workspace has got healthy, or is no longer.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._tasks: dict[Probe, asyncio.Task[None]] = {}
        self._results: dict[Probe, bool] = {}
        self._asked = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the client."""
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            # No bound of connections: there is one for each workspace, and those are bounded.
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        )

    async def close(self) -> None:
        """Stop asking."""
        self.sync(())
        if self._session is not None:
            await self._session.close()

    def sync(self, probes: Iterable[Probe]) -> None:
        """Ask exactly these from now on."""
        wanted = set(probes)
        for probe in self._tasks.keys() - wanted:
            self._tasks.pop(probe).cancel()
            self._results.pop(probe, None)
        for probe in wanted - self._tasks.keys():
            self._tasks[probe] = asyncio.create_task(self._keep_asking(probe), name=f"health of {probe.workspace}")

    def healthy(self) -> dict[str, int]:
        """Which workspaces answer, with the start that does."""
        return {probe.workspace: probe.starts for probe, healthy in self._results.items() if healthy}

    async def all_asked(self) -> None:
        """Returns when each has been asked at least once."""
        while not all(probe in self._results for probe in self._tasks):
            self._asked.clear()
            await self._asked.wait()

    async def _keep_asking(self, probe: Probe) -> None:
        failures = 0
        while True:
            before = self._results.get(probe)
            if await self._ask(probe):
                failures = 0
                self._results[probe] = True
            else:
                failures += 1
                self._results[probe] = bool(before) and failures < FAILURES_MAX
            self._asked.set()
            if self._results[probe] != before:
                self._changed()
            pause_s = FAST_S if not self._results[probe] else FAILING_S if failures else STEADY_S
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards no secret

    async def _ask(self, probe: Probe) -> bool:
        if self._session is None:
            return False
        try:
            async with self._session.get(
                probe.url, headers={"Authorization": f"token {probe.token}"}, allow_redirects=False
            ) as answer:
                await answer.content.read(BODY_BYTES_MAX)
                return 200 <= answer.status < 400
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return False
