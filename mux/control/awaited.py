"""Who is heard on the control listener before an agent has a link: machines that are awaited, with their join token.

Rules: the token is good for its own ship, and only until a key is bound to that; then it is spent here too.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from mux.control.strangers import show
from mux.core.model import ShipId
from mux.keys import Keyring

SCHEME = "Bearer "


class Awaited:
    """Lets machines in.

    Args:
        keys: checks join tokens.
        awaits: whether a ship is wanted and no key is bound to it yet.
    """

    def __init__(self, keys: Keyring, awaits: Callable[[ShipId], bool]) -> None:
        self._keys = keys
        self._awaits = awaits

    def ship(self, request: web.Request) -> ShipId:
        """Whose machine asks; raises HTTPForbidden for anybody else."""
        ship = ShipId(request.headers.get("Mux-Ship", ""))
        token = request.headers.get("Authorization", "").removeprefix(SCHEME)
        if not (ship.isascii() and token.isascii() and self._keys.join_token_ok(ship, token) and self._awaits(ship)):
            raise web.HTTPForbidden(text="This is for machines that are awaited, with their join token.\n")
        show(request)
        return ship
