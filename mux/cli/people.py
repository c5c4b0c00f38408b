"""Commands about people: the roster with its codes and slips, and the tokens of the admin API.

Rule: only hashes of codes and tokens are kept, so what was generated is shown here once, or written to a file that
only its owner can read.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mux.cli.client import LONG_TIMEOUT_S, Api, segment
from mux.cli.errors import CliError, UsageError
from mux.cli.options import JsonOption, YesOption, api_of
from mux.cli.output import clock_time, confirmed, say, say_json, say_table
from mux.core.plural import counted

ROSTER_BYTES_MAX = 8_000_000
"""As much as the admin API takes."""

roster = typer.Typer(name="roster", help="Who may enter.", rich_markup_mode=None)
token = typer.Typer(name="token", help="Tokens of the admin API.", rich_markup_mode=None)

WhoArgument = Annotated[str, typer.Argument(metavar="WHO", help="Name, e-mail address or id.")]
SlipsOption = Annotated[
    Path | None,
    typer.Option("--slips", metavar="FILE", help="Write a printable sheet of the codes; the file must not exist."),
]


class RoleWord(StrEnum):
    """What somebody may do."""

    ATTENDEE = "attendee"
    HELPER = "helper"
    ORGANIZER = "organizer"


class ScopeWord(StrEnum):
    """What a token may do."""

    READ = "read"
    FLEET = "fleet"
    ROSTER = "roster"
    APPLY = "apply"
    FILES = "files"


def register(app: typer.Typer) -> None:
    """Put these commands into the tree."""
    app.add_typer(roster)
    app.add_typer(token)


@roster.command("import")
def roster_import(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV: name, email, role, code or password.")],
    slips: SlipsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in a roster, all of it or nothing; who is in it already keeps the code."""
    text = _csv(file)
    _check_free(slips)
    found = api_of(ctx).post("/roster/import", {"csv": text}, timeout_s=LONG_TIMEOUT_S)
    if not as_json:
        say(f"{found['created']} created, {found['updated']} updated, {found['unchanged']} unchanged.")
    _show_codes(found, slips, as_json=as_json)


@roster.command("list")
def roster_list(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Show who may enter."""
    found = api_of(ctx).get("/roster")
    if as_json:
        say_json(found)
        return
    if not found["users"]:
        say("The roster is empty; `mux roster import FILE` fills it.")
    say_table(
        ["name", "email", "role", "credential", "entered", "id"],
        [
            [
                user["name"],
                user["email"] or "-",
                user["role"],
                user["credential_kind"],
                "yes" if user["entered"] else "no",
                user["id"],
            ]
            for user in found["users"]
        ],
    )


@roster.command("add")
def roster_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As shown; unique.")],
    *,
    email: Annotated[str, typer.Option("--email", help="Also good for logging in.")] = "",
    role: Annotated[RoleWord, typer.Option("--role", help="What they may do.")] = RoleWord.ATTENDEE,
    slips: SlipsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add one person and show the code."""
    _check_free(slips)
    found = api_of(ctx).post("/roster", {"name": name, "email": email, "role": role.value})
    _show_codes(found, slips, as_json=as_json)


@roster.command("reset")
def roster_reset(ctx: typer.Context, who: WhoArgument, slips: SlipsOption = None, as_json: JsonOption = False) -> None:
    """Give somebody another code; the old one is void and their sessions end."""
    _check_free(slips)
    _show_codes(api_of(ctx).post(f"/roster/{segment(who)}/reset"), slips, as_json=as_json)


@roster.command("remove")
def roster_remove(  # noqa: PLR0917 - typer makes options of arguments
    ctx: typer.Context,
    who: Annotated[
        str | None, typer.Argument(metavar="[WHO]", help="Name, e-mail address or id.", show_default=False)
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="After the event: everybody, organizers too, once nobody has a seat.")
    ] = False,
    release: Annotated[bool, typer.Option("--release", help="Give the seat back too, with all files on it.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove somebody, or everybody; their sessions end."""
    if everybody == (who is not None):
        raise UsageError("name one person, or say --all")
    if who is None:
        if release:
            raise UsageError("--all releases no seats; give them back first: `mux fleet reap`, or `mux seat release`")
        _remove_all(api_of(ctx), yes=yes, as_json=as_json)
        return
    what = "This also destroys their workspaces and files. " if release else ""
    if not yes and not confirmed(f"{what}Remove {who}?"):
        raise CliError("nothing was changed")
    found = api_of(ctx).delete(f"/roster/{segment(who)}" + ("?release=true" if release else ""))
    if as_json:
        say_json(found)
    else:
        say(f"Removed {found['name']}." + ("" if release else f" The seat is kept: `mux seat release {found['id']}`."))


@roster.command("slips")
def roster_slips(
    ctx: typer.Context,
    slips: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the sheet here; the file must not exist.")
    ] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make other codes for all who have not come yet, and print them: codes are kept as hashes only."""
    _check_free(slips)
    if not yes and not confirmed("Slips of people who have not logged in yet become void. Make new ones?"):
        raise CliError("nothing was changed")
    found = api_of(ctx).post("/roster/slips", timeout_s=LONG_TIMEOUT_S)
    if not found["codes"] and not as_json:
        say("Everybody with a generated code has come already; nothing was changed.")
    _show_codes(found, slips, as_json=as_json)


@token.command("add")
def token_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, e.g. grafana; unique.")],
    scope: Annotated[list[ScopeWord], typer.Option("--scope", help="What it may do; repeat for several.")],
    as_json: JsonOption = False,
) -> None:
    """Make a token and show it, once."""
    found = api_of(ctx).post("/tokens", {"name": name, "scopes": [word.value for word in scope]})
    if as_json:
        say_json(found)
    else:
        say(str(found["token"]))


@token.command("list")
def token_list(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Show tokens, without their secrets, which are not kept."""
    found = api_of(ctx).get("/tokens")
    if as_json:
        say_json(found)
        return
    if not found["tokens"]:
        say("There are no tokens.")
    say_table(
        ["name", "scopes", "created (UTC)"],
        [[one["name"], ", ".join(one["scopes"]), clock_time(one["created_at"])] for one in found["tokens"]],
    )


@token.command("remove")
def token_remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `mux token list` shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Void a token."""
    found = api_of(ctx).delete(f"/tokens/{segment(name)}")
    if as_json:
        say_json(found)
    else:
        say(str(found["text"]))


def _remove_all(api: Api, *, yes: bool, as_json: bool) -> None:
    question = "This removes everybody, organizers too, with all names and e-mail addresses, for ever. Go on?"
    if not yes and not confirmed(question):
        raise CliError("nothing was changed")
    found = api.delete("/roster", timeout_s=LONG_TIMEOUT_S)
    if as_json:
        say_json(found)
    else:
        say(f"Removed {counted(found['removed'], 'person', 'people')}: no name and no e-mail address is kept any more.")


def _csv(path: Path) -> str:
    """The text of a roster. Raises CliError."""
    try:
        with path.open("rb") as file:
            raw = file.read(ROSTER_BYTES_MAX + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from error
    if len(raw) > ROSTER_BYTES_MAX:
        raise CliError(f"{path} is larger than {ROSTER_BYTES_MAX} bytes; split it")
    if not text.strip():
        raise CliError(f"{path} is empty")
    return text


def _check_free(path: Path | None) -> None:
    """Before codes are made that could then not be shown."""
    if path is None:
        return
    if path.exists() or path.is_symlink():
        raise CliError(f"{path} exists already; name another file")
    if not path.parent.is_dir():
        raise CliError(f"{path.parent} is not a directory")


def _show_codes(found: dict[str, Any], slips: Path | None, *, as_json: bool) -> None:
    """Freshly generated codes: on stdout, or on a sheet if a file is named."""
    if as_json:
        say_json(found)
    codes = found["codes"]
    if slips is not None and codes:
        try:
            _write_slips(found, slips)
        except OSError as error:
            if not as_json:
                _say_codes(codes)
            raise CliError(f"{slips}: {error.strerror}; there is no sheet, the codes above are in force") from error
        if not as_json:
            say(f"{len(codes)} slips are in {slips}: print it in a browser, then delete it. The codes are not kept.")
    elif not as_json and codes:
        _say_codes(codes)
        say(
            "The codes are not kept: write them down, or make others with `mux roster slips` or `mux roster reset WHO`."
        )


def _say_codes(codes: list[dict[str, Any]]) -> None:
    say_table(["name", "email", "code"], [[one["name"], one["email"] or "-", one["code"]] for one in codes])


def _write_slips(found: dict[str, Any], path: Path) -> None:
    """The sheet, readable by its owner only. Raises OSError."""
    from mux.auth.roster_csv import IssuedCode  # noqa: PLC0415 - only sheets need it
    from mux.auth.slips import sheet  # noqa: PLC0415 - as above
    from mux.core.model import Role  # noqa: PLC0415 - as above

    codes = [IssuedCode(one["name"], one["email"], Role(one["role"]), one["code"]) for one in found["codes"]]
    text = sheet(codes, event=found["event"], address=found["address"])
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
