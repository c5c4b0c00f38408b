"""Planned moves: a drain, a replaced ship, a machine that ends, a seat taken back. Nothing that was saved is lost.

The pages of whoever leaves save first. Then their workspaces are stopped, and their ship says when all that they left
is in a snapshot. Only then is the seat given up, and what was bound destroyed: the next seat finds that snapshot.

Rules: pages and a ship that do not do their part hold nobody up for longer than `LEAVE_MAX_S` together, nor much longer
than the machine lasts. That time begins once the ship is up, and no later than it may take to boot. What a ship could
not bring it keeps, if nobody else sits there any more. That somebody leaves is stored with their seat, so a restart of
the mux goes on with it.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Literal

from mux.core.attendance import enqueue, move_everybody, release, seat_the_queue
from mux.core.commands import Notify
from mux.core.files import HOLDS_FILES
from mux.core.machines import keeps
from mux.core.model import ShipId, ShipState, ShipWanted, UserId, WorkspaceState
from mux.core.pages import ask_to_save, come_back, has_saved
from mux.core.plural import counted
from mux.core.ships import Seat, Ship, Workspace
from mux.core.wishes import take
from mux.core.workspaces import drain, empty, suspend
from mux.core.world import Leaving, World

LEAVE_MAX_S = 30.0
"""How long a move waits: ten seconds that a workspace may take to end, and several tries to bring what it left."""
LEAVE_MIN_S = 5.0
"""How long it waits however soon the machine is said to end: few end to the second."""
SAVE_SHARE = 1 / 3
"""Part of that for the pages: after a restart of the mux, enough for them to come back and to save. The rest is needed
to stop the workspaces, and to bring what they left."""


def leave_ship(world: World, ship: Ship) -> None:
    """Everybody leaves a ship; whoever is logged in goes to the head of the queue, in the order of the seats."""
    for seat in ship.seats:
        if seat.user is not None:
            leave_seat(world, seat.user, first=True)


def move_off(world: World) -> None:
    """Move attendees off ships that are being replaced, once seats elsewhere are ready for all of them.

    One that is silent or not up is not waited for: it keeps their work, the newest of which may not be in a snapshot.
    """
    for ship_id in list(world.replacing):
        ship = world.ships[ship_id]
        if not ship.assigned or ship.assigned > world.offers.total or not world.doors_open or world.waiting:
            continue
        up = ship.state in (ShipState.AVAILABLE, ShipState.RUNNING) and ship.wanted is ShipWanted.RUN
        if not up or ship.unreachable:
            move_everybody(world, ship, keep_work=True)
            if ship.kept:
                empty(world, ship)
            seat_the_queue(world)
        elif not all(seat.leaving for seat in ship.seats if seat.user is not None):
            leave_ship(world, ship)


def leave_seat(world: World, user: UserId, *, first: bool = False) -> None:
    """An attendee leaves their seat, as soon as their work is safe. See `part`."""
    found = world.seat_of(user)
    if found is None:
        return
    ship, seat = found
    before = world.leaving.get(user)
    _begin(world, user, ship, seat, first=first or (before is not None and before.first))
    for workspace in list(seat.workspaces.values()):
        # A swap that was under way is waited for no longer.
        workspace.previous, workspace.swap_until = "", 0.0
        if workspace.state not in HOLDS_FILES:
            take(world, user, workspace)
            drain(world, ship, workspace)  # nobody was ever led to it
    world.touch(ship)


def _begin(world: World, user: UserId, ship: Ship, seat: Seat, *, first: bool) -> None:
    """Count somebody among those who leave; what they were promised before is not put off by being asked again.

    Whoever sits on a parked ship waits with it, like everybody else there.
    """
    is_now, before = _ship_is(ship), world.leaving.get(user)
    latest = world.now + world.spec.fleet.boot_deadline_s + LEAVE_MAX_S
    if before is not None and before.ship_is != "parked":
        latest = before.latest  # a ship that boots again and again wins no time by that
    until = min(_until(world, ship), latest)
    save_until = world.now + SAVE_SHARE * min(LEAVE_MAX_S, until - world.now)
    if before is not None and before.ship_is == is_now:
        until, save_until = min(until, before.until), min(save_until, before.save_until)
    world.deadlines.set(("leaving", user), until)
    if is_now == "parked":
        until = inf
        world.deadlines.clear(("leaving", user))
    world.leaving[user] = Leaving(until, save_until, first, is_now, latest)
    seat.leaving = True


def restore(world: World) -> None:
    """Go on with those who were leaving when the mux ended; their time begins anew."""
    for ship in world.ships.values():
        for seat in ship.seats:
            # A mux of an earlier version stored no more than that.
            stopped = any(each.state is WorkspaceState.SUSPENDED for each in seat.workspaces.values())
            if seat.user is not None and (seat.leaving or stopped):
                _begin(world, seat.user, ship, seat, first=ship.draining)
    if world.leaving:
        come_back(world)


def part(world: World) -> None:
    """Take the seats of those who leave, once all that they left is in a snapshot, or their time is up."""
    for user in list(world.leaving):
        _stop(world, user)
    parting = {user: _saved(world, user) for user in world.leaving}
    parting = {user: saved for user, saved in parting.items() if saved or world.now >= _waits_until(world, user)}
    unsaved: Counter[ShipId] = Counter()
    for user in reversed(parting):
        found, first = world.seat_of(user), world.leaving[user].first
        if found is None:
            continue
        ship = found[0]
        alone = all(seat.user is None or seat.user in parting for seat in ship.seats)
        unsaved[ship.id] += not parting[user]
        release(world, user, keep_work=not parting[user] and ship.draining and alone)
        if user in world.sessions_of:
            enqueue(world, user, first=first)
    for ship_id in (each for each, number in unsaved.items() if number):
        ship = world.ships[ship_id]
        whose = counted(unsaved[ship_id], "attendee")
        text = f"{ship_id} did not bring the newest work of {whose} in time: they go on with their last snapshot."
        if ship.kept:
            empty(world, ship)
            text += f" {keeps(ship)}"
        world.notify(Notify("warning", "moved_unsaved", ship_id, text))


def _stop(world: World, user: UserId) -> None:
    """Stop what somebody leaves, as soon as its pages have saved. Their time begins once their ship can do its part."""
    found = world.seat_of(user)
    if found is None:
        return
    ship, seat = found
    if world.leaving[user].ship_is != _ship_is(ship):
        _begin(world, user, ship, seat, first=world.leaving[user].first)
    for workspace in seat.workspaces.values():
        if workspace.state is WorkspaceState.BOUND and not _saving(world, user, ship, workspace):
            suspend(world, ship, workspace)


def _saving(world: World, user: UserId, ship: Ship, workspace: Workspace) -> bool:
    """Whether the pages of a workspace that is left are waited for; they are asked if they were not yet."""
    save_until = world.leaving[user].save_until
    if user not in world.sessions_of or world.now >= save_until:
        return False
    request = world.save_requests.get(workspace.id)
    if request is not None:
        world.deadlines.set(("rollout", workspace.id), min(request.until, save_until))
        return not has_saved(world, request)
    if world.now < world.pages_back_at:
        world.deadlines.set(("rollout", workspace.id), save_until)
        return True
    return ask_to_save(world, ship, workspace, save_until - world.now)


def _waits_until(world: World, user: UserId) -> float:
    """When somebody goes on without their newest work. Those with whom a draining ship empties go together, since what
    it could not bring it keeps only when nobody sits there any more."""
    mine = world.leaving[user].until
    found = world.seat_of(user)
    if found is None or not found[0].draining:
        return mine
    seated = [seat.user for seat in found[0].seats if seat.user is not None]
    if not all(each in world.leaving for each in seated):
        return mine
    return max(world.leaving[each].until for each in seated)


def _saved(world: World, user: UserId) -> bool:
    found = world.seat_of(user)
    held = found[1].workspaces.values() if found is not None else ()
    return all(workspace.saved for workspace in held)


def _ship_is(ship: Ship) -> Literal["up", "booting", "parked"]:
    """Whether a ship can do its part of a move. One that was up and is silent is not known to be anything else."""
    if ship.wanted is ShipWanted.PARKED or ship.state is ShipState.PARKED:
        return "parked"
    boots = ship.state is ShipState.PENDING or (ship.state is ShipState.BOOTING and ship.link is None)
    # Whoever unparks a ship may be too late: it stops, and is started again.
    return "booting" if boots or ship.call in ("park", "start") else "up"


def _until(world: World, ship: Ship) -> float:
    """When a move from a ship that is not parked goes on in any case, unless it has waited too long before."""
    if _ship_is(ship) != "up":
        return inf
    ends = [at for kind, at in ship.notices if at is not None and kind != "rebalance"]
    lasts_s = max(LEAVE_MIN_S, min(ends, default=world.now + LEAVE_MAX_S) - world.now)
    return world.now + min(LEAVE_MAX_S, lasts_s)
