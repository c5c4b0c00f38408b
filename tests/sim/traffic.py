"""Attendees' requests, and what the proxies tell of them: which workspaces were reached and which not.

Two proxies serve from what was published last. Each tells of its batch every few seconds, as long as there is a mux to
tell it to. Only batches in which something was not reached are told, and those soon after: others change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mux.core.events import PathsReported
from mux.core.model import WorkspaceId
from mux.core.routes import RouteKey

if TYPE_CHECKING:
    from mux.core.commands import Placement
    from tests.sim.house import House

BATCH_S = 5.0
TELL_S = 60.0
BUSY_S = 20.0
"""Somebody works, or does not, for so long at a time."""
BUSY = 0.7
PROXIES = 2


class Traffic:
    """What flows through one house.

    Args:
        house: whose attendees these are.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._unreached_at = -TELL_S

    def begins(self) -> None:
        """From now on, to the end of the run."""
        self._house.time.after(BATCH_S, self._batch)

    def _batch(self) -> None:
        house = self._house
        house.time.after(BATCH_S, self._batch)
        for proxy in range(PROXIES):
            reached, unreached = set[WorkspaceId](), set[WorkspaceId]()
            for key, place in house.mux.routes.items():
                if self._asks(proxy, key):
                    (reached if self._reaches(place) else unreached).add(place.workspace)
            if unreached:
                self._unreached_at = house.time.now
            if house.time.now - self._unreached_at < TELL_S and (reached or unreached):
                house.mux.post(PathsReported(tuple(sorted(reached)), tuple(sorted(unreached))))

    def _asks(self, proxy: int, key: RouteKey) -> bool:
        period = int(self._house.time.now / BUSY_S)
        busy = self._house.dice.roll("busy", key, period) < BUSY
        return busy and self._house.dice.roll("through", key, self._house.time.now) * PROXIES // 1 == proxy

    def _reaches(self, place: Placement) -> bool:
        machine = self._house.provider.by_host(place.host)
        return machine is not None and not machine.path_cut and machine.listening(place.port) is not None
