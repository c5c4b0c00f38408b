"""Every way gives the same directory in every situation."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ship_agent.files.base import FilesFailure
from ship_agent.files.record import RECORD
from ship_agent.files.scan import read_content
from tests.ship_agent.files.situations import SITUATIONS, Situation, does
from tests.ship_agent.files.trees import F, L, takes_attrs, write
from tests.ship_agent.files.ways import Room

WAYS = ["sync", "overlay"]
"""As root. Without privileges, only what depends on them is done at every run."""
LOCKS = (
    *("read-only content", "the attendee locks a file and a directory", "deeper than a path may be long"),
    "the attendee changes attributes: kept, with what is in the new one",
)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
@pytest.mark.parametrize("room", WAYS, indirect=True)
def test_an_image_change(room: Room, situation: Situation) -> None:
    if situation.root and (room.user is not None or os.geteuid() != 0):
        pytest.skip("needs files of other owners")
    if situation.attrs and not takes_attrs(room.directory):
        pytest.skip("this file system has no extended attributes")
    new = room.prepare(situation)
    before = (room.outside / "theirs").stat().st_ctime_ns
    besides = room.bring_to(new)
    then = room.full(situation.then)
    assert room.seen() == then
    # Besides are said, the first part of each: what is in a directory is not.
    assert {os.fsdecode(path) for path in besides} <= then.keys()
    # A second time nothing happens, nor for the next agent.
    assert room.bring_to(new) == ()
    room.close()
    assert room.bring_to(new) == ()
    assert room.seen() == then
    assert (room.outside / "theirs").stat().st_ctime_ns == before
    assert {path.name for path in room.outside.iterdir()} == {"theirs", "a"}


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(one, id=one.name, marks=() if one.name in LOCKS else pytest.mark.long)
        for one in SITUATIONS
        if not one.root
    ],
)
@pytest.mark.parametrize("room", ["sync-user"], indirect=True)
def test_an_image_change_without_privileges(room: Room, situation: Situation) -> None:
    test_an_image_change(room, situation)


def test_there_and_back_and_there_again_adds_nothing(room: Room) -> None:
    old, new = room.content({"a.py": "1", "b": "1"}, "first"), room.content({"a.py": "2", "b": "2", "c": "2"})
    room.bring_to(old)
    with room.acting():
        (room.way.home / "a.py").write_text("mine")
    for content in (new, old, new, old):
        room.bring_to(content)
    assert room.seen() == room.full({"a.py": "mine", "b": "1", "a.new-fix7.py": "2", "a.new-first.py": "1"})


def test_hard_links_stay_one_file(room: Room) -> None:
    situation = next(one for one in SITUATIONS if one.name == "hard links")
    room.bring_to(room.prepare(situation))
    home = room.way.home
    assert (home / "one").samefile(home / "two")
    (home / "one").write_text("again")
    assert (home / "d" / "three").read_text() == "again"


def test_a_sparse_file_stays_sparse(room: Room) -> None:
    with room.acting():
        new = room.content({"small": "1"})
        with (new.directory / "sparse").open("wb") as file:
            file.write(b"begin")
            file.seek(1 << 27)
            file.write(b"end")
            file.truncate(1 << 28)
    room.bring_to(room.content({"a": "1"}))
    with room.acting():
        os.truncate(room.way.home / "a", 1 << 33)
    room.bring_to(replace(new, tree=read_content(new.directory)))
    copied, mine = ((room.way.home / name).stat() for name in ("sparse", "a"))
    assert (copied.st_size, mine.st_size) == (1 << 28, 1 << 33)
    assert copied.st_blocks * 512 < 1 << 20
    assert mine.st_blocks * 512 < 1 << 20
    with (room.way.home / "sparse").open("rb") as file:
        assert file.read(5) == b"begin"
        file.seek(1 << 27)
        assert file.read(4) == b"end\0"


def test_a_file_starts_over_and_a_copy_is_kept(room: Room) -> None:
    content = room.content({"d/intro.ipynb": "1", "d/b": "1", "link": L("d/b")})
    room.bring_to(content)
    home = room.way.home
    with room.acting():
        (home / "d" / "intro.ipynb").write_text("mine")
        (home / "link").unlink()
        write(home, {"link/own": "m"})
        assert room.way.start_over(b"d/intro.ipynb", content) == b"d/intro.before-start-over.ipynb"
        assert room.way.start_over(b"d/intro.ipynb", content) is None
        (home / "d" / "intro.ipynb").write_text("again")
        assert room.way.start_over(b"d/intro.ipynb", content) == b"d/intro.before-start-over-2.ipynb"
        assert room.way.start_over(b"link", content) == b"link.before-start-over"
    then = room.full(
        {
            "d/intro.ipynb": "1",
            "d/intro.before-start-over.ipynb": "mine",
            "d/intro.before-start-over-2.ipynb": "again",
            "d/b": "1",
            "link": L("d/b"),
            "link.before-start-over/own": "m",
        }
    )
    assert room.seen() == then
    room.close()
    room.bring_to(content)
    assert room.seen() == then


def test_a_file_starts_over_whose_directory_was_deleted(room: Room) -> None:
    content = room.content({"d/e/a": F("1", 0o600), "d/b": "1"})
    room.bring_to(content)
    with room.acting():
        does(delete=("d",))(room.way.home)
        assert room.way.start_over(b"d/e/a", content) is None
    assert room.seen() == room.full({"d/e/a": F("1", 0o600)})


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"../outside/a", "path_refused"),
        (b"/etc/hostname", "path_refused"),
        (b"", "path_refused"),
        (b"d/../a", "path_refused"),
        (b"a\0b", "path_refused"),
        (b"d/a/", "path_refused"),
        (b"d", "not_in_image"),
        (b"own", "not_in_image"),
        (b"d/a", "path_refused"),
    ],
)
def test_nothing_else_starts_over(room: Room, path: bytes, code: str) -> None:
    content = room.content({"d/a": "1", "a": "1"})
    room.bring_to(content)
    with room.acting():
        does({"own": "m", "d": L(str(room.outside))}, delete=("d",))(room.way.home)
    before = room.seen()
    with room.acting(), pytest.raises(FilesFailure) as refused:
        room.way.start_over(path, content)
    assert refused.value.code == code
    assert room.seen() == before
    assert (room.outside / "a").read_text() == "1"


def test_everything_is_reset_and_kept(room: Room) -> None:
    old, new = room.content({"a": "1", "d/b": "1", "gone": "1"}), room.content({"a": "2", "d/b": "2", "n": "2"})
    room.bring_to(old)
    with room.acting():
        write(room.way.home, {"a": "mine", "x/y": "m", ".local/state": "m"})
        (room.way.home / "gone").unlink()
        assert room.way.reset(new) == b"before-reset"
    first = {"a": "2", "d/b": "2", "n": "2"}
    kept = {"before-reset/a": "mine", "before-reset/x/y": "m", "before-reset/.local/state": "m"}
    assert room.seen() == room.full({**first, **kept})
    with room.acting():
        (room.way.home / "a").write_text("once more")
        assert room.way.reset(new) == b"before-reset-2"
    assert room.seen() == room.full({**first, **kept, "before-reset-2/a": "once more"})
    with room.acting():
        assert room.way.reset(new) is None
    assert room.bring_to(new) == ()


def test_a_directory_without_a_record_is_the_attendees(room: Room) -> None:
    if room.name == "overlay":
        pytest.skip("without a record there is no upper directory")
    with room.acting():
        write(room.way.home, {"a": "1", "b": "mine"})
    assert room.bring_to(room.content({"a": "1", "b": "2", "c": "2"})) == (b"b.new-fix7",)
    assert room.seen() == room.full({"a": "1", "b": "mine", "b.new-fix7": "2", "c": "2"})


def test_a_damaged_record_costs_nothing_that_was_changed(room: Room) -> None:
    room.bring_to(room.content({"a.py": "1", "b": "1", "d/c": "1"}, "first"))
    with room.acting():
        write(room.way.home, {"a.py": "mine", "d/own": "m"})
    room.close()
    (room.workspace / RECORD).write_text('{"version": 1, "dig')
    new = room.content({"a.py": "2", "b": "2", "n": "2"})
    room.bring_to(new)
    seen = room.seen()
    assert {"a.py": F(b"mine"), "a.new-fix7.py": F(b"2"), "d/own": F(b"m"), "n": F(b"2")}.items() <= {
        path: F(thing.text) if isinstance(thing, F) else thing for path, thing in seen.items()
    }.items()
    room.close()
    assert room.bring_to(new) == ()
    assert room.seen() == seen


def test_a_record_that_cannot_be_read_now_changes_nothing(room: Room) -> None:
    room.bring_to(room.content({"a": "1"}, "first"))
    with room.acting():
        write(room.way.home, {"a": "mine", "own": "m"})
    before, record = room.seen(), room.workspace / RECORD
    new = room.content({"a": "1", "n": "2"})
    record.rename(room.workspace / "aside")
    record.mkdir()  # EISDIR, as EMFILE and EIO would be
    with pytest.raises(FilesFailure, match="record"):
        room.bring_to(new)
    record.rmdir()
    (room.workspace / "aside").rename(record)
    assert room.seen() == before
    room.bring_to(new)
    assert room.seen() == room.full({"a": "mine", "own": "m", "n": "2"})
