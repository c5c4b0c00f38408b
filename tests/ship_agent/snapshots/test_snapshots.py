"""An attendee's changes, taken as a snapshot and put onto the image's content elsewhere: the same directory."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ship_agent.files.base import Content, FilesFailure
from ship_agent.files.place import Rooted
from ship_agent.files.record import RECORD
from ship_agent.files.scan import read_content
from ship_agent.files.sync import SyncFiles
from ship_agent.protocol.snapshot import (
    CHUNK_BYTES,
    FILE_BYTES_MAX,
    Manifest,
    ManifestError,
    SnapshotEntry,
    read_manifest,
)
from ship_agent.snapshots import take as take_module
from ship_agent.snapshots.keeper import finished
from ship_agent.snapshots.look import Look, look, walk
from ship_agent.snapshots.reading import Known, read_chunk
from ship_agent.snapshots.restore import restore
from ship_agent.snapshots.take import Taken, take
from tests.files.snapshots import file_entry

DIGEST = "sha256:" + "1" * 64
NOW = 1_800_000_000.0


class Ship:
    """A workspace's directory, at the content of an image."""

    def __init__(self, directory: Path, image: Path) -> None:
        content = Content(image, DIGEST, "v1", read_content(image))
        SyncFiles(directory).bring_to(content)
        self.home = directory / "home"
        self.known = Known()

    def take(self) -> Taken:
        return take(self.home, self.known, NOW)


@pytest.fixture
def ship(tmp_path: Path) -> Callable[[str], Ship]:
    """Makes ships that hold the same image."""
    image = tmp_path / "image"
    (image / "data").mkdir(parents=True)
    (image / "intro.ipynb").write_text("the image's notebook")
    (image / "data" / "a.csv").write_text("1,2,3")
    (image / "data" / "b.csv").write_text("4,5,6")

    def make(name: str) -> Ship:
        (tmp_path / name).mkdir()
        return Ship(tmp_path / name, image)

    return make


def moved(taken: Taken, source: Ship, target: Ship) -> None:
    """Put a snapshot onto another ship, through the JSON that the mux keeps."""
    chunks = {}
    for chunk, where in taken.sources.items():
        block = read_chunk(source.home, where, chunk)
        assert block is not None
        chunks[chunk] = block
    restore(target.home, read_manifest(taken.manifest.body()), chunks.__getitem__)


def tree(home: Path) -> dict[bytes, tuple[str, int, bytes]]:
    """All that there is in a directory, as far as it counts."""
    found = {}
    for path in home.rglob("*"):
        status, relative = path.lstat(), os.fsencode(path.relative_to(home))
        if stat.S_ISLNK(status.st_mode):
            found[relative] = ("link", 0, os.fsencode(path.readlink()))
        elif stat.S_ISDIR(status.st_mode):
            found[relative] = ("dir", stat.S_IMODE(status.st_mode), b"")
        elif stat.S_ISREG(status.st_mode):
            found[relative] = ("file", stat.S_IMODE(status.st_mode), path.read_bytes())
    return found


def change_everything(home: Path) -> None:
    """What attendees do, and what they should not."""
    (home / "intro.ipynb").write_text("edited")
    (home / "data" / "a.csv").unlink()
    (home / "made" / "deep").mkdir(parents=True)
    (home / "made" / "deep" / "tool.sh").write_text("#!/bin/sh\n")
    (home / "made" / "deep" / "tool.sh").chmod(0o755)
    (home / "empty").touch()
    (home / "hollow").mkdir(mode=0o750)
    (home / "big.bin").write_bytes(os.urandom(CHUNK_BYTES) + b"\0" * CHUNK_BYTES + b"end")
    (home / "out").symlink_to("/etc/passwd")
    (home / "up").symlink_to("..")
    Path(os.fsdecode(os.fsencode(home) + b"/odd\n\xff name%41")).write_text("odd")
    os.mkfifo(home / "pipe")


def test_a_snapshot_makes_another_ships_directory_the_same(ship: Callable[[str], Ship]) -> None:
    one, other = ship("one"), ship("other")
    change_everything(one.home)
    moved(one.take(), one, other)
    assert tree(other.home) == tree(one.home)


def test_restoring_twice_and_over_other_things_gives_the_same(ship: Callable[[str], Ship]) -> None:
    one, other = ship("one"), ship("other")
    change_everything(one.home)
    taken = one.take()
    (other.home / "intro.ipynb").unlink()
    (other.home / "intro.ipynb").mkdir()
    (other.home / "intro.ipynb" / "in the way").touch()
    (other.home / "made").symlink_to("/tmp")
    moved(taken, one, other)
    moved(taken, one, other)
    assert tree(other.home) == tree(one.home)


def test_what_is_the_images_is_not_in_a_snapshot(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    assert one.take().manifest == Manifest(digest=DIGEST, taken_at=NOW, entries=[])
    (one.home / "intro.ipynb").write_text("edited")
    (one.home / "data" / "b.csv").write_text("4,5,6")  # saved, and the same
    assert [entry.path for entry in one.take().manifest.entries] == ["intro.ipynb"]


def test_without_a_record_everything_is_the_attendees(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    (one.home.parent / RECORD).unlink()
    paths = [entry.path for entry in one.take().manifest.entries]
    assert paths == ["data", "data/a.csv", "data/b.csv", "intro.ipynb"]


def test_only_what_changed_is_read_again(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    (one.home / "a").write_text("a")
    one.take()
    known = {path: hashed for path, (_, hashed) in one.known.hashed.items()}
    (one.home / "b").write_text("b")
    one.take()
    assert all(one.known.hashed[path][1] is hashed for path, hashed in known.items())
    assert b"b" in one.known.hashed


def test_two_looks_differ_when_something_was_written(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    before = look(one.home)
    assert look(one.home) == before
    (one.home / "intro.ipynb").write_text("the image's n0tebook")
    assert look(one.home) != before
    assert one.take().look == look(one.home)


def test_programs_own_files_and_keys_are_left_out(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    for name in (".cache/pip", ".local/share/jupyter/runtime"):
        (one.home / name).mkdir(parents=True)
        (one.home / name / "secret").write_text("x")
    assert not any("secret" in entry.path or ".cache" in entry.path for entry in one.take().manifest.entries)


def test_a_file_that_is_too_large_is_named(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    with (one.home / "huge").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    manifest = one.take().manifest
    assert manifest.left_out == ["huge"]
    assert manifest.entries == []


def test_a_directory_that_is_exchanged_meanwhile_is_no_snapshot(
    ship: Callable[[str], Ship], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ship("one")

    def exchange(root: Rooted, locked: set[bytes]) -> Look:
        one.home.rename(one.home.with_name("home.last"))
        one.home.mkdir()
        return walk(root, locked)

    monkeypatch.setattr(take_module, "walk", exchange)
    with pytest.raises(FilesFailure) as failure:
        one.take()
    assert failure.value.retryable


def test_a_chunk_that_was_changed_is_not_given(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    (one.home / "a").write_text("before")
    ((chunk, where),) = one.take().sources.items()
    (one.home / "a").write_text("after!")
    assert read_chunk(one.home, where, chunk) is None
    (one.home / "a").unlink()
    (one.home / "a").symlink_to("/etc/passwd")
    assert read_chunk(one.home, where, chunk) is None


def test_a_damaged_chunk_leaves_the_file_as_it_was(ship: Callable[[str], Ship]) -> None:
    one, other = ship("one"), ship("other")
    (one.home / "intro.ipynb").write_text("edited")
    with pytest.raises(FilesFailure):
        restore(other.home, one.take().manifest, lambda _: b"something else")
    assert (other.home / "intro.ipynb").read_text() == "the image's notebook"
    assert sorted(path.name for path in other.home.iterdir()) == ["data", "intro.ipynb"]


def test_what_is_restored_is_on_the_disk_when_that_is_told(
    ship: Callable[[str], Ship], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = ship("one"), ship("other")
    (one.home / "made" / "below").mkdir(parents=True)
    (one.home / "made" / "below" / "notes.txt").write_text("mine")
    (one.home / "intro.ipynb").write_text("edited")
    synced: set[Path] = set()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    moved(one.take(), one, other)
    home = other.home.resolve()
    files = {home / "made" / "below" / "notes.txt", home / "intro.ipynb"}
    assert synced >= files | {home, home / "made", home / "made" / "below"}


def entry(path: str, kind: str = "file", **fields: object) -> dict[str, object]:
    given = {"path": path, "kind": kind, "mode": 0o644, "uid": 0, "gid": 0, "mtime_ns": 0}
    return {**given, **fields}


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../out")],
        [entry("/etc/passwd")],
        [entry("a//b")],
        [entry("a/./b")],
        [entry("%2e%2e/out")],
        [entry("a%00b")],
        [entry("a%2Fb")],
        [entry("a"), entry("a")],
        [entry("a", "link", target="/etc"), entry("a/passwd")],
        [entry("a"), entry("a/b")],
        [entry("a", size=1)],
        [entry("a", chunks=["0" * 64])],
        [entry("a", size=1, chunks=["x"])],
        [entry("a", mode=0o10000)],
        [entry("a", attrs={"trusted.overlay.opaque": "eQ=="})],
        [entry("a", attrs={"user.overlay.opaque": "eQ=="})],
        [entry("a", attrs={"security.capability": "eQ=="})],
        [entry("a", attrs={"user.a\0": "eQ=="})],
        [entry("a", attrs={"user.a": "eQ"})],
        [entry("a", attrs={"user.a": "e" * 5000})],
        [entry("a", attrs={f"user.{number}": "" for number in range(100)})],
        [entry(f"{number}", size=FILE_BYTES_MAX, chunks=["0" * 64] * 256) for number in range(33)],
    ],
)
def test_a_manifest_that_leads_out_or_contradicts_itself_is_none(entries: list[dict[str, object]]) -> None:
    body = {"version": 1, "digest": "", "taken_at": 0.0, "entries": entries}
    with pytest.raises(ManifestError) as error:
        read_manifest(json.dumps(body).encode())
    assert "passwd" not in str(error.value)


@pytest.mark.parametrize("field", ["gone", "left_out", "locked"])
def test_what_a_manifest_names_lies_in_the_directory(field: str) -> None:
    for path in ("../out", "/etc/passwd", "a//b", "a%00"):
        body = {"version": 1, "digest": "", "taken_at": 0.0, "entries": [], field: [path]}
        with pytest.raises(ManifestError):
            read_manifest(json.dumps(body).encode())


def test_symlinks_on_the_ship_lead_nothing_out_of_the_directory(tmp_path: Path) -> None:
    """Of whoever worked there before, or of the image: a snapshot that goes through them."""
    home, outside = tmp_path / "home", tmp_path / "outside"
    outside.mkdir()
    (outside / "theirs").write_text("theirs")
    for name in ("d", "e", "f", "g"):
        home.mkdir(exist_ok=True)
        (home / name).symlink_to(outside / "theirs" if name == "g" else outside)
    entries = [file_entry(b"d/theirs", b"A"), file_entry(b"f", b"A"), file_entry(b"g", b"A")]
    manifest = Manifest(digest="", taken_at=NOW, entries=entries, gone=["e/theirs"])
    restore(home, manifest, lambda _: b"A")
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("theirs", "theirs")]
    assert {path.name: path.is_symlink() for path in home.iterdir()} == {"d": False, "e": True, "f": False, "g": False}
    assert (home / "d" / "theirs").read_text() == "A"


def test_a_manifest_comes_back_from_its_json(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    change_everything(one.home)
    manifest = one.take().manifest
    assert read_manifest(manifest.body()) == manifest
    odd = next(entry for entry in manifest.entries if entry.path.startswith("odd"))
    assert odd.name == b"odd\n\xff name%41"
    assert odd.chunks == [hashlib.sha256(b"odd").hexdigest()]
    assert isinstance(odd, SnapshotEntry)


def test_a_finished_write_is_seen_beside_one_that_never_ends(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    kept = one.take().look
    (one.home / "log").write_text("1")
    first = look(one.home)
    assert not finished(kept, kept, first)
    (one.home / "log").write_text("2 and more")
    (one.home / "intro.ipynb").write_text("saved")
    second = look(one.home)
    assert not finished(kept, first, second)
    (one.home / "log").write_text("3 and still more")
    third = look(one.home)
    assert finished(kept, second, third)
    assert not finished(second | {b"log": first[b"log"]}, second, third)


def test_a_deletion_is_a_finished_write(ship: Callable[[str], Ship]) -> None:
    one = ship("one")
    kept = one.take().look
    (one.home / "intro.ipynb").unlink()
    assert finished(kept, look(one.home), look(one.home))


def test_files_that_are_too_large_are_named_unless_they_are_as_the_image_has_them(
    ship: Callable[[str], Ship], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_module, "FILE_BYTES_MAX", 10)
    one = ship("one")
    assert not one.take().manifest.differs, "the image's notebook is larger, and theirs again whatever happens"
    (one.home / "mine.bin").write_bytes(b"0" * 11)
    assert one.take().manifest.left_out == ["mine.bin"]
    same_size = "THE image's notebook"
    (one.home / "intro.ipynb").write_text(same_size)
    assert one.take().manifest.left_out == ["intro.ipynb", "mine.bin"]
    (one.home / "intro.ipynb").write_text(f"{same_size}, and more")
    (one.home / "mine.bin").write_bytes(b"0" * 10)
    taken = one.take().manifest
    assert (taken.left_out, [entry.path for entry in taken.entries]) == (["intro.ipynb"], ["mine.bin"])
