"""An attendee's work as one archive: whole, verified, and safe to unpack anywhere."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from pathlib import Path

import pytest

from mux.core.model import ProjectName, UserId
from mux.files.archive import ABOUT, DEPTH_MAX, NAME_CHARS_MAX, Names, archive, folder_names, parts_of, safe_name
from mux.files.directory import DirectoryStore
from ship_agent.protocol.snapshot import CHUNK_BYTES, SnapshotEntry
from tests.files.snapshots import keep

ANA, BEN = UserId("ana"), UserId("ben")
INTRO, DEEP = ProjectName("intro"), ProjectName("deep")
NOW = 1_800_000_000.0


@pytest.fixture
async def store(tmp_path: Path) -> DirectoryStore:
    """An empty store."""
    made = DirectoryStore(tmp_path / "files", 64 << 20)
    await made.open()
    return made


async def unpacked(store: DirectoryStore, user: UserId = ANA) -> zipfile.ZipFile:
    whole = b"".join([block async for block in archive(store, parts_of(store, user))])
    made = zipfile.ZipFile(io.BytesIO(whole))
    assert made.testzip() is None
    return made


def about(made: zipfile.ZipFile) -> str:
    assert made.namelist()[-1] == ABOUT
    return made.read(ABOUT).decode()


async def test_the_newest_of_each_project_and_every_recovered_copy(store: DirectoryStore) -> None:
    big = os.urandom(2 * CHUNK_BYTES + 5)
    await keep(store, ANA, INTRO, {b"a.txt": b"old"}, now=NOW)
    await keep(store, ANA, INTRO, {b"a.txt": b"new", b"d/\xc3\xa9.bin": big}, now=NOW + 60)
    await keep(store, ANA, DEEP, {b"b.txt": b"deep"}, now=NOW)
    await keep(store, ANA, INTRO, {b"c.txt": b"came back"}, now=NOW + 120, kind="recovered")
    await keep(store, BEN, INTRO, {b"not-hers": b"x"}, now=NOW)
    made = await unpacked(store)
    folder = "intro recovered 2027-01-15 08.02.00"
    assert made.namelist() == ["intro/a.txt", "intro/d/é.bin", f"{folder}/c.txt", "deep/b.txt", ABOUT]
    assert made.read("intro/a.txt") == b"new"
    assert made.read("intro/d/é.bin") == big
    assert made.getinfo("intro/a.txt").date_time == (2023, 11, 14, 22, 13, 20)
    assert "intro: 2 files, as they were at 2027-01-15 08:01:00 UTC" in about(made)


async def test_what_is_damaged_is_left_out_and_named(store: DirectoryStore, tmp_path: Path) -> None:
    await keep(store, ANA, INTRO, {b"good": b"good", b"bad": b"bad"}, now=NOW)
    for path in (tmp_path / "files").glob("*/objects/*/*"):
        if zlib.decompress(path.read_bytes()) == b"bad":
            path.write_bytes(zlib.compress(b"evil"))
    made = await unpacked(store)
    assert made.namelist() == ["intro/good", ABOUT]
    assert "intro/bad: a part of the snapshot is damaged" in about(made)


async def test_a_snapshot_that_cannot_be_read_does_not_cost_the_others(store: DirectoryStore, tmp_path: Path) -> None:
    await keep(store, ANA, INTRO, {b"a": b"a"}, now=NOW)
    await keep(store, ANA, DEEP, {b"b": b"b"}, now=NOW)
    (path,) = (tmp_path / "files").glob("*/project-intro/*")
    path.write_bytes(b"{}")
    made = await unpacked(store)
    assert made.namelist() == ["deep/b", ABOUT]
    assert "intro: the whole snapshot" in about(made)


async def test_links_are_named_and_never_made(store: DirectoryStore) -> None:
    link = SnapshotEntry(path="out", kind="link", mode=0o777, uid=0, gid=0, mtime_ns=0, target="../../etc/passwd")
    made_dir = SnapshotEntry(path="empty", kind="dir", mode=0o700, uid=0, gid=0, mtime_ns=-(2**63))
    await keep(store, ANA, INTRO, {}, now=NOW, others=[link, made_dir])
    made = await unpacked(store)
    assert made.namelist() == ["intro/empty/", ABOUT]
    assert "intro/out: a symbolic link to ../../etc/passwd" in about(made)


async def test_of_nobody_there_is_an_archive_that_says_so(store: DirectoryStore) -> None:
    assert "Nothing was kept." in about(await unpacked(store, BEN))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("plain.ipynb", "plain.ipynb"),
        ("..", "_._"),
        (".", "__"),
        ("", "_"),
        (".bashrc", ".bashrc"),
        ("a\\b:c*?", "a_b_c__"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("ends.", "ends_"),
        ("ends ", "ends_"),
        ("new\nline\u202egnp", "new_line_gnp"),
        ("x" * 300 + ".ipynb", "x" * (NAME_CHARS_MAX - 6) + ".ipynb"),
    ],
)
def test_names_are_safe_on_every_system(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_different_paths_have_different_names() -> None:
    names = Names("intro")
    paths = [b"a.txt", b"A.TXT", b"a\\b", b"a:b", b"a_b", b"\xff", b"\xfe", b"d?/x", b"d*/x", b"e\xcc\x81", b"\xc3\xa9"]
    found = [names.of(path) for path in paths]
    assert len({name.casefold() for name in found}) == len(paths)
    assert names.of(b"A.TXT") == "intro/A (2).TXT"
    assert names.of(b"d?/y") == names.of(b"d?/x")[:-1] + "y"


def test_many_paths_that_want_one_name_take_turns_at_it() -> None:
    names = Names("intro")
    begin = b"x" * NAME_CHARS_MAX
    found = [names.of(begin + str(number).encode()) for number in range(20_000)]
    assert len(set(found)) == len(found)
    assert found[-1] == f"intro/{begin.decode()} (20000)"


async def test_what_is_in_too_many_folders_is_left_out_and_named(store: DirectoryStore) -> None:
    deep = b"/".join([b"d"] * 3_000)
    await keep(store, ANA, INTRO, {deep: b"deep", b"/".join([b"e"] * DEPTH_MAX): b"", b"a": b"a"}, now=NOW)
    made = await unpacked(store)
    assert made.namelist() == ["intro/a", "intro/" + "/".join("e" * DEPTH_MAX), ABOUT]
    assert "in more folders than an archive takes" in about(made)


def test_attendees_with_one_name_have_folders_of_their_own() -> None:
    found = folder_names([(ANA, "Ana / x"), (BEN, "ana _ x"), (UserId("u-3"), ""), (UserId("u-4"), "u-3")])
    assert found == {ANA: "Ana _ x", BEN: "ana _ x (2)", UserId("u-3"): "u-3", UserId("u-4"): "u-3 (2)"}
