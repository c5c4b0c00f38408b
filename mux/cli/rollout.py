"""Commands that give people another image while they work, and hold, end or take that back.

Rules: what is watched goes on without the one who watches: Ctrl-C ends the watching only, and says so. What a ship says
is shown, never sent to the terminal raw.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer

from mux.cli.client import Api, segment
from mux.cli.errors import EXIT_INTERRUPTED, CliError, NotRunningError
from mux.cli.options import JsonOption, YesOption, api_of
from mux.cli.output import confirmed, on_terminal, say, say_json, say_painted, terminal
from mux.cli.rollout_progress import bars, eta, summary

LOOK_S = 0.5
"""Between two looks at a rollout."""
AWAY_S = 120.0
"""How long a mux that does not answer is waited for while watching: it restarts within seconds."""
FAILURES_SHOWN = 10

rollout = typer.Typer(name="rollout", help="Images on their way to people.", rich_markup_mode=None)

ProjectArgument = Annotated[
    str | None, typer.Argument(metavar="[PROJECT]", help="May be left out while there is one rollout.")
]


def push(  # noqa: PLR0917 - typer makes options of arguments
    ctx: typer.Context,
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="As the event file calls it.")],
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A container image, or a directory.")],
    max_unavailable: Annotated[
        str, typer.Option("--max-unavailable", help="Attendees who may be away at once: 10%, or 5.")
    ] = "",
    when: Annotated[str, typer.Option("--when", help="now, idle, offer, or a time: at 10:30.")] = "now",
    note: Annotated[str, typer.Option("--note", help="What it is for; shown with the rollout and the offer.")] = "",
    ignore_room: Annotated[
        bool, typer.Option("--ignore-room", help="Push also what is estimated not to fit the ships' disks.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Show progress until it has ended.")] = True,
    yes: YesOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Give a project another image while people work with it."""
    question = (
        f"Attendees of {project} get {image} in waves. Files stay; running kernels are started anew and lose what they "
        f"hold in memory. Push it?"
    )
    if not yes and not confirmed(question):
        raise CliError("nothing was changed")
    api = api_of(ctx)
    body = {"image": image, "max_unavailable": max_unavailable, "when": when, "note": note, "ignore_room": ignore_room}
    answer = api.post(f"/rollouts/{segment(project)}", body)
    _report(answer, as_json=as_json)
    if not watch:
        return
    number = _of(api, project)["number"]
    try:
        _watch(api, project, number, as_json=as_json)
    except KeyboardInterrupt:
        said = f"the rollout goes on; `mux rollout status` shows it, `mux rollout pause {project}` holds it"
        raise CliError(said, code=EXIT_INTERRUPTED) from None


def _of(api: Api, project: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = api.get("/rollouts")["rollouts"]
    for each in found:
        if each["project"] == project:
            return each
    raise CliError(f"{project} has no rollout any more: another event file was applied")


def _watch(api: Api, project: str, number: int, *, as_json: bool) -> None:
    """Look until the rollout has ended. Raises CliError unless everybody has the image."""
    answered_at, last = time.monotonic(), ""
    with _screen(as_json=as_json) as screen:
        while True:
            try:
                found = _of(api, project)
                answered_at = time.monotonic()
            except NotRunningError:
                if time.monotonic() - answered_at > AWAY_S:
                    raise
            else:
                if found["number"] != number:
                    raise CliError(f"a later push of {project} has taken over; `mux rollout status` shows it")
                line = summary(found)
                if screen is not None:
                    screen.update(bars(found))
                elif line != last:
                    say_json(found, compact=True) if as_json else say(line)
                    last = line
                if found["phase"] in {"done", "rolled back"}:
                    break
                if found["phase"] in {"stopped", "aborted"}:
                    raise CliError(f"the rollout of {project} has {_ended(found)}", detail=_failures(found))
            time.sleep(LOOK_S)
    if not as_json:
        say_painted(f"{found['swapped']} of {found['bound']} attendees have it.", "green")


def _screen(*, as_json: bool) -> AbstractContextManager[Any]:
    """A live display on a terminal, else None."""
    if as_json or not on_terminal():
        return nullcontext(None)
    from rich.live import Live  # noqa: PLC0415 - only terminals need it

    return Live(console=terminal(), refresh_per_second=4)


def _ended(found: dict[str, Any]) -> str:
    return f"stopped itself: {found['why']}" if found["phase"] == "stopped" else "been aborted"


def _failures(found: dict[str, Any]) -> list[str]:
    return [f"{one['subject']}: {one['why']}" for one in found["failures"][:FAILURES_SHOWN]]


@rollout.command("status")
def status(ctx: typer.Context, project: ProjectArgument = None, as_json: JsonOption = False) -> None:
    """Show how rollouts stand."""
    found = api_of(ctx).get("/rollouts")["rollouts"]
    shown = [each for each in found if project in (None, each["project"])]
    if as_json:
        say_json({"rollouts": shown})
        return
    if not shown:
        say("Nothing was pushed.")
    for each in shown:
        say(summary(each))
        if left := eta(each):
            say(f"  {left}")
        if each["why"]:
            say(f"  {each['why']}")
        for line in _failures(each):
            say(f"  {line}")


@rollout.command("pause")
def pause(ctx: typer.Context, project: ProjectArgument = None, as_json: JsonOption = False) -> None:
    """Touch nobody further, until it is resumed."""
    _steer(ctx, project, "pause", as_json=as_json)


@rollout.command("resume")
def resume(ctx: typer.Context, project: ProjectArgument = None, as_json: JsonOption = False) -> None:
    """Go on with one that was paused, or that stopped itself."""
    _steer(ctx, project, "resume", as_json=as_json)


@rollout.command("abort")
def abort(ctx: typer.Context, project: ProjectArgument = None, as_json: JsonOption = False) -> None:
    """End it where it is: whoever was swapped keeps what runs, everybody else the image before."""
    _steer(ctx, project, "abort", as_json=as_json)


@rollout.command("rollback")
def rollback(
    ctx: typer.Context, project: ProjectArgument = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Put the image before back everywhere."""
    if not yes and not confirmed("Whoever was swapped is swapped back; running kernels are started anew. Go on?"):
        raise CliError("nothing was changed")
    _steer(ctx, project, "rollback", as_json=as_json)


def _steer(ctx: typer.Context, project: str | None, order: str, *, as_json: bool) -> None:
    api = api_of(ctx)
    if project is None:
        names = [each["project"] for each in api.get("/rollouts")["rollouts"]]
        if len(names) != 1:
            told = f"there are {', '.join(names)}: name one" if names else "nothing was pushed"
            raise CliError(told)
        project = names[0]
    _report(api.post(f"/rollouts/{segment(project)}/steer", {"order": order}), as_json=as_json)


def _report(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(answer, compact=True)
    else:
        say(str(answer["text"]))


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    app.command("push")(push)
    app.add_typer(rollout)
