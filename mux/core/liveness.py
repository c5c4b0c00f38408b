"""Who is heard from: links and heartbeats.

Rules: a passed heartbeat deadline makes a ship unreachable, no more. A ship is lost when the provider says that its
machine is gone, when its data path fails too, or when an organizer says so; never because it was silent alone.
"""

from __future__ import annotations

from mux.core import boots, disks, keeping
from mux.core.commands import AcceptLink, CloseLink, Notify, RefuseLink, SendDesired, ShipRecord
from mux.core.events import LinkLost, ShipDialed, ShipReported
from mux.core.machines import returned
from mux.core.model import ShipId, ShipState, ShipWanted
from mux.core.notices import noticed
from mux.core.rollout import held_on, spec_on
from mux.core.rollout_trials import heard as heard_of_trials
from mux.core.ships import Ship
from mux.core.speakers import STRANGERS
from mux.core.workspaces import heard
from mux.core.world import World


def restore(world: World, record: ShipRecord) -> None:
    """A ship as it was stored. It counts as silent from now on, not longer."""
    ship = Ship.restored(record, world.now)
    world.ships[ship.id] = ship
    world.touch(ship, save=ship.launched_at != record.launched_at)
    if ship.state is ShipState.TERMINATED:
        return
    if ship.leave_at is not None:
        world.deadlines.set(("leave", ship.id), ship.leave_at)
    if ship.host:
        world.places[ship.host, ship.port_first] = ship.id
    fleet = world.spec.fleet
    world.deadlines.set(("heartbeat", ship.id), world.now + fleet.heartbeat_grace_s)
    if ship.state in (ShipState.PENDING, ShipState.BOOTING):
        world.deadlines.set(("boot", ship.id), world.now + fleet.boot_deadline_s)


def dialed(world: World, event: ShipDialed) -> None:
    """Accept or refuse a link. The first key that comes with a valid join token is bound; no other one ever is."""
    ship = world.ships.get(event.ship)
    if ship is None or ship.gone:
        _refuse(world, event, "unknown_ship", "this mux has no such ship, or has ended it", retry=False)
        return
    if ship.wanted is ShipWanted.PARKED:
        _refuse(world, event, "parked", "this ship should be parked", retry=True)
        return
    if not ship.key and not event.token_ok:
        _refuse(world, event, "join_token", "the join token is not valid for this ship", retry=False)
        return
    if ship.key and ship.key != event.key:
        world.notify(
            Notify(
                "warning",
                "second_claimant",
                ship.id,
                f"Somebody with another key claims to be {ship.id} and was refused. If its disk was replaced, "
                f"drain the ship; otherwise find out who holds its join token.",
            ),
            said_by=STRANGERS,
        )
        _refuse(world, event, "key_mismatch", "another key is bound to this ship", retry=False)
        return
    if ship.link is not None:
        world.effect(CloseLink(ship.id, ship.link))
    ship.key = event.key
    ship.link = event.link
    ship.report = None
    ship.sent_at = 0.0
    if ship.boot_identity != event.boot or ship.state is ShipState.PENDING:
        ship.boot_identity = event.boot
        ship.boots()
        world.deadlines.clear(("stage", ship.id))
        # One that boots again and again before it is available does not win time by that.
        world.deadlines.set_once(("boot", ship.id), world.now + world.spec.fleet.boot_deadline_s)
    _alive(world, ship)
    world.touch(ship)
    world.effect(AcceptLink(ship.id, event.link))


def _refuse(world: World, event: ShipDialed, code: str, reason: str, *, retry: bool) -> None:
    world.effect(RefuseLink(event.ship, event.link, code, reason, retry))


def reported(world: World, event: ShipReported) -> None:
    """Take in a report: over the accepted link only, and never an older one after a newer one."""
    ship = world.ships.get(event.ship)
    if ship is None or ship.link != event.link or (ship.report is not None and event.report.seq <= ship.report.seq):
        return
    behind = event.report.generation < ship.generation
    ship.report = event.report
    _alive(world, ship)
    heard(world, ship, event.report)
    heard_of_trials(world, ship, event.report)
    ship.worked = {workspace: world.now - idle_s for workspace, idle_s in event.report.quiet}
    for notice in event.report.notices:
        noticed(world, ship, notice)
    boots.staged(world, ship, event.report.stage)
    disks.reported(world, ship, event.report.resources)
    keeping.reported(world, ship, event.report)
    if behind and world.now - ship.sent_at >= world.spec.fleet.heartbeat_s:
        ship.sent_at = 0.0
        world.touch(ship, save=False)


def _alive(world: World, ship: Ship) -> None:
    ship.last_seen = world.now
    world.deadlines.set(("heartbeat", ship.id), world.now + world.spec.fleet.heartbeat_grace_s)
    if ship.unreachable:
        ship.unreachable = False
        returned(world, ship)
        world.touch(ship, save=False)


def link_lost(world: World, event: LinkLost) -> None:
    """A link ended: nothing follows from that but the deadline that is running already."""
    ship = world.ships.get(event.ship)
    if ship is not None and ship.link == event.link:
        ship.link = None
        world.touch(ship, save=False)


def silent(world: World, ship_id: ShipId) -> None:
    """A heartbeat deadline has passed."""
    ship = world.ships.get(ship_id)
    if ship is None or ship.gone or ship.wanted is not ShipWanted.RUN or ship.state is ShipState.PENDING:
        return
    if not ship.unreachable:
        ship.unreachable_since = world.now
    ship.unreachable = True
    grace = world.spec.fleet.heartbeat_grace_s
    world.notify(
        Notify(
            "warning",
            "unreachable",
            ship.id,
            f"{ship.id} has not been heard from for {grace:g} s. Nobody new is seated there; whoever is keeps working "
            f"as long as the machine answers.",
        ),
        said_by=ship.id,
    )
    world.touch(ship, save=False)


def send(world: World, ship: Ship) -> None:
    """Tell a ship what should be true, if it is linked and has not been told."""
    if ship.link is not None and ship.sent_at == 0.0:
        ship.sent_at = world.now
        projects = {name: spec_on(world, ship, spec) for name, spec in world.projects.items()}
        world.effect(SendDesired(ship.id, ship.link, ship.desired(projects, held_on(world, ship))))
