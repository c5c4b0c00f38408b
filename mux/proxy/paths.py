"""Which workspaces this process reaches, and which not.

Owns what was noticed between two batches. A connection that is made and a response that begins show that a workspace's
machine is there; a connection that is refused or not answered shows the contrary. Whatever else goes wrong on a
connection shows neither. Knows nothing of ships.
"""

from __future__ import annotations

from mux.core.feed import Paths
from mux.core.model import WorkspaceId
from mux.proxy.routing import Destination, RoutePool


class PathTally:
    """Workspaces reached and not reached since the last batch."""

    def __init__(self) -> None:
        self._reached: set[WorkspaceId] = set()
        self._unreached: set[WorkspaceId] = set()

    def reached(self, destination: Destination) -> None:
        """An upstream took a connection, or began a response."""
        if isinstance(destination.pool, RoutePool):
            self._reached.add(destination.pool.route.workspace)

    def unreached(self, destination: Destination) -> None:
        """No connection to an upstream could be made."""
        # That nothing listens at a further port says nothing of the machine.
        if isinstance(destination.pool, RoutePool) and not destination.port:
            self._unreached.add(destination.pool.route.workspace)

    def batch(self) -> Paths | None:
        """What goes to the control process, if anything; the next batch starts anew."""
        reached, unreached = self._reached, self._unreached - self._reached
        self._reached, self._unreached = set(), set()
        return Paths(tuple(sorted(reached)), tuple(sorted(unreached))) if reached or unreached else None
