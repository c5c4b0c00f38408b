"""Words of machines that become ships, on the control listener: what they are doing before there is an agent.

Owns how often one is heard and how much it may say. What follows from a word is the core's to say.

Rules: only machines that are awaited are heard (`awaited`), each for itself; what one says is hostile text, bounded and
cleaned. It is answered once what follows is persisted, so that a machine that has given up is not forgotten. Nothing of
a request is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from pydantic import ValidationError

from mux.control.awaited import Awaited
from mux.core.events import BootTold
from mux.core.model import ShipId
from mux.engine import EngineBusyError
from ship_agent.protocol.boot import PATH, WORD_BYTES_MAX, BootWord
from ship_agent.protocol.codec import clean_text

EVERY_S: Final = 2.0
"""Between two words of one machine, in the long run."""
AT_ONCE: Final = 4
"""Words of one machine that may come in a row: an installation has a few short steps."""
BODY_S: Final = 10.0
"""How long a word may take to come."""
TURNS_MAX: Final = 1_000
"""Machines whose turns are remembered before those that are free to speak again are forgotten."""
DOING_CHARS_MAX: Final = 300


class BootEndpoint:
    """Hears machines.

    Args:
        awaited: who is heard.
        submit: hands an event to the core, and returns when what follows from it is in force; raises EngineBusyError.
    """

    def __init__(self, awaited: Awaited, submit: Callable[[BootTold], Awaitable[None]]) -> None:
        self._awaited = awaited
        self._submit = submit
        self._free_at: dict[ShipId, float] = {}

    def routes(self) -> list[web.RouteDef]:
        """What the daemon mounts on the control listener."""
        return [web.put(PATH, self._handle)]

    async def _handle(self, request: web.Request) -> web.Response:
        ship = self._awaited.ship(request)
        if not self._turn(ship):
            raise web.HTTPTooManyRequests(text="Not so often. Say it again later.\n")
        try:
            word = BootWord.model_validate_json(await _body(request))
        except ValidationError:
            raise web.HTTPBadRequest(text="That is no word of a machine.\n") from None
        doing = clean_text(word.doing, chars_max=DOING_CHARS_MAX).strip()
        try:
            await self._submit(BootTold(ship, doing or "something without a name", word.failed))
        except EngineBusyError:
            raise web.HTTPServiceUnavailable(text="The mux is busy. Say it again later.\n") from None
        return web.Response(status=204)

    def _turn(self, ship: ShipId) -> bool:
        """Whether a machine may say another word now. What is kept of each: when all its words are free again."""
        now = asyncio.get_running_loop().time()
        if len(self._free_at) >= TURNS_MAX:
            self._free_at = {each: at for each, at in self._free_at.items() if at > now}
        free_at = max(now, self._free_at.get(ship, now)) + EVERY_S
        if free_at > now + AT_ONCE * EVERY_S:
            return False
        self._free_at[ship] = free_at
        return True


async def _body(request: web.Request) -> bytes:
    """All of it. Raises the refusal of one that is too long or too slow."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.content.iter_chunked(WORD_BYTES_MAX):
                body += piece
                if len(body) > WORD_BYTES_MAX:
                    raise web.HTTPRequestEntityTooLarge(WORD_BYTES_MAX, len(body))
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(text="The word takes too long.\n") from error
    return bytes(body)
