"""Carries out what the core decided: calls to the provider, words to ships, notices to the log.

Owns the tasks of calls in flight, and nothing else. Every result comes back to the engine as an event; an effect that
fails is an event too, never an exception that somebody must catch.

Rules: words to one ship keep their order; provider calls run side by side, at most one per ship (the core sees to it).
What is published before a ship is told something is in force at the proxies by then: where a workspace is swapped,
requests wait before it is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog

from mux.core.commands import (
    AcceptLink,
    CloseLink,
    Effect,
    LaunchShip,
    ListMachines,
    Notify,
    ParkShip,
    RefuseLink,
    SendDesired,
    StartShip,
    TerminateShip,
)
from mux.core.events import Event, LaunchFailed, LaunchSucceeded, ListingFailed, MachineCallEnded, MachinesListed
from mux.core.model import ShipId
from mux.providers.base import LaunchOrder, Provider, ProviderError

log = structlog.get_logger(__name__)

WORDS_MAX = 100_000
"""Words to ships waiting to be handed to the control endpoint, which keeps only the latest for each ship anyway."""
PROXIES_S = 1.0
"""How long words to a ship wait for the proxies. Once one has been slower, none waits until it has caught up."""
CALL_S = 600.0
"""Longest call to the provider: parking a machine may take minutes. One that hangs has failed, and is made again."""
LISTING_S = 60.0
"""Longest listing: many pages, throttled."""

Words = AcceptLink | RefuseLink | CloseLink | SendDesired


class Publications(Protocol):
    """What is published, and where it is in force; `mux.publisher.Publisher` is one."""

    @property
    def seq(self) -> int:
        """Number of the latest publication."""

    async def settled(self, seq: int, timeout_s: float) -> bool:
        """Wait until every proxy has a publication; False after so many seconds."""


class Effects:
    """Starts effects and reports their results.

    Args:
        provider: what makes machines.
        order_for: what a machine needs to become this ship.
        tell: hands words for ships to the control endpoint.
        clock: seconds since the epoch.
        publications: of the engine's; None where there are no proxies.
    """

    def __init__(
        self,
        provider: Provider,
        order_for: Callable[[ShipId], LaunchOrder],
        tell: Callable[[Words], Awaitable[None]],
        clock: Callable[[], float],
        publications: Publications | None = None,
    ) -> None:
        self._provider = provider
        self._order_for = order_for
        self._tell = tell
        self._clock = clock
        self._post: Callable[[Event], None] = _nobody
        self._tasks: set[asyncio.Task[None]] = set()
        self._words: asyncio.Queue[tuple[Words, int]] = asyncio.Queue(WORDS_MAX)
        self._publications = publications
        self._proxies_late = False

    def open(self, post: Callable[[Event], None]) -> None:
        """Begin; results go to ``post``."""
        self._post = post
        self._spawn("words to ships", self._tell_all())

    async def close(self) -> None:
        """Cancel what is in flight. Calls are idempotent: the core asks again after the next start."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, effects: Sequence[Effect]) -> None:
        """Begin effects, in order, without waiting."""
        for effect in effects:
            self._start(effect)

    def _start(self, effect: Effect) -> None:
        match effect:
            case AcceptLink() | RefuseLink() | CloseLink() | SendDesired():
                self._queue(effect)
            case LaunchShip(ship):
                self._spawn(f"launch {ship}", self._launch(ship))
            case StartShip(ship):
                self._spawn(f"start {ship}", self._call(ship, lambda: self._provider.start(self._order_for(ship))))
            case ParkShip(ship):
                self._spawn(f"park {ship}", self._call(ship, lambda: self._provider.park(ship)))
            case TerminateShip(ship):
                self._spawn(f"terminate {ship}", self._call(ship, lambda: self._provider.terminate(ship)))
            case ListMachines():
                self._spawn("list machines", self._list())
            case Notify(severity, code, subject, text, detail):
                level = {"info": log.info, "warning": log.warning, "error": log.error}[severity]
                level(text, code=code, subject=subject, **({"detail": detail} if detail else {}))

    def _queue(self, words: Words) -> None:
        published = self._publications.seq if self._publications is not None else 0
        try:
            self._words.put_nowait((words, published))
        except asyncio.QueueFull:
            # Nothing hangs on them: a link that nobody answers ends by itself, and a ship that is behind is told again.
            log.error("words to a ship dropped", ship=words.ship, why=f"{WORDS_MAX} are waiting")

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """The one place where tasks of effects are made: named, and kept until they end."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("effect failed", effect=task.get_name(), error=repr(error)[:500])

    async def _tell_all(self) -> None:
        while True:
            words, published = await self._words.get()
            try:
                if isinstance(words, SendDesired):
                    await self._in_force(published)
                await self._tell(words)
            except Exception as error:
                log.error("could not tell a ship", ship=words.ship, error=repr(error)[:500])

    async def _in_force(self, published: int) -> None:
        """Wait until proxies serve from a publication, but not for one that hangs."""
        if self._publications is not None:
            patience_s = 0.0 if self._proxies_late else PROXIES_S
            self._proxies_late = not await self._publications.settled(published, patience_s)

    async def _launch(self, ship: ShipId) -> None:
        try:
            async with asyncio.timeout(CALL_S):
                machine = await self._provider.launch(self._order_for(ship))
        except ProviderError as error:
            self._post(LaunchFailed(ship, str(error), fatal=error.fatal))
        except TimeoutError:
            self._post(LaunchFailed(ship, f"no answer from the provider within {CALL_S:g} s"))
        except Exception as error:
            log.exception("launch failed unexpectedly", ship=ship)
            self._post(LaunchFailed(ship, f"unexpected: {error!r}"[:500]))
        else:
            self._post(LaunchSucceeded(ship, machine))

    async def _call(self, ship: ShipId, call: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(CALL_S):
                await call()
        except ProviderError as error:
            self._post(MachineCallEnded(ship, str(error)))
        except TimeoutError:
            self._post(MachineCallEnded(ship, f"no answer from the provider within {CALL_S:g} s"))
        except Exception as error:
            log.exception("provider call failed unexpectedly", ship=ship)
            self._post(MachineCallEnded(ship, f"unexpected: {error!r}"[:500]))
        else:
            self._post(MachineCallEnded(ship))

    async def _list(self) -> None:
        asked_at = self._clock()
        try:
            async with asyncio.timeout(LISTING_S):
                machines = await self._provider.list()
        except ProviderError as error:
            log.warning("listing failed", error=str(error))
            self._post(ListingFailed(str(error)))
        except TimeoutError:
            log.warning("listing failed", error="no answer")
            self._post(ListingFailed(f"no answer from the provider within {LISTING_S:g} s"))
        except Exception as error:
            log.exception("listing failed unexpectedly")
            self._post(ListingFailed(f"unexpected: {error!r}"[:500]))
        else:
            self._post(MachinesListed(dict(machines), asked_at))


def _nobody(event: Event) -> None:
    raise RuntimeError(f"effects are not open; {type(event).__name__} has nowhere to go")
