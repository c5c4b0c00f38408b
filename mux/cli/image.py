"""``mux image``: what authors do with an image before an event. Needs no running mux.

Every finding is one line, told as soon as it is made; the exit code is that of the worst.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Coroutine
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mux.cli.errors import EXIT_INTERRUPTED, CliError, UsageError
from mux.cli.output import paint, say, say_after, say_json
from mux.core.plural import counted

if TYPE_CHECKING:
    from mux.imagecheck.subject import Wishes
    from mux.preflight.finding import Finding

Outcome = TypeVar("Outcome")
COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}
LOG_LINES = 15
"""What is shown of the log of a workspace that failed."""

image = typer.Typer(name="image", help="What authors do with a tutorial's image.", rich_markup_mode=None)


class Runtime(StrEnum):
    """What may run the workspace."""

    DOCKER = "docker"
    PROCESS = "process"


class Kind(StrEnum):
    """Kinds of projects, as event files have them."""

    JUPYTER = "jupyter"
    CAMP = "camp"
    HTTP = "http"


Subject = Annotated[str, typer.Argument(metavar="DIR|IMAGE", help="A directory, or an image's name.")]
RuntimeOption = Annotated[
    Runtime | None, typer.Option("--runtime", help="What runs it. Default: docker, if there is a Dockerfile.")
]
KindOption = Annotated[Kind, typer.Option("--kind", help="The project's kind, as in the event file.")]
MemoryOption = Annotated[str, typer.Option("--memory", help="Its memory limit, as in the event file.")]
AllowOption = Annotated[
    list[str] | None, typer.Option("--allow", metavar="WHAT", help="As allow in the event file; may be repeated.")
]
PortOption = Annotated[
    int | None,
    typer.Option("--project-port", min=1, max=65535, help="Where its container listens, as port in the event file."),
]
HealthPathOption = Annotated[
    str | None,
    typer.Option("--health-path", metavar="PATH", help="What answers once it is ready, as in the event file."),
]
CommandOption = Annotated[str, typer.Option("--command", help="Its command, as a shell would have it.")]


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    image.command("check")(check)
    image.command("try")(try_out)
    app.add_typer(image)


def check(  # noqa: PLR0917 - typer makes options of arguments
    subject: Subject,
    runtime: RuntimeOption = None,
    kind: KindOption = Kind.JUPYTER,
    memory: MemoryOption = "1GiB",
    allow: AllowOption = None,
    command: CommandOption = "",
    project_port: PortOption = None,
    health_path: HealthPathOption = None,
    start: Annotated[float, typer.Option("--start", min=1, help="Seconds that it may take to be healthy.")] = 90.0,
    silence: Annotated[float, typer.Option("--silence", min=0, help="Seconds that a WebSocket is silent.")] = 45.0,
    cell: Annotated[float, typer.Option("--cell", min=1, help="Seconds that a cell of a notebook may take.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> int:
    """Build an image, run it as a ship will, and say what is not well."""
    from mux.imagecheck.check import Bounds, Result  # noqa: PLC0415 - only this command needs it
    from mux.imagecheck.check import check as run  # noqa: PLC0415 - as above
    from mux.imagecheck.subject import subject_of  # noqa: PLC0415 - as above
    from mux.preflight.finding import EXIT_CODES  # noqa: PLC0415 - as above

    wishes = _wishes(runtime, kind, memory, project_port, allow, command, health_path)

    async def work() -> Result:
        found = await subject_of(subject, wishes, os.environ)
        bounds = Bounds(start_s=start, silence_s=silence, cell_s=cell)
        project = await found.project(os.environ)
        return await run(found.runtime, project, bounds, (lambda _: None) if as_json else _show)

    result = run_to_end(work())
    if as_json:
        say_json(
            {
                "outcome": result.outcome,
                "findings": [finding.as_json() for finding in result.findings],
                "limits": result.limits and {"memory_bytes": result.limits.memory_bytes, "pids": result.limits.pids},
                "toml": result.toml,
                "log_tail": result.log_tail if EXIT_CODES[result.outcome] == 2 else "",
            }
        )
        return EXIT_CODES[result.outcome]
    counts = [sum(finding.outcome == each for finding in result.findings) for each in EXIT_CODES]
    say(f"{counts[0]} ok, {counted(counts[1], 'warning')}, {counted(counts[2], 'failure')}")
    if counts[2] and result.log_tail:
        say("\nThe end of its log:", lines=True)
        for line in result.log_tail.splitlines()[-LOG_LINES:]:
            say(f"  {line}")
    if result.toml:
        say(f"\nFor the event file:\n\n{result.toml}", lines=True)
    return EXIT_CODES[result.outcome]


def try_out(  # noqa: PLR0917 - typer makes options of arguments
    subject: Subject,
    runtime: RuntimeOption = None,
    kind: KindOption = Kind.JUPYTER,
    memory: MemoryOption = "1GiB",
    allow: AllowOption = None,
    command: CommandOption = "",
    project_port: PortOption = None,
    health_path: HealthPathOption = None,
    port: Annotated[
        int, typer.Option("--port", min=1024, max=65000, help="Attendees' port; the next hundred are used as well.")
    ] = 8000,
    browser: Annotated[bool, typer.Option("--browser", help="Open a browser when it is ready.")] = False,
) -> int:
    """Run a tutorial in a small mux of its own; of a directory, take over what is saved in it."""
    from mux.imagecheck.errors import ImageCheckError  # noqa: PLC0415 - only these commands need it
    from mux.imagecheck.tryout import run  # noqa: PLC0415 - as above

    try:
        wishes = _wishes(runtime, kind, memory, project_port, allow, command, health_path)
        return run(subject, wishes, port=port, browser=browser)
    except ImageCheckError as error:
        raise CliError(error.message, detail=error.detail, code=2) from error


def run_to_end(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run something that cleans up behind itself, also at SIGTERM and SIGHUP. Raises CliError."""
    from mux.imagecheck.errors import ImageCheckError  # noqa: PLC0415 - only these commands need it

    async def guarded() -> Outcome:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if task is not None:
                loop.add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(guarded())
    except ImageCheckError as error:
        raise CliError(error.message, detail=error.detail, code=2) from error
    except asyncio.CancelledError:
        raise CliError("interrupted", code=EXIT_INTERRUPTED) from None


def _wishes(  # noqa: PLR0917 - what two commands have in common, in the order of the event file
    runtime: Runtime | None, kind: Kind, memory: str, port: int | None, allow: list[str] | None, command: str,
    health_path: str | None,
) -> Wishes:  # fmt: skip
    from mux.imagecheck.subject import Wishes  # noqa: PLC0415 - as above

    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"--command cannot be taken apart ({error}); look at its quotes") from None
    return Wishes(runtime.value if runtime else None, kind.value, memory, port, tuple(allow or ()), words, health_path)


def _show(finding: Finding) -> None:
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    say_after(paint(f"{finding.outcome:<8}", COLOURS[finding.outcome]), f" {finding.check:<15} {finding.said}{remedy}")
