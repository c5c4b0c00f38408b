"""`mux files`: what is kept, start over, archives, deletion."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mux.cli.client import Api
from mux.cli.errors import CliError
from mux.cli.files import _export
from mux.core.events import Event, StartOverAsked
from mux.core.files import FilesView
from mux.core.model import ProjectName, StartedOver, StartOver, UserId
from tests.admin.support import token_for
from tests.cli.conftest import Cli
from tests.files.snapshots import keep

INTRO = ProjectName("intro")


async def ana(cli: Cli) -> UserId:
    """Somebody of the roster, of whom two snapshots and a recovered copy are kept."""
    assert (await cli("roster", "add", "ana")).code == 0
    user = await cli.admin.store.find_user("ana")
    assert user is not None
    store, now = cli.admin.deps.files, cli.admin.clock
    await keep(store, user.id, INTRO, {b"a.txt": b"old"}, now=now - 200)
    await keep(store, user.id, INTRO, {b"a.txt": b"new" * 1000}, now=now - 90)
    await keep(store, user.id, INTRO, {b"a.txt": b"old"}, now=now - 30, kind="recovered")
    return user.id


def seat(cli: Cli, user: UserId) -> None:
    """Give the one who sits in the fake room's seat another id."""
    ship = cli.admin.engine.room.ships[0]
    seats = (replace(ship.seats[0], user=user), *ship.seats[1:])
    cli.admin.engine.room = replace(cli.admin.engine.room, ships=(replace(ship, seats=seats),))


def asked(cli: Cli) -> list[Event]:
    return [event for event in cli.admin.engine.events if isinstance(event, StartOverAsked)]


async def test_what_is_kept_is_listed(cli: Cli) -> None:
    assert "Nothing is kept" in (await cli("files", "list")).out
    user = await ana(cli)
    await keep(cli.admin.deps.files, UserId("u-gone"), INTRO, {b"x": b"x"}, now=cli.admin.clock - 7200)
    head, gone, one = (await cli("files", "list")).out.splitlines()
    assert head.split()[:4] == ["ATTENDEE", "SEAT", "SNAPSHOTS", "RECOVERED"]
    assert one.split()[:4] == ["ana", "no", "2", "1"]
    assert gone.split()[0] == "-"
    assert "2 h" in gone
    lines = (await cli("files", "list", "ana")).out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["snapshot", "snapshot", "recovered"]
    assert lines[2].split()[-3:] == ["1", "2.9", "KiB"]
    found = json.loads((await cli("files", "list", user, "--json")).out)
    assert [one["files"] for one in found["snapshots"]] == [1, 1, 1]
    assert (await cli("files", "list", "nobody")).code == 1
    await cli.admin.deps.files.put_object(UserId("u-half"), hashlib.sha256(b"x").hexdigest(), zlib.compress(b"x"))
    (half,) = [line for line in (await cli("files", "list")).out.splitlines() if "u-half" in line]
    assert half.split()[1:5] == ["no", "0", "0", "parts"]


async def test_an_archive_is_checked_and_has_its_name_only_then(cli: Cli, tmp_path: Path) -> None:
    await ana(cli)
    target = tmp_path / "out"
    target.mkdir()
    assert (await cli("files", "export", "ana", str(target))).code == 0
    with zipfile.ZipFile(target / "ana.zip") as made:
        assert made.read("intro/a.txt") == b"new" * 1000
    assert (target / "ana.zip").stat().st_mode & 0o777 == 0o600
    assert "exists already" in (await cli("files", "export", "ana", str(target))).err
    assert (await cli("files", "export", "--all", str(target))).code == 0
    with zipfile.ZipFile(target / "everybody.zip") as made:
        assert made.read("ana/intro/a.txt") == b"new" * 1000
    assert (await cli("files", "export")).code == 2
    assert (await cli("files", "export", "nobody", str(target / "n.zip"))).code == 1
    assert sorted(path.name for path in target.iterdir()) == ["ana.zip", "everybody.zip"]


async def test_downloads_are_logged_without_names_of_files(cli: Cli, tmp_path: Path) -> None:
    user = await ana(cli)
    with capture_logs() as logged:
        assert (await cli("files", "export", "ana", str(tmp_path / "a.zip"))).code == 0
        assert (await cli("files", "export", "--all", str(tmp_path / "all.zip"))).code == 0
    told = [line for line in logged if "downloaded" in line["event"]]
    assert [(line["event"], line["by"]) for line in told] == [
        ("files downloaded", "local"),
        ("everybody's files downloaded", "local"),
    ]
    assert (told[0]["user"], told[1]["attendees"]) == (user, 1)
    assert "a.txt" not in str(told)


async def test_an_archive_goes_to_stdout(cli: Cli) -> None:
    await ana(cli)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mux.cli", "files", "export", "--all", "-", "--data", str(cli.data)),
        stdout=asyncio.subprocess.PIPE,
    )
    whole, _ = await process.communicate()
    assert process.returncode == 0
    assert "ana/intro/a.txt" in zipfile.ZipFile(io.BytesIO(whole)).namelist()


async def test_an_archive_that_is_cut_off_is_none(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await ana(cli)

    async def broken(*_: object) -> object:
        raise RuntimeError("a defect in the middle")

    monkeypatch.setattr(cli.admin.deps.files, "chunk", broken)
    said = await cli("files", "export", "ana", str(tmp_path / "a.zip"))
    assert said.code != 0
    assert "went away" in said.err
    assert list(tmp_path.glob("*a.zip*")) == []


@pytest.mark.parametrize("damage", [b"\xff" * 8, b"\x00" * 8])
def test_an_archive_that_is_damaged_inside_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    def download(_: object, path: str, write: Callable[[bytes], object]) -> None:
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("a", b"some text" * 100)
        write(whole.getvalue().replace(whole.getvalue()[31:39], damage))

    monkeypatch.setattr("mux.cli.client.Api.download", download)
    with pytest.raises(CliError, match=r"did not come whole|is damaged"):
        _export(Api.__new__(Api), "/archive", tmp_path / "a.zip")
    assert list(tmp_path.glob("*a.zip*")) == []


async def test_starting_over_waits_for_the_ships_word(cli: Cli) -> None:
    user = await ana(cli)
    wish = StartOver(3, "a%20b.ipynb")
    done = StartedOver(3, done=True, kept="a%20b.before-start-over.ipynb")
    cli.admin.engine.work[user] = (FilesView(INTRO, held=True, wish=wish, ended=done),)
    assert (await cli("files", "reset", "ana", "intro", "a b.ipynb")).code == 2, "there is no terminal to ask on"
    said = await cli("files", "reset", "ana", "intro", "a b.ipynb", "--yes")
    assert said.code == 0
    assert "what was theirs is in a b.before-start-over.ipynb" in said.out
    assert asked(cli) == [StartOverAsked(user, INTRO, "a b.ipynb")]
    failed = StartedOver(3, done=False, detail="the disk is full")
    cli.admin.engine.work[user] = (FilesView(INTRO, held=True, wish=StartOver(3), ended=failed),)
    said = await cli("files", "reset", "ana", "--yes")
    assert said.code == 1
    assert "everything did not start over: the disk is full" in said.out
    assert asked(cli)[1:] == [StartOverAsked(user, INTRO)]
    assert (await cli("files", "reset", "ana", "nope", "--yes")).code == 1
    assert (await cli("files", "reset", "ana", "intro", "../x", "--yes")).code == 1
    cli.admin.engine.work[user] = (FilesView(INTRO),)
    assert "no workspace" in (await cli("files", "reset", "ana", "--yes")).err
    assert len(asked(cli)) == 2


async def test_deleting_says_what_went_and_spares_who_has_a_seat(cli: Cli) -> None:
    user = await ana(cli)
    assert (await cli("files", "delete", "ana")).code == 2
    seat(cli, user)
    for whose in ("ana", "--all"):
        said = await cli("files", "delete", whose, "--yes")
        assert said.code == 1
        # Whoever reads it can type what it says.
        assert (f"`mux seat release {user}`" in said.err) is (whose == "ana")
        assert ("`mux fleet reap`" in said.err) is (whose == "--all")
        assert "say --force" in said.err
    assert len(cli.admin.deps.files.all()) == 3
    said = await cli("files", "delete", "ana", "--force", "--yes")
    assert said.out.startswith("ana: 2 snapshots, 1 recovered copy, ")
    assert cli.admin.deps.files.all() == []
    await keep(cli.admin.deps.files, UserId("u-gone"), INTRO, {b"x": b"x"}, now=cli.admin.clock)
    assert "u-gone: 1 snapshot, " in (await cli("files", "delete", "--all", "--yes")).out
    assert cli.admin.deps.files.all() == []
    await cli.admin.deps.files.put_object(UserId("u-half"), hashlib.sha256(b"x").hexdigest(), zlib.compress(b"x"))
    assert "u-half: 0 snapshots" in (await cli("files", "delete", "--all", "--yes")).out
    assert "Nothing was kept" in (await cli("files", "delete", "--all", "--yes")).out


async def test_whoever_takes_the_id_of_somebody_who_is_gone_for_a_name_is_somebody_else(
    cli: Cli, tmp_path: Path
) -> None:
    user, store = await ana(cli), cli.admin.deps.files
    for name in ("anna", "../../../anna"):  # renamed, and renamed again
        (entry,) = await cli.admin.store.users()
        await cli.admin.store.save_users([replace(entry, name=name)])
        assert (await cli("files", "list", name)).code == 0
    assert (await cli("files", "list", "ana")).code == 1
    await cli("files", "export", "--all", str(tmp_path / "all.zip"))
    with zipfile.ZipFile(tmp_path / "all.zip") as made:
        assert not [name for name in made.namelist() if ".." in name.split("/") or name.startswith("/")]

    (entry,) = await cli.admin.store.users()
    await cli.admin.store.remove_users([user])
    await cli.admin.store.save_users([replace(entry, id=UserId("u-new"), name=user)])
    await keep(store, UserId("u-new"), INTRO, {b"new": b"new"}, now=cli.admin.clock)
    await cli("files", "export", user, str(tmp_path / "gone.zip"))
    with zipfile.ZipFile(tmp_path / "gone.zip") as made:
        assert "intro/a.txt" in made.namelist()
    assert (await cli("files", "reset", user, "--yes")).code == 1
    assert (await cli("files", "delete", user, "--yes")).out.startswith(f"{user}: 2 snapshots")
    assert {each.user for each in store.all()} == {"u-new"}


async def test_files_need_their_own_scope(cli: Cli) -> None:
    await ana(cli)
    token = await token_for(cli.admin, "read", "fleet", "roster", "apply")
    for path in ("/files", "/files/ana", "/files/ana/archive", "/archive"):
        assert (await cli.admin.remote("GET", path, token=token)).status == 403
    token = await token_for(cli.admin, "files")
    assert (await cli.admin.remote("GET", "/archive", token=token)).status == 200
