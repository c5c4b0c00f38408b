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
from mux.core.plural import counted

LOOK_S = 0.5
"""Between two looks at a rollout."""
AWAY_S = 120.0
"""How long a mux that does not answer is waited for while watching: it restarts within seconds."""
AWAY = "mux does not answer; it is waited for"
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
    api = api_of(ctx)
    path = f"/rollouts/{segment(project)}"
    body = {"image": image, "max_unavailable": max_unavailable, "when": when, "note": note, "ignore_room": ignore_room}
    if not yes and not confirmed(_question(project, image, api.post(f"{path}/plan", body))):
        raise CliError("nothing was changed")
    try:
        answer = api.post(path, body)
    except KeyboardInterrupt:
        said = "interrupted: the push may have been taken in, or not; `mux rollout status` shows it"
        raise CliError(said, code=EXIT_INTERRUPTED) from None
    _report(answer, as_json=as_json)
    if not watch:
        return
    goes_on = f"the rollout goes on; `mux rollout status` shows it, `mux rollout pause {project}` holds it"
    try:
        _watch(api, project, answer["number"], as_json=as_json)
    except KeyboardInterrupt:
        raise CliError(goes_on, code=EXIT_INTERRUPTED) from None
    except _UnseenError as unseen:
        raise CliError(f"it cannot be watched: {unseen.why.message}; {goes_on}", code=unseen.why.code) from None


def _question(project: str, image: str, plan: dict[str, Any]) -> str:
    begins = f" from {plan['not_before_text']} on" if plan["not_before_text"] else ""
    return (
        f"{counted(plan['attendees'], 'attendee')} of {project}, and all who come, get {image} in waves{begins}. Files "
        f"stay; running kernels are started anew and lose what they hold in memory. Push it?"
    )


class _UnseenError(Exception):
    """How a rollout goes on cannot be seen from here, and why; the rollout does not care."""

    def __init__(self, why: CliError) -> None:
        super().__init__(why.message)
        self.why = why


def _rollouts(api: Api) -> dict[str, dict[str, Any]] | None:
    """Every project's rollout; None while nobody answers. Raises _UnseenError."""
    try:
        return {each["project"]: each for each in api.get("/rollouts")["rollouts"]}
    except NotRunningError:
        return None
    except CliError as error:
        raise _UnseenError(error) from None


def _watch(api: Api, project: str, number: int, *, as_json: bool) -> None:
    """Look until the rollout has ended. Raises CliError unless everybody has the image; _UnseenError."""
    answered_at, last = time.monotonic(), ""
    with _screen(as_json=as_json) as screen:
        while True:
            rollouts = _rollouts(api)
            if rollouts is None:
                if time.monotonic() - answered_at > AWAY_S:
                    raise _UnseenError(NotRunningError(f"mux has not answered for {AWAY_S:.0f} seconds"))
                if screen is not None:
                    screen.update(AWAY)
            else:
                answered_at = time.monotonic()
                found = _still(rollouts.get(project), project, number)
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


def _still(found: dict[str, Any] | None, project: str, number: int) -> dict[str, Any]:
    """The rollout that is watched. Raises CliError when another one, or none, is there in its place."""
    if found is None:
        raise CliError(f"{project} has no rollout any more: another event file was applied")
    if found["number"] != number:
        other = "an organizer has rolled it back" if found["rollback"] else f"a later push of {project} has taken over"
        raise CliError(f"{other}; `mux rollout status` shows how far that is")
    return found


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
        say(f"Nothing was pushed for {project}." if project else "Nothing was pushed.")
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
