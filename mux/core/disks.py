"""Disks of ships that run full: told to organizers before saves and starts begin to fail there.

Rules: one warning for each time that a disk runs low, one word when there is room again. Nobody is moved or refused for
it: who sits there keeps working, and on one laptop all ships have the same disk.
"""

from __future__ import annotations

from mux.core.commands import Notify
from mux.core.model import Resources
from mux.core.ships import Ship
from mux.core.world import World

LOW_BYTES = 1 << 30
LOW_SHARE = 0.05
"""A disk with less left than both, of the whole, is low: an image or one attendee's data set may fill it."""
ROOM_AGAIN = 2
"""So many times the bound must be free until there is room again."""
CONDITION = "disk nearly full"


def reported(world: World, ship: Ship, resources: Resources) -> None:
    """Take in what a ship says of its disk; a ship that does not know it says 0 of 0."""
    bound = min(LOW_BYTES, int(LOW_SHARE * resources.disk_total_bytes))
    if ship.id in world.disks_low:
        if resources.disk_free_bytes >= ROOM_AGAIN * bound:
            world.disks_low.discard(ship.id)
            world.notify(
                Notify("info", "disk_has_room", ship.id, f"The disk of {ship.id} has room again."), said_by=ship.id
            )
    elif resources.disk_free_bytes < bound:
        world.disks_low.add(ship.id)
        left_mib = resources.disk_free_bytes >> 20
        text = (
            f"The disk of {ship.id} is nearly full: {left_mib} MiB are left. Saves and starts fail there without any. "
            f"`mux ship cordon {ship.id}` keeps newcomers away; who sits there can delete what they do not need."
        )
        world.notify(Notify("warning", "disk_low", ship.id, text), said_by=ship.id)
