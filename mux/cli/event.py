"""Commands about the event file: write a first one, check one, apply one.

`init` and `config check` work without a mux. `apply` shows the difference first and changes nothing without a yes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mux.cli.client import CONFIG_DEFAULT
from mux.cli.errors import CliError
from mux.cli.options import JsonOption, YesOption, api_of, place_of
from mux.cli.output import confirmed, say, say_json, say_painted, say_table, warn
from mux.core.plural import counted

if TYPE_CHECKING:
    from mux.config import ConfigError

config = typer.Typer(name="config", help="The event file, without a running mux.", rich_markup_mode=None)

FileArgument = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The event file. Default: --config.")]


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    app.command("init")(init)
    app.command("apply")(apply)
    app.add_typer(config)


def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write. Default: here.")] = Path(),
) -> None:
    """Write a commented event file and a first project."""
    from mux.config import starter_files  # noqa: PLC0415 - only this command needs it

    files = {directory / path: text for path, text in starter_files().items()}
    there = [path for path in files if path.exists() or path.is_symlink()]
    if there:
        raise CliError(f"{there[0]} exists already; nothing was written")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            say(f"wrote {path}")
    except OSError as error:
        raise CliError(f"{error.filename or directory}: {error.strerror}") from error
    say(f"Next: edit {directory / CONFIG_DEFAULT}, check it with `mux config check`, then `mux serve`.")


@config.command("check")
def check(ctx: typer.Context, file: FileArgument = None) -> None:
    """Check an event file and the files that it names; every fault is shown."""
    from mux.cli import CLI_VARIABLES  # noqa: PLC0415 - as below
    from mux.config import ConfigError, load, read_secrets, unknown_variables  # noqa: PLC0415 - only this command needs it

    path = file or place_of(ctx).config_path
    for variable in unknown_variables(os.environ, CLI_VARIABLES):
        warn(f"warning: {variable}")
    try:
        found = load(path, os.environ)
        read_secrets(found, path.parent)
    except ConfigError as error:
        raise _refused(path, error) from error
    say(
        f"{path} is fine: {counted(len(found.projects), 'project')}, "
        f"{counted(found.fleet.seats_wanted, 'seat')} on {counted(found.fleet.ships_wanted, 'ship')}."
    )


def apply(ctx: typer.Context, file: FileArgument = None, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Show what an event file changes, then put it in force."""
    api = api_of(ctx)
    body = _event_body(file or place_of(ctx).config_path)
    plan = api.post("/event/plan", body)
    if not as_json:
        _show_plan(plan)
    if not plan["changes"]:
        if as_json:
            say_json({"applied": False, "changes": [], "warnings": plan["warnings"]})
        else:
            say("Nothing changes.")
        return
    if not yes and not confirmed("Apply this?"):
        raise CliError("nothing was changed")
    done = api.post("/event/apply", {**body, "plan_id": plan["plan_id"]})
    if as_json:
        say_json({"applied": True, **done})
    else:
        say("Applied.")


def _event_body(path: Path) -> dict[str, Any]:
    """The file with the secrets that it names, which are read here: mux may be elsewhere. Raises CliError."""
    from mux.config import ConfigError, parse, read_secrets, read_text  # noqa: PLC0415 - only `apply` needs it

    try:
        text = read_text(path)
        # Variables of this shell are not mux's; files other than secrets are checked where they are used.
        found = parse(text, base=path.parent, environ={}, files=False)
        secrets = read_secrets(found, path.parent)
    except ConfigError as error:
        raise _refused(path, error) from error
    return {
        "text": text,
        "secrets": {name: {who: dict(row) for who, row in rows.items()} for name, rows in secrets.items()},
    }


def _show_plan(plan: dict[str, Any]) -> None:
    for warning in plan["warnings"]:
        say_painted(f"warning: {warning}", "yellow")
    if plan["first"]:
        say("No event file has been applied before.")
    say_table(
        ["key", "before", "after", "effect"],
        [[c["key"], c["before"] or "-", c["after"] or "-", c["effect"]] for c in plan["changes"]],
    )


def _refused(path: Path, error: ConfigError) -> CliError:
    faults = [str(fault) for fault in error.faults]
    if len(faults) == 1:
        return CliError(f"{path}: {faults[0]}")
    return CliError(f"{path} has {len(faults)} faults:", detail=faults)
