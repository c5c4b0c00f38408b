"""What happens in the Docker engine, as it happens.

Owns the stream of events and its renewal. Knows nothing of what follows from an event.

Rules: whenever the stream is (re)made, `resync` is called first and the events since then are replayed, so that
nothing between two streams is lost. An engine that is away is asked again, with growing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiodocker
import aiohttp
import structlog
from aiodocker.events import DockerEvents
from aiodocker.exceptions import DockerError

from ship_agent.runtimes.base import RuntimeFailure

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0
"""Pauses before an engine that is away is asked again: doubling between these two."""
WANTED = {
    "type": ["container", "image"],
    "event": ["start", "die", "oom", "destroy", "delete", "untag"],
}


@dataclass(frozen=True, slots=True)
class Happened:
    """One event.

    Args:
        what: ``container`` or ``image``.
        action: ``start``, ``die``, ``oom``, ``destroy``, ``delete`` or ``untag``.
        id: of the container or image.
        workspace: the container's label, empty if it has none.
    """

    what: str
    action: str
    id: str
    workspace: str


async def follow(
    engine: aiodocker.Docker,
    *,
    resync: Callable[[], Awaitable[None]],
    take: Callable[[Happened], Awaitable[None]],
    scope: str,
) -> None:
    """Follow events until cancelled.

    Args:
        engine: the client.
        resync: looks at everything; raises RuntimeFailure when the engine is away.
        take: takes one event of a container of ``scope``, or of any image.
        scope: value of the label ``mux.scope``.
    """
    pause_s, away = RETRY_FIRST_S, False
    while True:
        since = int(time.time())
        try:
            await resync()
            if away:
                log.info("the Docker engine is back")
            pause_s, away = RETRY_FIRST_S, False
            await _stream(engine, since, take, scope)
            why = "the stream of events ended"
        except RuntimeFailure as failure:
            why = failure.detail
        except (DockerError, aiohttp.ClientError, OSError, ValueError) as error:
            why = type(error).__name__
        if not away:
            log.warning("the Docker engine is away", why=why)
        away = True
        await asyncio.sleep(pause_s)
        pause_s = min(RETRY_MAX_S, 2 * pause_s)


async def _stream(
    engine: aiodocker.Docker, since: int, take: Callable[[Happened], Awaitable[None]], scope: str
) -> None:
    events = DockerEvents(engine)
    subscriber = events.subscribe(create_task=False)
    running = asyncio.create_task(
        events.run(since=str(since), filters=json.dumps(WANTED)), name="events of the Docker engine"
    )
    try:
        while (event := await subscriber.get()) is not None:
            actor = event.get("Actor") or {}
            labels = actor.get("Attributes") or {}
            what = str(event.get("Type", ""))
            if what == "image" or labels.get("mux.scope") == scope:
                action = str(event.get("Action", ""))
                await take(Happened(what, action, str(actor.get("ID", "")), str(labels.get("mux.workspace", ""))))
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, DockerError, aiohttp.ClientError, OSError, ValueError):
            await running
