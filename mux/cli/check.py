"""``mux check``: whether an event would work, before anything is launched.

Works without a running mux. Every finding is one line; the exit code is that of the worst.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mux.cli.errors import CliError, UsageError
from mux.cli.options import api_of, place_of
from mux.cli.output import paint, say, say_after, say_json
from mux.core.plural import counted

if TYPE_CHECKING:
    from mux.config import EventFile
    from mux.preflight.finding import Finding

COLOURS = {"ok": "green", "warning": "yellow", "failure": "red"}


def register(app: typer.Typer) -> None:
    """Put this command into the tree."""
    app.command("check", short_help="Check whether an event would work.")(check)


def check(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    canary: Annotated[
        bool, typer.Option("--canary", help="Then launch one real ship, wait until its seats are ready, and remove it.")
    ] = False,
) -> int:
    """Check everything that an event needs, without launching anything."""
    from mux.preflight.finding import EXIT_CODES, worst  # noqa: PLC0415 - only this command needs it
    from mux.preflight.run import preflight  # noqa: PLC0415 - as above

    path = place_of(ctx).config_path
    file = _event_file(path)
    findings = asyncio.run(preflight(file, os.environ))
    if canary:
        findings.append(_canary(ctx, file, findings))
    outcome = worst(findings)
    if as_json:
        say_json({"outcome": outcome, "findings": [finding.as_json() for finding in findings]})
    else:
        for finding in findings:
            _show(finding)
        counts = [sum(finding.outcome == each for finding in findings) for each in EXIT_CODES]
        say(f"{counts[0]} ok, {counted(counts[1], 'warning')}, {counted(counts[2], 'failure')}")
    return EXIT_CODES[outcome]


def _canary(ctx: typer.Context, file: EventFile, findings: Sequence[Finding]) -> Finding:
    """One ship, unless it is clear already that it would not fly."""
    from mux.preflight.canary import CHECK  # noqa: PLC0415 - as above
    from mux.preflight.canary_keeper import flown  # noqa: PLC0415 - as above
    from mux.preflight.finding import Outcome, warning, worst  # noqa: PLC0415 - as above

    if worst(findings) is Outcome.FAILURE:
        return warning(CHECK, "not launched, since something else has failed", "mend that first")
    from mux.preflight.machine import MUX_RUNS  # noqa: PLC0415 - as above

    if file.fleet.provider != "local" and any(finding.said == MUX_RUNS for finding in findings):
        said = f"not launched: mux is running and has {file.listen.control.port}, the one port that ships may dial"
        return warning(CHECK, said, _instead(ctx, file))
    return flown(place_of(ctx).config_path, os.environ)


def _instead(ctx: typer.Context, file: EventFile) -> str:
    """What does the same beside a running mux: one ship more of its own, and then one less."""
    try:
        seats = int(api_of(ctx).get("/fleet/warming")["seats"])
    except CliError:
        return "a ship of that mux is as good: `mux fleet warm SEATS` for one ship more"
    back = f"mux fleet warm {seats}" if seats else "mux fleet cool"
    more = seats + file.fleet.seats_per_ship
    return f"a ship of that mux is as good: `mux fleet warm {more}` watches one more become ready; `{back}` lets it go"


def _show(finding: Finding) -> None:
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    word = paint(f"{finding.outcome:<8}", COLOURS[finding.outcome])
    say_after(word, f" {finding.check:<22} {finding.said}{remedy}")


def _event_file(path: Path) -> EventFile:
    """Raises UsageError with every fault."""
    from mux.config import ConfigError, load  # noqa: PLC0415 - as above

    try:
        return load(path, os.environ)
    except ConfigError as error:
        first, *rest = (str(fault) for fault in error.faults)
        more = f" (and {len(rest)} more: see `mux config check`)" if rest else ""
        raise UsageError(f"{path}: {first}{more}") from error
