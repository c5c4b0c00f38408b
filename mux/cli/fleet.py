"""Commands about the room: status, doors, the fleet, single ships, seats."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from mux.cli.client import Api, segment
from mux.cli.errors import CliError, NotRunningError, UsageError
from mux.cli.options import JsonOption, YesOption, api_of
from mux.cli.output import clock_time, confirmed, on_terminal, say, say_json, say_painted, say_table

WATCH_S = 2.0
"""Between two looks of ``--watch``."""
NOTICES_SHOWN = 10
"""Of the latest notices; the admin API has more."""
FAILURE_LINES = 8
"""Last lines shown of a failed workspace's log."""

SEVERITY_COLOURS = {"warning": "yellow", "error": "red"}

fleet = typer.Typer(name="fleet", help="All ships at once.", rich_markup_mode=None)
ship = typer.Typer(name="ship", help="One ship.", rich_markup_mode=None)
seat = typer.Typer(name="seat", help="Attendees' seats.", rich_markup_mode=None)

ShipArgument = Annotated[str, typer.Argument(metavar="SHIP", help="Its id, e.g. ship-0001.")]


class DoorsWord(StrEnum):
    """What doors can be set to."""

    OPEN = "open"
    CLOSE = "close"
    AUTO = "auto"


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    app.command("status")(status)
    app.command("doors")(doors)
    app.command("broadcast", short_help="Tell everybody something.")(broadcast)
    app.add_typer(fleet)
    app.add_typer(ship)
    app.add_typer(seat)


def status(
    ctx: typer.Context,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Show the room at a glance."""
    api = api_of(ctx)
    if not watch:
        _show_status(api.get("/status"), as_json=as_json, compact=False)
        return
    try:
        while True:
            _look(api, as_json=as_json)
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        say()


def _look(api: Api, *, as_json: bool) -> None:
    """One look of ``--watch``: a mux that is away for a moment is waited for."""
    try:
        found = api.get("/status")
    except NotRunningError as error:
        if as_json:
            say_json({"error": error.message}, compact=True)
        else:
            say_painted(error.message, "red")
    else:
        if on_terminal() and not as_json:
            sys.stdout.write("\x1b[H\x1b[2J")
        _show_status(found, as_json=as_json, compact=True)
        if not as_json and not on_terminal():
            say()
    sys.stdout.flush()


def _show_status(found: dict[str, Any], *, as_json: bool, compact: bool) -> None:
    if as_json:
        say_json(found, compact=compact)
        return
    doors_now = "open" if found["doors_open"] else "closed"
    say(f"event     {found['event']}")
    say(f"doors     {doors_now} (set to {found['doors']})")
    say(
        f"seats     {found['seats_assigned']} assigned, {found['seats_ready']} ready, {found['seats_total']} in all, "
        f"{found['seats_wanted']} wanted"
    )
    say(f"people    {found['sessions']} logged in, {found['waiting']} waiting")
    ships = ", ".join(f"{count} {state}" for state, count in found["ships_by_state"].items() if count) or "none"
    say(f"ships     {ships}")
    # A mux that runs on from before an upgrade does not say this, nor the next.
    if behind := found.get("homes_behind"):
        say(f"snapshots {behind} behind, by {found['snapshot_lag_s']:.1f} s at most")
    if found.get("trouble"):
        say_painted(f"stuck: {found['trouble']}; what is shown here is not in force before that", "red")
    if not found["launching"]:
        say_painted(f"launching stopped: {found['launching_text']}", "yellow")
    elif found["launching_text"]:
        say_painted(f"launching {found['launching_text']}", "yellow")
    for project, reason in found["projects_broken"].items():
        say_painted(f"project {project} is broken: {reason}", "red")
    for project, allowed in found["opt_ins"].items():
        say_painted(f"project {project} may beyond the rule: {', '.join(allowed)}", "yellow")
    _show_ships(found["ships"])
    notices = found["notices"][:NOTICES_SHOWN]
    if notices:
        say()
    for notice in notices:
        line = f"{clock_time(notice['at'])}  {notice['severity']:<7}  {notice['subject']}  {notice['text']}"
        colour = SEVERITY_COLOURS.get(notice["severity"])
        if colour:
            say_painted(line, colour)
        else:
            say(line)


def _show_ships(ships: list[dict[str, Any]]) -> None:
    if not ships:
        return
    say()
    say_table(
        ["ship", "state", "link", "seats", "ready", "conditions", "doing"],
        [
            [
                one["id"],
                one["state"],
                "up" if one["linked"] else "down",
                f"{sum(s['user'] is not None for s in one['seats'])}/{len(one['seats'])}",
                sum(s["ready"] and s["user"] is None for s in one["seats"]),
                ", ".join(one["conditions"]) or "-",
                one["phase"] or "-",
            ]
            for one in ships
        ],
    )


def doors(
    ctx: typer.Context,
    state: Annotated[DoorsWord, typer.Argument(help="open, close, or auto: open once enough seats are ready.")],
    as_json: JsonOption = False,
) -> None:
    """Open or close the doors to newcomers."""
    word = {"open": "open", "close": "closed", "auto": "auto"}[state.value]
    _report(api_of(ctx).post("/doors", {"doors": word}), as_json=as_json)


def broadcast(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="Shown as it is, on one line or several.")] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Take it back.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell everybody something, on their pages and in their notebooks."""
    if bool(text.strip()) == clear:
        raise UsageError('say what: `mux broadcast "Lunch is ready"`, or take it back: `mux broadcast --clear`')
    _report(api_of(ctx).post("/broadcast", {"text": text}), as_json=as_json)


@fleet.command("status")
def fleet_status(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Show every ship, with what failed on it."""
    found = api_of(ctx).get("/status")
    if as_json:
        say_json({"ships": found["ships"]})
        return
    if not found["ships"]:
        say("There are no ships.")
    _show_ships(found["ships"])
    for one in found["ships"]:
        for place in one["seats"]:
            for project, reason in place["failures"].items():
                say()
                say_painted(f"{one['id']}, seat {place['index']}, project {project} failed:", "red")
                for line in str(reason).splitlines()[-FAILURE_LINES:]:
                    say(f"    {line}")


@fleet.command("drain")
def fleet_drain(
    ctx: typer.Context,
    name: ShipArgument,
    evict: Annotated[bool, typer.Option("--evict", help="Move its attendees now, with all that they saved.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Empty a ship, then end it; the same as `mux ship drain`."""
    ship_drain(ctx, name, evict, yes, as_json)


@fleet.command("park")
def fleet_park(ctx: typer.Context, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Stop every ship and keep the files."""
    if not yes and not confirmed("This stops every workspace; files are kept. Park the fleet?"):
        raise CliError("nothing was changed")
    _report(api_of(ctx).post("/fleet/park"), as_json=as_json)


@fleet.command("unpark")
def fleet_unpark(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Start parked ships again."""
    _report(api_of(ctx).post("/fleet/unpark"), as_json=as_json)


@fleet.command("pause")
def fleet_pause(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Launch, start, park and end nothing until resumed."""
    _report(api_of(ctx).post("/fleet/pause"), as_json=as_json)


@fleet.command("resume")
def fleet_resume(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Go on; earlier failures of launches are forgotten."""
    _report(api_of(ctx).post("/fleet/resume"), as_json=as_json)


@ship.command("cordon")
def ship_cordon(ctx: typer.Context, name: ShipArgument, as_json: JsonOption = False) -> None:
    """Let no new attendees onto a ship."""
    _report(api_of(ctx).post(f"/ships/{segment(name)}/cordon"), as_json=as_json)


@ship.command("uncordon")
def ship_uncordon(ctx: typer.Context, name: ShipArgument, as_json: JsonOption = False) -> None:
    """Let new attendees onto a ship again."""
    _report(api_of(ctx).post(f"/ships/{segment(name)}/uncordon"), as_json=as_json)


@ship.command("drain")
def ship_drain(
    ctx: typer.Context,
    name: ShipArgument,
    evict: Annotated[bool, typer.Option("--evict", help="Move its attendees now, with all that they saved.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Empty a ship, then end it."""
    if evict and not yes and not confirmed(f"This moves everybody on {name} now. Drain it?"):
        raise CliError("nothing was changed")
    _report(api_of(ctx).post(f"/ships/{segment(name)}/drain", {"evict": evict}), as_json=as_json)


@ship.command("lost")
def ship_lost(ctx: typer.Context, name: ShipArgument, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Give a ship up for lost: its attendees get seats elsewhere."""
    if not yes and not confirmed(f"Attendees on {name} lose what is not in a snapshot. Give it up?"):
        raise CliError("nothing was changed")
    _report(api_of(ctx).post(f"/ships/{segment(name)}/lost"), as_json=as_json)


@ship.command("release")
def ship_release(ctx: typer.Context, name: ShipArgument, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Let go of the work that a lost ship keeps; it takes attendees again."""
    if not yes and not confirmed(f"This destroys what {name} keeps of attendees who were moved away. Release it?"):
        raise CliError("nothing was changed")
    _report(api_of(ctx).post(f"/ships/{segment(name)}/release"), as_json=as_json)


@seat.command("release")
def seat_release(
    ctx: typer.Context,
    who: Annotated[str, typer.Argument(metavar="WHO", help="Name, e-mail address or id.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take an attendee's seat back; what was bound there is destroyed."""
    if not yes and not confirmed(f"This destroys the workspaces and files of {who}. Release the seat?"):
        raise CliError("nothing was changed")
    _report(api_of(ctx).post("/seats/release", {"user": who}), as_json=as_json)


def _report(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(answer)
    else:
        say(str(answer["text"]))
