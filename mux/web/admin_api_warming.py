"""Handlers of the admin API for warming: how many seats, by when, at what cost.

What would be launched and what it costs is shown before it is done; beyond the spend limit it takes the organizer's
word.
"""

from __future__ import annotations

from datetime import datetime
from math import ceil
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from mux.core.events import FleetCooled, FleetWarmed, ShipReplaced, SpendAllowed
from mux.core.plural import are, counted
from mux.core.spend import money
from mux.core.warming_views import Forecast
from mux.web.admin_api_deps import AdminDeps
from mux.web.admin_api_endpoint import ApiError, Call
from mux.web.admin_api_fleet import known_ship
from mux.web.api_models import Done
from mux.web.api_models_warming import ReasonOut, SpendIn, SpendOut, WarmIn, Warming, WarmPlan
from mux.web.local_time import DATE_TIME, NoMomentError, moment


async def warming(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - every handler has the same shape
    """How warming goes on."""
    now = deps.clock()
    view = deps.engine.warming(now)
    return Warming(
        now=now,
        seats=view.seats,
        ready=view.ready,
        by=view.by,
        begins_at=view.begins_at,
        expected_at=view.expected_at,
        phase=view.phase,
        held=view.held,
        launching=view.launching,
        launching_text=view.launching_text,
        stalled=view.stalled,
        ships_by_state=dict(view.ships_by_state),
        reasons=[ReasonOut(reason=reason, count=count) for reason, count in view.reasons],
        spend=SpendOut.model_validate(view.spend),
    )


async def plan(deps: AdminDeps, call: Call) -> BaseModel:
    """What warming would take and cost."""
    body, now = call.expect(WarmIn), deps.clock()
    by = due(body.by, now, deps.time_zone())
    return _plan(deps.engine.forecast(now, body.seats, by), by, deps.time_zone())


async def warm(deps: AdminDeps, call: Call) -> BaseModel:
    """Have that many seats ready."""
    body, now = call.expect(WarmIn), deps.clock()
    by = due(body.by, now, deps.time_zone())
    found = deps.engine.forecast(now, body.seats, by)
    most = found.spend.limit if body.spend_limit is None else body.spend_limit
    if most is not None and found.launches + found.starts and found.event > most + 1e-6:
        cost, shown = (money(amount, found.spend.currency) for amount in (found.event, most))
        raise ApiError(
            409,
            "spend_limit",
            f"{counted(found.seats, 'seat')} would make the event cost about {cost}, beyond the limit of {shown}; say "
            f"--spend-limit {ceil(found.event)} to allow that, or ask for fewer seats",
        )
    await deps.engine.submit(FleetWarmed(found.seats, by, body.spend_limit))
    return _plan(found, by, deps.time_zone())


async def cool(deps: AdminDeps, call: Call) -> BaseModel:  # noqa: ARG001 - as above
    """Let free ships go."""
    await deps.engine.submit(FleetCooled())
    if held := deps.engine.warming(deps.clock()).held:
        return Done(text=f"Free ships are let go as soon as that is over: {held}.")
    return Done(text="Free ships are let go; whoever has a seat keeps it. `mux fleet warm` launches ships again.")


async def allow(deps: AdminDeps, call: Call) -> BaseModel:
    """The organizers' word on money."""
    limit = call.expect(SpendIn).limit
    await deps.engine.submit(SpendAllowed(limit))
    shown = money(limit, deps.engine.warming(deps.clock()).spend.currency)
    return Done(text=f"The event may cost {shown} in all; another limit in the event file replaces that.")


async def replace(deps: AdminDeps, call: Call) -> BaseModel:
    """Another ship in place of this one."""
    ship = known_ship(deps, call)
    await deps.engine.submit(ShipReplaced(ship))
    return Done(
        text=f"{ship} is being replaced: its attendees move once there are seats for all of them. What it cannot bring "
        f"of their work it keeps until `mux ship release {ship}`."
    )


def due(written: str, now: float, zone: str) -> float:
    """A time of the event's zone in seconds since the epoch; 0 for none. Raises ApiError."""
    if not written:
        return 0.0
    try:
        return moment(written, now, zone)
    except NoMomentError as error:
        code = "by_past" if error.code == "past" else "by_invalid"
        raise ApiError(422, code, f"`by`: {error}; leave it away to warm at once") from None


def _plan(found: Forecast, by: float, zone: str) -> WarmPlan:
    return WarmPlan(
        seats=found.seats,
        ready=found.ready,
        launches=found.launches,
        starts=found.starts,
        by=by or None,
        begins_at=found.begins_at,
        expected_at=found.expected_at,
        boot_s=found.boot_s,
        measured=found.measured,
        per_hour=found.per_hour,
        event=found.event,
        beyond_limit=found.beyond_limit,
        spend=SpendOut.model_validate(found.spend),
        text=_text(found, by, zone),
    )


def _text(found: Forecast, by: float, zone: str) -> str:
    parts = [
        f"{counted(count, 'ship')} to {verb}"
        for count, verb in ((found.launches, "launch"), (found.starts, "start"))
        if count
    ]
    needed = " and ".join(parts) or "no more ships are needed"
    text = f"{counted(found.seats, 'seat')}: {needed}; {are(found.ready)} ready."
    if parts and found.spend.known:
        event, hour = money(found.event, found.spend.currency), money(found.per_hour, found.spend.currency)
        text += f" About {hour} an hour, about {event} for the event."
    elif parts:
        text += " What that costs is not known: the event file has no spend.price_per_ship_hour."
    if by:
        begins = datetime.fromtimestamp(found.begins_at, ZoneInfo(zone)).strftime(DATE_TIME)
        text += f" Warming begins at {begins}."
    if parts and by and found.expected_at > by:
        how = "as measured" if found.measured else "by its deadline, since none has been measured yet"
        late = max(1, round((found.expected_at - by) / 60))
        text += f" That will be about {counted(late, 'minute')} late: a ship takes {found.boot_s:.0f} s ({how})."
    return text
