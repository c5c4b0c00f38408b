"""Handlers of the admin API for the room and the fleet: status, notices, doors, ships, seats, metrics.

Each write becomes an event for the core; an id that nobody has is refused before that, with the nearest right one.
"""

from __future__ import annotations

from difflib import get_close_matches

from pydantic import BaseModel

from mux.core.events import (
    BroadcastSet,
    DoorsSet,
    FleetParked,
    FleetUnparked,
    LaunchingSet,
    SeatReleased,
    ShipCordoned,
    ShipDeclaredLost,
    ShipDrained,
    ShipReleased,
)
from mux.core.model import Doors, ShipId, UserId
from mux.core.views import FleetStatus
from mux.web.admin_api_deps import AdminDeps, Reaping
from mux.web.admin_api_endpoint import ApiError, Call, NotFoundError
from mux.web.api_models import (
    BroadcastIn,
    Done,
    DoorsIn,
    DrainIn,
    Health,
    Notice,
    Notices,
    ReapIn,
    ReapOut,
    ResourcesOut,
    SeatOut,
    SeatReleaseIn,
    ShipOut,
    Status,
)
from mux.web.shown_text import shown_lines

QUOTE_CHARS_MAX = 80
"""How much of a caller's own text comes back in a message."""


def quoted(text: str) -> str:
    """A caller's text for a message: bounded, control characters escaped."""
    shown = text if len(text) <= QUOTE_CHARS_MAX else text[: QUOTE_CHARS_MAX - 1] + "…"
    return "“" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown) + "”"


async def health(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - every handler has the same shape
    """The control process answers."""
    return Health(version=deps.version)


async def status(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """The room at a glance."""
    now = deps.clock()
    return status_model(deps.engine.status(now), now)


async def notices(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """The latest notices."""
    return Notices(notices=_notices(deps.engine.status(deps.clock())))


async def metrics(deps: AdminDeps, call: Call) -> str:  # noqa: ARG001 - as above
    """The Prometheus text."""
    return deps.metrics()


async def set_doors(deps: AdminDeps, call: Call) -> BaseModel:
    """Open, close or leave the doors to mux."""
    body = call.expect(DoorsIn)
    doors = Doors(body.doors)
    await deps.engine.submit(DoorsSet(doors))
    texts = {
        Doors.OPEN: "Doors are open: newcomers get seats as they become ready.",
        Doors.CLOSED: "Doors are closed: newcomers wait; whoever has a seat keeps it.",
        Doors.AUTO: "Doors open by themselves once the ready seats are there, and then stay open.",
    }
    return Done(text=texts[doors])


async def broadcast(deps: AdminDeps, call: Call) -> BaseModel:
    """Tell everybody something, on their pages and in their notebooks."""
    text = shown_lines(call.expect(BroadcastIn).text)
    if text is None:
        raise ApiError(422, "text_invalid", "the text has characters that cannot be shown; write it anew")
    await deps.engine.submit(BroadcastSet(text))
    if not text:
        return Done(text="Nobody is told anything any more.")
    return Done(text="Everybody is told, on `/camp/` and in notebooks; `mux broadcast --clear` takes it back.")


async def park(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Stop every ship, keeping the files."""
    await deps.engine.submit(FleetParked())
    return Done(text="Ships are being parked: workspaces stop, files are kept.")


async def unpark(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Start parked ships again."""
    await deps.engine.submit(FleetUnparked())
    return Done(text="Parked ships are being started.")


async def pause(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """The reconciler's stop switch."""
    await deps.engine.submit(LaunchingSet(enabled=False))
    return Done(text="mux launches, starts, parks and ends nothing until `mux fleet resume`.")


async def resume(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Launch again; earlier failures are forgotten."""
    await deps.engine.submit(LaunchingSet(enabled=True))
    return Done(text="mux launches ships as needed; earlier failures are forgotten.")


async def reap(deps: AdminDeps, call: Call) -> BaseModel:
    """End everything that bears the event's marks; returns while that is under way."""
    return _reaping(await deps.reaper.begin(foreign=call.expect(ReapIn).foreign))


async def reaping(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """How that stands."""
    return _reaping(deps.reaper.state())


def _reaping(found: Reaping) -> ReapOut:
    return ReapOut(
        running=found.running,
        machines=found.machines,
        things=found.things,
        foreign=found.foreign,
        error=found.error,
    )


async def cordon(deps: AdminDeps, call: Call) -> BaseModel:
    """No new attendees on this ship."""
    ship = known_ship(deps, call)
    await deps.engine.submit(ShipCordoned(ship, cordoned=True))
    return Done(text=f"{ship} takes no new attendees.")


async def uncordon(deps: AdminDeps, call: Call) -> BaseModel:
    """New attendees again."""
    ship = known_ship(deps, call)
    await deps.engine.submit(ShipCordoned(ship, cordoned=False))
    return Done(text=f"{ship} takes new attendees.")


async def drain(deps: AdminDeps, call: Call) -> BaseModel:
    """Empty a ship, then end it."""
    ship, evict = known_ship(deps, call), call.expect(DrainIn).evict
    await deps.engine.submit(ShipDrained(ship, evict=evict))
    how = "its attendees are being moved" if evict else "its attendees keep their seats until they are released"
    return Done(text=f"{ship} is draining: {how}.")


async def lost(deps: AdminDeps, call: Call) -> BaseModel:
    """Give a ship up."""
    ship = known_ship(deps, call)
    await deps.engine.submit(ShipDeclaredLost(ship))
    return Done(text=f"{ship} is given up for lost: its attendees get seats elsewhere.")


async def release_ship(deps: AdminDeps, call: Call) -> BaseModel:
    """Let go of what a ship keeps."""
    ship = known_ship(deps, call)
    if not any(each.id == ship and each.kept_of for each in deps.engine.status(deps.clock()).ships):
        raise NotFoundError("nothing_kept", f"{ship} keeps nobody's work; there is nothing to let go of")
    await deps.engine.submit(ShipReleased(ship))
    return Done(text=f"{ship} lets go of what it kept, and takes attendees again; one that has not come back is ended.")


async def release_seat(deps: AdminDeps, call: Call) -> BaseModel:
    """Take an attendee's seat back."""
    who = call.expect(SeatReleaseIn).user
    entry = await deps.store.user(UserId(who)) or await deps.store.find_user(who)
    seats = {
        seat.user: (ship.id, seat.index)
        for ship in deps.engine.status(deps.clock()).ships
        for seat in ship.seats
        if seat.user is not None
    }
    user = entry.id if entry is not None else UserId(who)
    if entry is None and user not in seats:
        raise NotFoundError("user_unknown", f"nobody is called {quoted(who)}; `mux roster list` shows who is there")
    if user not in seats:
        raise NotFoundError("no_seat", f"{quoted(entry.name if entry is not None else who)} has no seat")
    await deps.engine.submit(SeatReleased(user))
    ship, index = seats[user]
    name = quoted(entry.name) if entry is not None else "the attendee"
    return Done(text=f"Seat {index} on {ship} is taken back from {name}; what was bound there is destroyed.")


def status_model(view: FleetStatus, now: float) -> Status:
    """The core's view as the API shows it."""
    return Status(
        now=now,
        event=view.event,
        doors=view.doors.value,
        doors_open=view.doors_open,
        launching=view.launching,
        launching_text=view.launching_text,
        trouble=view.trouble,
        seats_wanted=view.seats_wanted,
        seats_total=view.seats_total,
        seats_ready=view.seats_ready,
        seats_assigned=view.seats_assigned,
        waiting=view.waiting,
        sessions=view.sessions,
        snapshot_lag_s=view.snapshot_lag_s,
        homes_behind=view.homes_behind,
        ships_by_state={state.value: count for state, count in view.ships_by_state.items()},
        projects_broken={str(name): reason for name, reason in view.projects_broken.items()},
        opt_ins={str(name): list(allowed) for name, allowed in view.opt_ins.items()},
        ships=[
            ShipOut(
                id=ship.id,
                state=ship.state.value,
                boot=ship.boot,
                linked=ship.linked,
                conditions=list(ship.conditions),
                phase=ship.phase,
                generation=ship.generation,
                generation_reached=ship.generation_reached,
                last_seen_s=ship.last_seen_s,
                resources=ResourcesOut.model_validate(ship.resources),
                limits=list(ship.limits),
                limits_missing=list(ship.limits_missing),
                kept_of=list(ship.kept_of),
                seats=[
                    SeatOut(
                        index=seat.index,
                        user=seat.user,
                        ready=seat.ready,
                        workspaces={str(name): state for name, state in seat.workspaces.items()},
                        failures={str(name): reason for name, reason in seat.failures.items()},
                        snapshot_lag_s={str(name): lag for name, lag in seat.snapshot_lag_s.items()},
                    )
                    for seat in ship.seats
                ],
            )
            for ship in view.ships
        ],
        notices=_notices(view),
    )


def _notices(view: FleetStatus) -> list[Notice]:
    return [
        Notice.model_validate({"at": at, "severity": severity, "subject": subject, "text": text})
        for at, severity, subject, text in view.notices
    ]


def known_ship(deps: AdminDeps, call: Call) -> ShipId:
    """The ship that the path names. Raises NotFoundError."""
    wanted = call.path["ship"]
    known = {ship.id for ship in deps.engine.status(deps.clock()).ships}
    if wanted in known:
        return ShipId(wanted)
    nearest = get_close_matches(wanted[:QUOTE_CHARS_MAX], known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "`mux fleet status` shows the ships"
    raise NotFoundError("ship_unknown", f"there is no ship {quoted(wanted)}; {hint}")
