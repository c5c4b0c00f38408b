"""Commands that warm and cool the fleet, and what they cost; with progress to watch.

Rules: what would be launched and what it costs is shown before it is done, and takes a person's yes or ``--yes``. What
is watched goes on without the one who watches: Ctrl-C ends the watching only, and says so.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Annotated, Any

import typer

from mux.cli.client import Api, segment
from mux.cli.errors import EXIT_INTERRUPTED, CliError, NotRunningError
from mux.cli.options import JsonOption, YesOption, api_of
from mux.cli.output import confirmed, on_terminal, plain, say, say_json, say_painted, terminal
from mux.core.plural import are

LOOK_S = 1.0
"""Between two looks at warming."""
AWAY_S = 120.0
"""How long a mux that does not answer is waited for while watching: it restarts within seconds."""
REASONS_SHOWN = 5
"""Groups of reasons under the bars; `mux fleet status` has every ship."""
BAR_CHARS = 40
ORDER = ("available", "running", "starting", "pulling", "installing", "booting", "pending", "ready", "failed", "parked")
"""States and stages in the order of the bars; others follow."""

spend = typer.Typer(name="spend", help="What the event costs.", rich_markup_mode=None)

WatchOption = Annotated[
    bool,
    typer.Option("--watch/--no-watch", help="Show progress until the seats are ready."),
]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def warm(  # noqa: PLR0917 - typer makes options of arguments
    ctx: typer.Context,
    seats: Annotated[
        int | None, typer.Argument(metavar="[SEATS]", min=0, help="As the event file says if left out.")
    ] = None,
    by: Annotated[str, typer.Option("--by", help="When they should be ready, e.g. 08:45; mux begins in time.")] = "",
    watch: WatchOption = True,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Watch for so many seconds at most, then end with 1; 0: for ever.")
    ] = 0.0,
    spend_limit: Annotated[
        float | None, typer.Option("--spend-limit", min=0, help="Your word on what the event may cost in all.")
    ] = None,
    yes: YesOption = False,
    as_json: JsonLinesOption = False,
) -> None:
    """Have that many seats ready, and watch them become so."""
    api = api_of(ctx)
    body = {"seats": seats, "by": by, "spend_limit": spend_limit}
    plan = api.post("/fleet/warm/plan", body)
    _show_plan(plan, as_json=as_json)
    if not yes and plan["launches"] + plan["starts"] and not confirmed("Launch them?"):
        raise CliError("nothing was changed")
    api.post("/fleet/warm", {**body, "seats": plan["seats"]})
    if not watch:
        if not as_json:
            say(f"{are(plan['seats'], 'seat')} wanted now; `mux status` shows how many are ready.")
        return
    try:
        _watch(api, timeout_s=timeout, as_json=as_json)
    except KeyboardInterrupt:
        said = "warming goes on; `mux status` shows it, `mux fleet cool` takes it back"
        raise CliError(said, code=EXIT_INTERRUPTED) from None


def _show_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json({"plan": plan}, compact=True)
    elif plan["beyond_limit"]:
        say_painted(str(plan["text"]), "yellow")
    else:
        say(str(plan["text"]))


def _watch(api: Api, *, timeout_s: float, as_json: bool) -> None:
    """Look until the seats are ready. Raises CliError when they will not be."""
    ends_at = time.monotonic() + timeout_s if timeout_s else float("inf")
    answered_at, last = time.monotonic(), ""
    with _screen(as_json=as_json) as screen:
        while True:
            try:
                found = api.get("/fleet/warming")
                answered_at = time.monotonic()
            except NotRunningError:
                if time.monotonic() - answered_at > AWAY_S:
                    raise
            else:
                if as_json:
                    say_json(found, compact=True)
                elif screen is not None:
                    screen.update(_bars(found))
                elif (line := summary(found)) != last:
                    say(line)
                    last = line
                if found["ready"] >= found["seats"] and not found["held"]:
                    break
                _give_up(found)
            if time.monotonic() > ends_at:
                raise CliError(f"the seats are not ready after {timeout_s:g} seconds; warming goes on")
            time.sleep(LOOK_S)
    if not as_json:
        say_painted(f"{are(found['ready'], 'seat')} ready.", "green")


def _give_up(found: dict[str, Any]) -> None:
    """Raise CliError where nothing more is to be expected without a person."""
    if found["held"] and found["begins_at"] is None:
        raise CliError(f"{found['held']}; `mux fleet resume`, then warm again")
    if not found["launching"]:
        raise CliError(f"{found['launching_text']} Mend it, then `mux fleet resume`")
    if found["stalled"]:
        raise CliError(f"warming has stalled at {found['ready']} of {found['seats']} seats: {_reasons(found)}")


def _reasons(found: dict[str, Any]) -> str:
    told = [f"{one['count']} × {one['reason']}" for one in found["reasons"][:REASONS_SHOWN]]
    return "; ".join(told) or "no ship is on its way"


def summary(found: dict[str, Any]) -> str:
    """Progress in one line."""
    states = ", ".join(f"{count} {state}" for state, count in _ordered(found["ships_by_state"]))
    return f"{found['ready']} of {found['seats']} seats ready{_expected(found)}; ships: {states or 'none'}"


def _expected(found: dict[str, Any]) -> str:
    if found["begins_at"] is not None:
        return f", begins at {datetime.fromtimestamp(found['begins_at']).astimezone():%H:%M}"
    minutes = round((found["expected_at"] - found["now"]) / 60)
    late = found["by"] is not None and found["expected_at"] > found["by"]
    return f", about {max(1, minutes)} min left{' (late)' if late else ''}" if found["ready"] < found["seats"] else ""


def _ordered(states: dict[str, int]) -> list[tuple[str, int]]:
    rank = {state: place for place, state in enumerate(ORDER)}
    return sorted(states.items(), key=lambda item: (rank.get(item[0], len(rank)), item[0]))


def _screen(*, as_json: bool) -> AbstractContextManager[Any]:
    """A live display on a terminal, else None."""
    if as_json or not on_terminal():
        return nullcontext(None)
    from rich.live import Live  # noqa: PLC0415 - only terminals need it

    return Live(console=terminal(), refresh_per_second=4)


def _bars(found: dict[str, Any]) -> Any:
    """What a terminal shows: a bar of seats, a bar for each state of ships, and why seats are missing."""
    from rich.console import Group  # noqa: PLC0415 - only terminals need it
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    ships = sum(found["ships_by_state"].values())
    table = Table.grid(padding=(0, 2))
    rows = [("seats", found["ready"], found["seats"])]
    rows += [(state, count, ships) for state, count in _ordered(found["ships_by_state"])]
    for name, count, total in rows:
        bar = ProgressBar(total=max(1, total), completed=min(count, total), width=BAR_CHARS)
        table.add_row(Text(plain(name)), bar, Text(f"{count} of {total}"))
    lines = [Text(summary(found))]
    lines += [Text(f"  {one['count']:>4} × {plain(one['reason'])}") for one in found["reasons"][:REASONS_SHOWN]]
    return Group(table, *lines)


def cool(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Let free ships go; whoever has a seat keeps it."""
    _report(api_of(ctx).post("/fleet/cool"), as_json=as_json)


def replace(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="SHIP", help="Its id, e.g. ship-0001.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put another ship in a ship's place; attendees move once there are seats for them."""
    question = f"Attendees on {name} move to other ships, with all that they saved. Replace it?"
    if not yes and not confirmed(question):
        raise CliError("nothing was changed")
    _report(api_of(ctx).post(f"/ships/{segment(name)}/replace"), as_json=as_json)


@spend.command("allow")
def spend_allow(
    ctx: typer.Context,
    amount: Annotated[float, typer.Argument(metavar="AMOUNT", help="In the event file's currency.")],
    as_json: JsonOption = False,
) -> None:
    """Allow the event to cost so much in all, whatever the event file's limit is."""
    _report(api_of(ctx).post("/spend", {"limit": amount}), as_json=as_json)


@spend.command("status")
def spend_status(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Show what the event has cost, and what it will."""
    found = api_of(ctx).get("/fleet/warming")["spend"]
    if as_json:
        say_json(found)
        return
    if not found["known"]:
        say("The event file has no spend.price_per_ship_hour: costs are not known.")
    currency = found["currency"]
    limit = "none" if found["limit"] is None else f"{found['limit']:.2f} {currency}"
    say(f"spent     {found['spent']:.2f} {currency} for {found['ship_hours']:.1f} hours of ships")
    say(f"per hour  {found['per_hour']:.2f} {currency}")
    say(f"event     {found['event']:.2f} {currency} (estimate)")
    say(f"limit     {limit}")


def _report(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(answer)
    else:
        say(str(answer["text"]))


def register(app: typer.Typer, fleet: typer.Typer, ship: typer.Typer) -> None:
    """Put these commands into the tree: replacing a ship is found under the fleet and under the ship."""
    fleet.command("warm")(warm)
    fleet.command("cool")(cool)
    fleet.command("replace")(replace)
    ship.command("replace")(replace)
    app.add_typer(spend)
