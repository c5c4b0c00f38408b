"""Reaping: after the event, whatever bears its marks is ended, known or not.

Owns one reaping at a time, and what has come of it. First the core ends the ships that it knows, so that nothing is
launched anew; then the provider ends by its marks what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mux.core.events import Event, FleetEnded
from mux.providers.base import Provider, ProviderError, Reaped
from mux.web.admin_api_deps import Reaping

log = structlog.get_logger(__name__)


class Reaper:
    """Reaps.

    Args:
        provider: ends what it has marked.
        submit: hands an event to the engine, and waits until it is in force.
    """

    def __init__(self, provider: Provider, submit: Callable[[Event], Awaitable[None]]) -> None:
        self._provider = provider
        self._submit = submit
        self._task: asyncio.Task[None] | None = None
        self._found = Reaped(machines=0)
        self._error = ""

    async def begin(self, *, foreign: bool) -> Reaping:
        """Begin, unless it is under way. Raises what the engine raises when it cannot take the decision."""
        if self._task is None or self._task.done():
            self._found, self._error = Reaped(machines=0), ""
            await self._submit(FleetEnded())
            self._task = asyncio.create_task(self._reap(foreign=foreign), name="reap")
        return self.state()

    def state(self) -> Reaping:
        """How it stands."""
        running = self._task is not None and not self._task.done()
        found = self._found
        return Reaping(running, found.machines, found.things, found.foreign, self._error)

    async def close(self) -> None:
        """Stop; what is left is found by the next reaping."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _reap(self, *, foreign: bool) -> None:
        try:
            self._found = await self._provider.reap(foreign=foreign)
        except ProviderError as error:
            self._error = str(error)
            log.warning("reaping failed", error=str(error))
        except Exception as error:
            self._error = f"unexpected: {error!r}"[:500]
            log.exception("reaping failed unexpectedly")
