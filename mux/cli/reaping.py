"""``mux fleet reap``: after the event, whatever bears its marks is ended, by the mux or, where none runs, from here.

Without a mux the provider is asked as the mux would ask it: with the event file's settings and the data directory's
identity. The supervisor's lock is held meanwhile, so that no mux starts and launches what is being ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mux.cli.errors import CliError, UsageError
from mux.cli.options import JsonOption, YesOption, api_of
from mux.cli.output import confirmed, say, say_json, say_painted
from mux.core.plural import counted

if TYPE_CHECKING:
    from mux.config import EventFile
    from mux.providers.base import Reaped

LOOK_S = 2.0
"""Between two looks at how the mux gets on."""
NO_STORE = "none"
"""Identity where there is no data directory: every machine of the event is another store's."""


def reap(
    ctx: typer.Context,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Also what another mux launched under this event's name.")
    ] = False,
    event_file: Annotated[
        Path | None, typer.Option("--event-file", metavar="FILE", help="Without a mux: end what bears its marks.")
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """After the event: end every machine that bears its marks, known or not, and see that it is gone."""
    if event_file is not None:
        found = _from_here(event_file, foreign=foreign, yes=yes)
    else:
        found = _by_the_mux(ctx, foreign=foreign, yes=yes)
    if as_json:
        say_json(found)
    if found["error"]:
        raise CliError(f"not everything has ended: {found['error']} Run `mux fleet reap` again.")
    if as_json:
        return
    machines, things = counted(found["machines"], "machine"), counted(found["things"], "other thing")
    say(f"Nothing of the event is left: {machines} ended, {things} deleted.")
    if found["foreign"]:
        say_painted(
            f"Another mux has {counted(found['foreign'], 'machine')} of this event's name, left alone here; "
            "`mux fleet reap --foreign` ends all of that name.",
            "yellow",
        )


def register(fleet: typer.Typer) -> None:
    """Put this command into the tree."""
    fleet.command("reap")(reap)


def _by_the_mux(ctx: typer.Context, *, foreign: bool, yes: bool) -> dict[str, Any]:
    api = api_of(ctx)
    if not yes:
        status = api.get("/status")
        _ask(status["event"], foreign=foreign, seats=status["seats_assigned"])
    found: dict[str, Any] = api.post("/fleet/reap", {"foreign": foreign})
    while found["running"]:
        time.sleep(LOOK_S)
        found = api.get("/fleet/reap")
    return found


def _ask(event: str, *, foreign: bool, seats: int = 0) -> None:
    people = f" {_seated(seats)}: their files are destroyed." if seats else ""
    others = " Machines of another mux with the same event name are ended too." if foreign else ""
    question = f"This ends every machine of {event}, and no ship is launched any more.{people}{others} End them?"
    if not confirmed(question):
        raise CliError("nothing was changed")


def _seated(seats: int) -> str:
    return "One person still has a seat" if seats == 1 else f"{seats} people still have seats"


# --- without a mux --------------------------------------------------------------------------------------------------


def _from_here(path: Path, *, foreign: bool, yes: bool) -> dict[str, Any]:
    """End what an event file's mux launched. Raises CliError when that mux runs, or the provider is in trouble."""
    import structlog  # noqa: PLC0415 - only this way needs these, and they take long to load

    from mux.config import resolved  # noqa: PLC0415
    from mux.providers.base import ProviderError  # noqa: PLC0415
    from mux.supervisor import SupervisorError, lock  # noqa: PLC0415

    # Standard output is the answer's; what a provider logs beside it is for nobody here.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    file = _read(path)
    data = resolved(path.absolute().parent, Path(os.environ.get("MUX_DATA_DIRECTORY") or file.data.directory))
    held = None
    if data.exists():
        try:
            held = lock(data)
        except SupervisorError as error:
            raise CliError(f"{error}; leave --event-file away, and that mux reaps") from error
    elif not foreign:
        text = f"{data} is not there, so nobody knows which machines are its mux's"
        raise CliError(f"{text}; with --foreign every machine that bears the event's name is ended")
    try:
        if not yes:
            _ask(file.event.name, foreign=foreign)
        done = asyncio.run(_reaped(file, data, foreign=foreign))
    except ProviderError as error:
        return {"running": False, "machines": 0, "things": 0, "foreign": 0, "error": str(error)}
    finally:
        if held is not None:
            os.close(held)
    return {
        "running": False,
        "machines": done.machines,
        "things": done.things,
        "foreign": done.foreign,
        "error": "",
    }


def _read(path: Path) -> EventFile:
    from mux.config import ConfigError, parse, read_text  # noqa: PLC0415 - as above

    try:
        # Images and rosters may be gone by now.
        return parse(read_text(path), base=path.absolute().parent, environ=os.environ, files=False)
    except ConfigError as error:
        raise UsageError(f"{path}: {error.faults[0]}") from error


async def _reaped(file: EventFile, data: Path, *, foreign: bool) -> Reaped:
    from mux.daemon.machines import provider_of  # noqa: PLC0415 - as above
    from mux.daemon.prepare import open_keys  # noqa: PLC0415 - as above

    known = (data / "keys" / "root.key").exists()
    provider = provider_of(file, data, open_keys(data).store_id() if known else NO_STORE, lambda _event: None)
    try:
        await provider.open()
        return await provider.reap(foreign=foreign)
    finally:
        await provider.close()
