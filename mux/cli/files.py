"""Commands about attendees' files: what is kept, start over, archives, and deletion after the event.

Rules: an archive is written aside, checked whole, and only then has its name; it is its owner's alone to read.
"""

from __future__ import annotations

import os
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote_from_bytes, unquote

import typer

from mux.cli.client import LONG_TIMEOUT_S, Api, segment
from mux.cli.errors import CliError, UsageError
from mux.cli.options import JsonOption, YesOption, api_of
from mux.cli.output import clock_time, confirmed, on_terminal, say, say_json, say_table, warn
from mux.core.plural import counted

RESET_S = 120.0
"""How long is waited for a ship's word: stopping, putting files together and starting takes some seconds."""
LOOK_S = 0.3
"""Between two looks at it."""

files = typer.Typer(name="files", help="Attendees' files.", rich_markup_mode=None)

AttendeeArgument = Annotated[str, typer.Argument(metavar="ATTENDEE", help="Name, e-mail address or id.")]
SomebodyArgument = Annotated[
    str | None, typer.Argument(metavar="[ATTENDEE]", help="Name, e-mail address or id.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    app.add_typer(files)


@files.command("list")
def files_list(ctx: typer.Context, attendee: SomebodyArgument = None, as_json: JsonOption = False) -> None:
    """Show whose files are kept, or every snapshot of one attendee."""
    path = "/files" if attendee is None else f"/files/{segment(attendee)}"
    found = api_of(ctx).get(path)
    if as_json:
        say_json(found)
    elif attendee is None:
        _show_everybody(found)
    else:
        _show_one(found)


def _show_everybody(found: dict[str, Any]) -> None:
    if not found["attendees"]:
        say("Nothing is kept of anybody.")
    say_table(
        ["attendee", "seat", "snapshots", "recovered", "newest", "kept bytes", "id"],
        [
            [
                one["name"] or "-",
                "yes" if one["seated"] else "no",
                one["snapshots"],
                one["recovered"],
                _age(found["now"] - one["newest_at"]) if one["newest_at"] is not None else "parts",
                _size(one["size_bytes"]),
                one["user"],
            ]
            for one in found["attendees"]
        ],
    )


def _show_one(found: dict[str, Any]) -> None:
    if not found["snapshots"]:
        say("Nothing is kept of them.")
    say_table(
        ["project", "kind", "at (UTC)", "age", "files", "size"],
        [
            [
                one["project"],
                one["kind"],
                clock_time(one["at"]),
                _age(found["now"] - one["at"]),
                "unreadable" if one["files"] is None else one["files"],
                "-" if one["size_bytes"] is None else _size(one["size_bytes"]),
            ]
            for one in found["snapshots"]
        ],
    )
    for one in found["started_over"]:
        say(_said(one))


@files.command("reset")
def files_reset(  # noqa: PLR0917 - typer makes options of arguments
    ctx: typer.Context,
    attendee: AttendeeArgument,
    project: Annotated[str, typer.Argument(metavar="[PROJECT]", help="Left out: every project.")] = "",
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="Of one file; left out: everything.")] = "",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start a file, a project's files or everything of an attendee over; what they had is kept beside it."""
    if path:
        question = f"{path} comes back as the image has it; what {attendee} has is kept beside it. Go on?"
    else:
        what = f"All files of {project}" if project else "All files"
        question = (
            f"{what} of {attendee} come back as an image has them. What they made is moved to before-reset/, running "
            f"kernels are started anew. Go on?"
        )
    if not yes and not confirmed(question):
        raise CliError("nothing was changed")
    api = api_of(ctx)
    body = {"project": project, "path": quote_from_bytes(os.fsencode(path), safe="/ ")}
    answer = api.post(f"/files/{segment(attendee)}/reset", body)
    if not as_json:
        say(str(answer["text"]))
    ended = _ended(api, attendee, project)
    if as_json:
        say_json(ended)
    else:
        for one in ended:
            say(_said(one))
    if any(one["state"] != "done" for one in ended):
        raise CliError(f"not everything has started over; `mux files list {attendee}` shows what has")


def _ended(api: Api, attendee: str, project: str) -> list[dict[str, Any]]:
    """What became of the wishes, once all have ended or time is up."""
    until = time.monotonic() + RESET_S
    while True:
        found: list[dict[str, Any]] = api.get(f"/files/{segment(attendee)}")["started_over"]
        ours = [one for one in found if project in ("", one["project"])]
        if all(one["state"] != "waiting" for one in ours) or time.monotonic() > until:
            return ours
        time.sleep(LOOK_S)


def _said(one: dict[str, Any]) -> str:
    what = f"{one['project']}: {unquote(one['path']) or 'everything'}"
    if one["state"] == "waiting":
        return f"{what} is to start over; its ship has not said yet that it did"
    if one["state"] == "failed":
        return f"{what} did not start over: {one['detail']}"
    kept = unquote(one["kept"])
    return f"{what} started over; {f'what was theirs is in {kept}' if kept else 'there was nothing of theirs to keep'}"


@files.command("export")
def files_export(
    ctx: typer.Context,
    attendee: SomebodyArgument = None,
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="A file, a directory, or - for stdout.", show_default=False)
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's, in a folder for each.")] = False,
) -> None:
    """Write an attendee's work, or everybody's, as one ZIP archive."""
    if everybody:
        if attendee is not None and target is not None:
            raise UsageError("with --all there is no attendee: `mux files export --all TARGET`")
        attendee, target = None, target or attendee
    elif attendee is None:
        raise UsageError("name an attendee, or say --all")
    path = "/archive" if attendee is None else f"/files/{segment(attendee)}/archive"
    name = "everybody.zip" if attendee is None else f"{attendee.replace(os.sep, '_')}.zip"
    if target == "-":
        if on_terminal():
            raise UsageError("an archive is nothing for a terminal: send stdout to a file, or name one")
        api_of(ctx).download(path, sys.stdout.buffer.write)
        return
    place = Path(target or ".")
    place = place / name if place.is_dir() else place
    _export(api_of(ctx), path, place)
    say(f"{place} has {_size(place.stat().st_size)}; ABOUT.txt in it says what it holds.")


def _export(api: Api, path: str, place: Path) -> None:
    """Download aside, check, then rename. Raises CliError."""
    if place.exists() or place.is_symlink():
        raise CliError(f"{place} exists already; name another file")
    aside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        opened = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CliError(f"{place}: {error.strerror}") from error
    try:
        with os.fdopen(opened, "wb") as file:
            api.download(path, _Writer(file.write, place))
        _check(aside)
        aside.rename(place)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


class _Writer:
    """Writes, and says of what happened here that it happened here."""

    def __init__(self, write: Any, place: Path) -> None:
        self._write = write
        self._place = place

    def __call__(self, piece: bytes) -> None:
        try:
            self._write(piece)
        except OSError as error:
            raise CliError(f"{self._place}: {error.strerror}") from error


def _check(path: Path) -> None:
    """Read the whole archive again. Raises CliError."""
    try:
        with zipfile.ZipFile(path) as made:
            bad = made.testzip()
    # What a damaged part unpacks to is up to its codec, and so is what that says of it.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise CliError("the archive did not come whole; try again") from error
    if bad is not None:
        raise CliError("the archive is damaged on this machine's disk; try again elsewhere")


@files.command("delete")
def files_delete(  # noqa: PLR0917 - typer makes options of arguments
    ctx: typer.Context,
    attendee: SomebodyArgument = None,
    everybody: Annotated[bool, typer.Option("--all", help="Everybody's.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also of those who have a seat.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete what is kept of attendees' files: snapshots and recovered copies. What is on ships goes with the seats."""
    if everybody == (attendee is not None):
        raise UsageError("name one attendee, or say --all")
    whose = "everybody's" if attendee is None else f"{attendee}'s"
    if not yes and not confirmed(f"This deletes all that is kept of {whose} files, for ever. Go on?"):
        raise CliError("nothing was changed")
    path = "/files" if attendee is None else f"/files/{segment(attendee)}"
    answer = api_of(ctx).delete(path + ("?force=true" if force else ""), timeout_s=LONG_TIMEOUT_S)
    if as_json:
        say_json(answer)
        return
    gone: list[dict[str, Any]] = answer["deleted"] if everybody else [answer]
    if not gone:
        say("Nothing was kept of anybody.")
    for one in gone:
        say(
            f"{one['name'] or one['user']}: {counted(one['snapshots'], 'snapshot')}, "
            f"{counted(one['recovered'], 'recovered copy', 'recovered copies')}, "
            f"{_size(one['size_bytes'])} deleted."
        )
    for ship in sorted({ship for one in gone for ship in one["kept_by"]}):
        warn(f"mux: {ship} still keeps work of theirs; `mux ship release {ship}` deletes it")


def _age(seconds: float) -> str:
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _size(number: int) -> str:
    for unit_bytes, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= unit_bytes:
            return f"{number / unit_bytes:.1f} {unit}"
    return f"{number} B"
