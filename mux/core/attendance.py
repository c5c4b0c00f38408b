"""Sessions, the queue, and who sits where.

Sticky: whoever has a seat keeps it, through logouts, lost links and restarts, until it is released or its ship is lost.
Fair: the queue is served in order; somebody whose ship was lost goes to its head.
"""

from __future__ import annotations

from dataclasses import replace

from mux.core.commands import Notify
from mux.core.events import BroadcastSet
from mux.core.files import HOLDS_FILES, left
from mux.core.model import Assignment, Doors, ProjectName, Session, SessionHash, UserId, Waiting
from mux.core.plural import are
from mux.core.ships import Seat, Ship
from mux.core.totals import count
from mux.core.wishes import take
from mux.core.workspaces import bind, drain, keep, prepare, seat_ready
from mux.core.world import World

SESSIONS_MAX = 100
"""Of one attendee: more than anybody's browsers. A script that logs in without end ends its own oldest sessions, and
costs store and proxies no more than this."""


def log_in(world: World, user: UserId, session: SessionHash, expires_at: float) -> None:
    """Note a login; whoever has no seat joins the queue."""
    world.sessions[session] = Session(session, user, expires_at)
    sessions = world.sessions_of.setdefault(user, {})
    sessions[session] = None
    if len(sessions) > SESSIONS_MAX:
        end_session(world, next(iter(sessions)))
    world.changes.sessions[session] = None
    world.deadlines.set(("session", session), expires_at)
    if user not in world.assignments and user not in world.waiting:
        enqueue(world, user)


def end_session(world: World, session: SessionHash) -> None:
    """End one session; whoever waits and has no other one leaves the queue."""
    ended = world.sessions.pop(session, None)
    if ended is None:
        return
    world.deadlines.clear(("session", session))
    world.changes.sessions[session] = None
    others = world.sessions_of[ended.user]
    del others[session]
    if not others:
        del world.sessions_of[ended.user]
        leave_queue(world, ended.user)


def revoke(world: World, user: UserId) -> None:
    """End every session of a user."""
    for session in list(world.sessions_of.get(user, ())):
        end_session(world, session)


def enqueue(world: World, user: UserId, *, first: bool = False) -> None:
    """Put somebody at the end of the queue, or at its head."""
    if first:
        turn = min((waiting.turn for waiting in world.waiting.values()), default=1) - 1
    else:
        turn = world.controls.turns + 1
        world.controls = replace(world.controls, turns=turn)
    entry = Waiting(user, turn, world.now)
    if first:
        world.waiting = {user: entry, **world.waiting}
    else:
        world.waiting[user] = entry
    world.places_in_queue = None
    world.changes.waiting[user] = None


def leave_queue(world: World, user: UserId) -> None:
    """Take somebody out of the queue; fine if they are not in it."""
    if world.waiting.pop(user, None) is not None:
        world.places_in_queue = None
        world.changes.waiting[user] = None


def set_doors(world: World, doors: Doors) -> None:
    """Set the doors; ``auto`` starts over with the seats that are ready now."""
    world.controls = replace(world.controls, doors=doors, doors_opened=doors is Doors.OPEN)


def broadcast(world: World, event: BroadcastSet) -> None:
    """Tell everybody something; the same again is told again."""
    world.controls = replace(world.controls, broadcast=event.text, broadcast_at=world.now)


def open_doors_when_ready(world: World) -> None:
    """Doors in ``auto`` open at ``ready_seats`` and then stay open."""
    controls = world.controls
    if controls.doors is not Doors.AUTO or controls.doors_opened:
        return
    if world.offers.total + world.tally.assigned >= world.spec.fleet.ready_seats:
        world.controls = replace(controls, doors_opened=True)
        text = f"The doors are open: {are(world.offers.total, 'seat')} ready."
        world.notify(Notify("info", "doors_opened", "", text))


def seat_the_queue(world: World) -> None:
    """Give the seats on offer to those who have waited longest."""
    if not world.doors_open:
        return
    while world.waiting:
        ship_id = world.offers.fullest()
        if ship_id is None:
            return
        user = next(iter(world.waiting))
        ship = world.ships[ship_id]
        seat = next(seat for seat in ship.seats if seat.user is None and seat_ready(world, seat))
        leave_queue(world, user)
        assign(world, user, ship, seat)
        count(world, ship)


def assign(world: World, user: UserId, ship: Ship, seat: Seat) -> None:
    """Make a seat an attendee's and bind what is warm on it."""
    epoch = world.epochs.get(user, 0) + 1
    world.epochs[user] = epoch
    world.assignments[user] = Assignment(user, ship.id, seat.index, epoch)
    world.changes.assignments[user] = None
    world.changes.users[user] = None
    seat.user = user
    seat.epoch = epoch
    bind(world, ship, seat)


def release(world: World, user: UserId, *, keep_work: bool = False) -> None:
    """Take an attendee's seat back, and destroy what was bound, or have its ship keep it (``keep_work``)."""
    found = world.seat_of(user)
    if found is None:
        return
    ship, seat = found
    epoch = seat.epoch
    world.leaving.pop(user, None)
    world.deadlines.clear(("leaving", user))
    del world.assignments[user]
    world.changes.assignments[user] = None
    world.changes.users[user] = None
    seat.user, seat.leaving = None, False
    seat.epoch = 0
    for workspace in list(seat.workspaces.values()):
        take(world, user, workspace)
        if workspace.state in HOLDS_FILES:
            left(world, ship, user, workspace)
        if keep_work and workspace.state in HOLDS_FILES:
            keep(world, ship, workspace, user, epoch)
        else:
            drain(world, ship, workspace)
    world.touch(ship)


def move_everybody(world: World, ship: Ship, *, keep_work: bool = False) -> None:
    """Release every seat of a ship; whoever is logged in goes to the head of the queue, in the order of the seats."""
    users = [seat.user for seat in ship.seats if seat.user is not None]
    for user in reversed(users):
        release(world, user, keep_work=keep_work)
        if user in world.sessions_of:
            enqueue(world, user, first=True)


def request_project(world: World, user: UserId, project: ProjectName) -> None:
    """An attendee opened a project: one that starts on use is started."""
    found = world.seat_of(user)
    spec = world.projects.get(project)
    if found is None or spec is None:
        return
    ship, seat = found
    if project not in seat.workspaces and not ship.gone and user not in world.leaving:
        prepare(world, ship, seat, spec)
