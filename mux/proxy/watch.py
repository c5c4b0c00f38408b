"""Whether tunnels are watched: only while turns of the event loop last too long.

Owns that decision. Knows nothing of what tunnels carry. Rule: a tunnel costs no Python frame for what it passes on, and
so nobody sees when one brings megabytes in a single turn (``uv__read``). The turn itself tells: a timer comes late, for
this process was busy; that others have the machine does not count. Then all tunnels are watched until none of them has
had to rest for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from mux.proxy.limits import TURN_S, WATCH_QUIET_S, WATCH_S
from mux.proxy.tunnel import Tunnel
from mux.proxy.turns import Turns


class Watch:
    """Looks at the turns of one loop while there are tunnels.

    Args:
        loop: whose turns they are.
        turns: where whoever is watched rests.
        tunnels: all that are open.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: Turns, tunnels: Collection[Tunnel]) -> None:
        self._loop = loop
        self._turns = turns
        self._tunnels = tunnels
        self._timer: asyncio.TimerHandle | None = None
        self._spent = 0.0
        self._rests = 0
        self._until = 0.0
        self.on = False

    def opened(self, tunnel: Tunnel) -> None:
        """One more is open."""
        if self.on:
            tunnel.watch(on=True)
        if self._timer is None:
            self._look_again()

    def stop(self) -> None:
        """Nobody is served any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_again(self) -> None:
        self._spent = time.process_time()
        self._timer = self._loop.call_later(WATCH_S, self._look)

    def _look(self) -> None:
        now, rests = self._loop.time(), self._turns.rests
        if time.process_time() - self._spent > WATCH_S + TURN_S or rests != self._rests:
            self._rests, self._until = rests, now + WATCH_QUIET_S
        if self.on != (now < self._until):
            self.on = not self.on
            for tunnel in self._tunnels:
                tunnel.watch(on=self.on)
        self._timer = None
        if self._tunnels:
            self._look_again()
