"""The tree of commands, and the one place where a command line becomes an exit code.

Owns the global options, which may stand anywhere, and the translation of every error into one line on stderr.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mux.cli import check, daemon, event, files, fleet, image, people, reaping, rollout, ship_bundle, tls, warming
from mux.cli.client import Place
from mux.cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, CliError
from mux.cli.output import plain, warn
from mux.spoken import spoken

GLOBAL_OPTIONS = frozenset({"--config", "--data", "--url", "--token-file"})
"""Options of the program itself; each takes a value."""
OUTPUT_LOST = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What writing to stdout fails with where it is a file on a full disk, or a terminal that is gone."""
DETAIL_LINES_MAX = 100
"""Faults shown of one refusal."""

_NUMBER_AS_OPTION = re.compile(r"No such option: -\d.*")

app = typer.Typer(
    name="mux",
    help="Ready Jupyter environments for a workshop, through a browser and nothing else.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong command line, 3 mux is not running.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        daemon.version()
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option(envvar="MUX_CONFIG", help="The event file. Default: event.toml here.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The data directory. Default: as the event file says.")] = None,
    url: Annotated[
        str | None, typer.Option(envvar="MUX_URL", help="A mux elsewhere: https://host:port of its admin listener.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="MUX_TOKEN_FILE", help="File (mode 0600) with the token for --url. Default: MUX_TOKEN."),
    ] = None,
    *,
    version: Annotated[  # noqa: ARG001 - its callback has done it
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")
    ] = False,
) -> None:
    """Ready Jupyter environments for a workshop, through a browser and nothing else."""
    ctx.obj = Place(config=config, data=data, url=url, token_file=token_file)


event.register(app)
check.register(app)
image.register(app)
daemon.register(app)
fleet.register(app)
warming.register(app, fleet.fleet, fleet.ship)
reaping.register(fleet.fleet)
rollout.register(app)
ship_bundle.register()
people.register(app)
files.register(app)
tls.register(app)


def run(args: Sequence[str]) -> int:
    """Carry out one command line; the exit code. Never raises, but for defects of Python itself."""
    _open_streams()
    try:
        outcome = app(args=hoisted(args), prog_name="mux", standalone_mode=False)
        sys.stdout.flush()
    except CliError as error:
        warn(f"mux: {error.message}")
        for line in error.detail[:DETAIL_LINES_MAX]:
            warn(f"  {line}")
        return error.code
    except typer.TyperException as error:
        return _usage(error)
    except (typer.Abort, KeyboardInterrupt):
        warn("mux: interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough.
        _drop_output()
        return EXIT_FAILURE
    except OSError as error:
        # With a name it is a file of the command's; what goes to stdout has none.
        return _output_lost(error) if error.errno in OUTPUT_LOST and error.filename is None else _defect(error)
    except Exception as error:
        return _defect(error)
    if outcome == EXIT_INTERRUPTED:
        # Typer makes this of a KeyboardInterrupt, without a word.
        warn("mux: interrupted")
    return outcome if isinstance(outcome, int) else EXIT_OK


def hoisted(args: Sequence[str]) -> list[str]:
    """Arguments with the global options first, so that they may stand behind a command; not those after ``--``."""
    first: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in GLOBAL_OPTIONS:
            first += [word, *(value for value in [next(words, None)] if value is not None)]
        elif word.partition("=")[0] in GLOBAL_OPTIONS:
            first.append(word)
        else:
            rest.append(word)
    return [*first, *rest]


def _open_streams() -> None:
    """Have streams that take every character, whatever the locale: a code that was made is shown once and for all."""
    # Python has None for what the shell has closed (`>&-`).
    if sys.stdout is None or sys.stderr is None:
        nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Line by line also into a pipe: whoever reads there watches what goes on.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


def _drop_output() -> None:
    """Python would complain once more when it closes a stdout that takes nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_lost(error: OSError) -> int:
    _drop_output()
    warn(
        f"mux: the output cannot be written: {error.strerror}; what was asked for may have been done, "
        "so look before you repeat it"
    )
    return EXIT_FAILURE


def _usage(error: typer.TyperException) -> int:
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "mux"
    # Typer passes on how the library that reads values calls a wrong one, and takes numbers below 0 for options.
    message = spoken(" ".join(error.format_message().split()).rstrip("."))
    if _NUMBER_AS_OPTION.fullmatch(message):
        message = "a number below 0 is not meant here"
    warn(f"mux: {message}; `{command} --help` shows what there is")
    return EXIT_USAGE if error.exit_code == EXIT_USAGE else EXIT_FAILURE


def _defect(error: Exception) -> int:
    """Something that nobody foresaw: one line, and the traceback for those who ask for it."""
    if os.environ.get("MUX_DEBUG"):
        raise error
    warn(
        f"mux: unexpected {type(error).__name__}: {plain(str(error))[:200]}; "
        "MUX_DEBUG=1 shows where; `mux serve` logs to its terminal, or to the journal"
    )
    return EXIT_FAILURE
