"""Data paths: what proxies say of the workspaces that they reach, and when that makes a ship lost.

Rules: a ship is lost when it is unreachable and the proxies get no connection to any of its workspaces either, both for
``lost_after_s``. Neither alone is enough. One workspace that is reached speaks for the whole ship; what is said of
workspaces that are not bound there any more is not heard. While most of the fleet is silent it is the mux that is cut
off, and nobody is moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mux.core.commands import Notify
from mux.core.events import PathsReported
from mux.core.machines import lost
from mux.core.model import ShipId, ShipWanted, WorkspaceId
from mux.core.ships import Ship
from mux.core.world import World

PATHS_FRESH_S = 30.0
"""Failures further apart are two troubles: proxies tell every few seconds, and whoever meets an error tries again."""


def reported(world: World, event: PathsReported) -> None:
    """Take in what a proxy has met, and give up ships that have been out of reach in every way for long enough."""
    reached = {ship.id for ship in _ships(world, event.reached)}
    for ship_id in reached:
        world.ships[ship_id].path_failing_since = None
    for ship in _ships(world, event.unreached):
        if ship.id not in reached:
            _fails(world, ship)


def _ships(world: World, workspaces: Iterable[WorkspaceId]) -> Iterator[Ship]:
    """Ships that hold these workspaces."""
    for identity in dict.fromkeys(workspaces):
        ship = world.ships.get(ShipId(identity.partition(".")[0]))
        if ship is not None and not ship.gone and identity in ship.workspaces:
            yield ship


def _fails(world: World, ship: Ship) -> None:
    new = ship.path_failing_since is None or world.now - ship.path_failed_at > PATHS_FRESH_S
    ship.path_failed_at = world.now
    if new:
        ship.path_failing_since = world.now
        ship.path_told = False
    if not ship.unreachable or ship.wanted is not ShipWanted.RUN or world.tally.cut_off:
        return
    patience_s = world.spec.fleet.lost_after_s
    both_since = max(ship.path_failing_since or 0.0, ship.unreachable_since)
    if world.now - both_since >= patience_s:
        lost(world, ship, f"it has been silent, and its workspaces out of reach, for {patience_s:g} s")
    elif not ship.path_told:
        ship.path_told = True
        world.notify(
            Notify(
                "warning",
                "path_failing",
                ship.id,
                f"{ship.id} is silent and its workspaces are out of reach. If neither comes back within "
                f"{patience_s:g} s, its attendees are moved.",
            )
        )
