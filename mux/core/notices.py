"""What the owners of machines announce, and machines that ended by themselves: people leave in time.

A notice may come from the provider and from the ship itself, again and again; each is acted on once, and is stored:
neither of them need say it again to a mux that is started anew. The ship gets nobody new from then on, and a
replacement is launched as the planner sees fit.
"""

from __future__ import annotations

from mux.core.calls import end
from mux.core.commands import Notify
from mux.core.events import MachineEnded, MachineNoticed, ProviderNoticed
from mux.core.leaving import leave_ship
from mux.core.machines import launching_failed, lost
from mux.core.model import ShipId, ShipNotice, ShipState
from mux.core.plural import counted
from mux.core.ships import Ship
from mux.core.world import World

LEAD_S = 600.0
"""How long before its machine ends a ship's people are moved. A spot machine says so two minutes before: at once."""
NOTICES_MAX = 16
"""Different notices of one ship that are acted on: a ship may say anything."""
WORDS = {
    "interruption": "is taken back by its provider",
    "maintenance": "is stopped, restarted or retired by its provider",
    "rebalance": "may be taken back by its provider soon",
}


def machine_noticed(world: World, event: MachineNoticed) -> None:
    """The provider announced something."""
    ship = world.ships.get(event.ship)
    if ship is not None:
        noticed(world, ship, event.notice)


def noticed(world: World, ship: Ship, notice: ShipNotice) -> None:
    """Seat nobody new on a ship whose machine will end, and move its people before that."""
    if ship.gone or (notice.kind, notice.at) in ship.notices or len(ship.notices) >= NOTICES_MAX:
        return
    ship.notices += ((notice.kind, notice.at),)
    ship.cordoned = True
    moves = ""
    if notice.kind != "rebalance":
        leave_at = world.now if notice.at is None else max(world.now, notice.at - LEAD_S)
        ship.leave_at = leave_at if ship.leave_at is None else min(leave_at, ship.leave_at)
        world.deadlines.set(("leave", ship.id), ship.leave_at)
        wait_s = leave_at - world.now
        when = "now" if wait_s <= 0 else f"in {counted(max(1, round(wait_s / 60)), 'minute')}"
        moves = f"; its attendees are moved {when}"
    said = f" ({notice.detail})" if notice.detail else ""
    text = f"{ship.id} {WORDS[notice.kind]}{said}. It gets nobody new{moves}."
    world.notify(Notify("warning", "machine_noticed", ship.id, text))
    world.touch(ship)


def overruled(world: World, ship: Ship) -> None:
    """An organizer knows better than what was announced, as when it was called off: nobody is moved for that."""
    if ship.leave_at is None:
        return
    ship.leave_at = None
    world.deadlines.clear(("leave", ship.id))
    text = f"{ship.id} keeps its attendees, whatever was announced for its machine."
    world.notify(Notify("info", "notice_overruled", ship.id, text))


def leave(world: World, ship_id: ShipId) -> None:
    """A ship's machine is about to end: whoever sits there moves, and the ship is drained."""
    ship = world.ships.get(ship_id)
    if ship is None or ship.gone:
        return
    ship.leave_at = None
    ship.draining = True
    world.touch(ship)
    leave_ship(world, ship)


def machine_ended(world: World, event: MachineEnded) -> None:
    """A machine ended that should have stayed: its people move. Before it was ever ready that is a failed launch."""
    ship = world.ships.get(event.ship)
    if ship is None or ship.gone:
        return
    if ship.state not in (ShipState.PENDING, ShipState.BOOTING):
        lost(world, ship, event.reason)
        return
    ship.failed = event.reason
    world.notify(Notify("error", "ship_failed", ship.id, f"{ship.id} failed and is replaced: {event.reason}."))
    end(world, ship)
    launching_failed(world, ship.id, event.reason, made=True, fatal=event.fatal)


def provider_noticed(world: World, event: ProviderNoticed) -> None:
    """Tell the organizers what the provider says."""
    world.notify(Notify(event.severity, event.code, event.ship, event.text))
