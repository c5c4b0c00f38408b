"""What may happen to an attendee's directory between two images, and what must be there afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.ship_agent.files.trees import D, F, L, Other, Spec, set_attrs, write

LABEL = "fix7"
ODD = "two\nlines", "no \udcff utf-8", "-rf *", " ", "a" * 250 + ".py", "späße.md"


@dataclass(frozen=True)
class Situation:
    """One of them.

    Args:
        name: what happens.
        old: the first image's content.
        edit: what the attendee does in the directory.
        new: the next image's content.
        then: what is in the directory afterwards.
        root: whether it needs another owner than the test's.
        attrs: whether it needs a file system with extended attributes and access control lists.
    """

    name: str
    old: Spec
    edit: Callable[[Path], None]
    new: Spec
    then: Spec
    root: bool = False
    attrs: bool = False


def does(spec: Spec | None = None, *, delete: tuple[str, ...] = ()) -> Callable[[Path], None]:
    """An edit: delete first, then write."""

    def edit(home: Path) -> None:
        for path in delete:
            place = home / path
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()
        write(home, spec or {})

    return edit


nothing = does()


def rename(home: Path) -> None:
    (home / "a.py").rename(home / "mine.py")


def lock(home: Path) -> None:
    write(home, {"d/own": "x"})
    (home / "a").chmod(0o000)
    (home / "d").chmod(0o000)


def link(home: Path) -> None:
    write(home, {"one": "mine"})
    os.link(home / "one", home / "two")
    os.link(home / "one", home / "d" / "three")


def go_deep(home: Path) -> None:
    """A path longer than PATH_MAX, made a name at a time."""
    at = os.open(home, os.O_RDONLY)
    for name in ["twenty characters ok"] * 220:
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("own", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=at))
    os.close(at)


def make_pipes(home: Path) -> None:
    os.mkfifo(home / "pipe")
    (home / "a").unlink()
    os.mkfifo(home / "a")
    here = Path.cwd()
    os.chdir(home)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
    finally:
        os.chdir(here)


def _replaced_by_link(home: Path) -> None:
    shutil.rmtree(home / "d")
    (home / "d").symlink_to(home.parent / "outside")


def change_owner(home: Path) -> None:
    os.chown(home / "a", 1234, 1234)
    os.chown(home / "d", 1234, 1234)


def change_modes(home: Path) -> None:
    (home / "a").chmod(0o700)
    (home / "d").chmod(0o750)


def access_list(reader: int, group: int) -> bytes:
    """An access control list by which one more may read (linux/posix_acl_xattr.h); ``group``: bits of the mask."""
    nobody = 0xFFFF_FFFF
    entries = ((0x01, 6, nobody), (0x02, 4, reader), (0x04, 4, nobody), (0x10, group, nobody), (0x20, 4, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


MAY_READ = ("system.posix_acl_access", access_list(1234, 4))
INHERITED = ("system.posix_acl_default", access_list(1234, 4))
FIRST, NEXT, MINE = (("user.tag", text) for text in (b"first", b"next", b"mine"))
MAY_BIND = ("security.capability", struct.pack("<5I", 0x0200_0001, 1 << 10, 0, 0, 0))


def tag(home: Path) -> None:
    set_attrs(home / "a", (MINE,))
    set_attrs(home / "b", (MAY_READ,))
    set_attrs(home / "d", (("user.also", b"\0\xff"), MINE))
    os.removexattr(home / "c", "user.tag")


def pass_on(home: Path) -> None:
    set_attrs(home / "d", (INHERITED,))


SITUATIONS = [
    Situation("untouched and changed by the image: updated", {"a": "1"}, nothing, {"a": "2"}, {"a": "2"}),
    Situation("edited and unchanged by the image: stays", {"a": "1"}, does({"a": "mine"}), {"a": "1"}, {"a": "mine"}),
    Situation(
        "edited and changed by the image: stays, the new one beside",
        {"intro.ipynb": "1", "data.tar.gz": "1", "README": "1", ".bashrc": "1"},
        does({"intro.ipynb": "mine", "data.tar.gz": "mine", "README": "mine", ".bashrc": "mine"}),
        {"intro.ipynb": "2", "data.tar.gz": "2", "README": "2", ".bashrc": "2"},
        {
            **{"intro.ipynb": "mine", "data.tar.gz": "mine", "README": "mine", ".bashrc": "mine"},
            **{"intro.new-fix7.ipynb": "2", "data.new-fix7.tar.gz": "2", "README.new-fix7": "2"},
            ".bashrc.new-fix7": "2",
        },
    ),
    Situation("edited in the same size", {"a.py": "1"}, does({"a.py": "m"}), {"a.py": "1"}, {"a.py": "m"}),
    Situation("edited and back again: untouched", {"a": "1"}, does({"a": "1"}), {"a": "2"}, {"a": "2"}),
    Situation("edited as the image was", {"a": "1"}, does({"a": "2"}), {"a": "2"}, {"a": "2"}),
    Situation("emptied", {"a": "1", "b": ""}, does({"a": "", "b": "x"}), {"a": "1", "b": ""}, {"a": "", "b": "x"}),
    Situation("edited and deleted by the image: stays", {"a": "1"}, does({"a": "mine"}), {}, {"a": "mine"}),
    Situation("untouched and deleted by the image: gone", {"a": "1", "b": "1"}, nothing, {"b": "1"}, {"b": "1"}),
    Situation("deleted: stays deleted", {"a": "1", "b": "1"}, does(delete=("a",)), {"a": "1", "b": "1"}, {"b": "1"}),
    Situation("deleted and changed by the image: stays deleted", {"a": "1"}, does(delete=("a",)), {"a": "2"}, {}),
    Situation("deleted by both", {"a": "1", "b": "1"}, does(delete=("a",)), {"b": "1"}, {"b": "1"}),
    Situation("new in the image: appears", {"a": "1"}, nothing, {"a": "1", "d/n": "2"}, {"a": "1", "d/n": "2"}),
    Situation(
        "the attendee's own: stays",
        {"a": "1"},
        does({"x/y/z": "m", "e": D()}),
        {"a": "1"},
        {"a": "1", "x/y/z": "m", "e": D()},
    ),
    Situation(
        "made by both differently: beside",
        {},
        does({"n.py": "mine"}),
        {"n.py": "2"},
        {"n.py": "mine", "n.new-fix7.py": "2"},
    ),
    Situation("made by both alike: one", {}, does({"n.py": "2"}), {"n.py": "2"}, {"n.py": "2"}),
    Situation("renamed", {"a.py": "1"}, rename, {"a.py": "2"}, {"mine.py": "1"}),
    Situation(
        "a directory deleted: stays deleted, with what is new in it",
        {"d/a": "1", "b": "1"},
        does(delete=("d",)),
        {"d/a": "2", "d/n": "2", "d/e/n": "2", "b": "1"},
        {"b": "1"},
    ),
    Situation(
        "a directory deleted and made again: what is new appears",
        {"d/a": "1", "d/b": "1"},
        does({"d/own": "m"}, delete=("d",)),
        {"d/a": "2", "d/b": "1", "d/n": "2"},
        {"d/own": "m", "d/n": "2"},
    ),
    Situation("a directory gone from the image", {"d/e/a": "1", "b": "1"}, nothing, {"b": "1"}, {"b": "1"}),
    Situation(
        "a directory gone from the image, something own in it",
        {"d/a": "1", "d/e/b": "1", "d/f/c": "1"},
        does({"d/e/own": "m", "d/f/c": "m"}),
        {},
        {"d/e/own": "m", "d/f/c": "m"},
    ),
    Situation("a file becomes a directory", {"a": "1"}, nothing, {"a/b": "2"}, {"a/b": "2"}),
    Situation(
        "an edited file becomes a directory: beside",
        {"a": "1"},
        does({"a": "mine"}),
        {"a/b": "2", "a/c/d": "2"},
        {"a": "mine", "a.new-fix7/b": "2", "a.new-fix7/c/d": "2"},
    ),
    Situation("a directory becomes a file", {"d/a": "1"}, nothing, {"d": "2"}, {"d": "2"}),
    Situation(
        "a directory with something own becomes a file: beside",
        {"d/a": "1", "d/b": "1"},
        does({"d/own": "m"}),
        {"d": "2"},
        {"d/own": "m", "d.new-fix7": "2"},
    ),
    Situation(
        "the attendee makes a directory of a file that changes: beside",
        {"a": "1"},
        does({"a/own": "m"}, delete=("a",)),
        {"a": "2"},
        {"a/own": "m", "a.new-fix7": "2"},
    ),
    Situation(
        "the attendee makes a file of a directory: stays",
        {"d/a": "1"},
        does({"d": "mine"}, delete=("d",)),
        {"d/a": "2", "d/n": "2"},
        {"d": "mine"},
    ),
    Situation("a symlink changes", {"a": L("b")}, nothing, {"a": L("c")}, {"a": L("c")}),
    Situation(
        "an edited symlink changes: beside",
        {"a": L("b")},
        does({"a": L("mine")}, delete=("a",)),
        {"a": L("c")},
        {"a": L("mine"), "a.new-fix7": L("c")},
    ),
    Situation("a symlink becomes a file", {"a": L("b")}, nothing, {"a": "2"}, {"a": "2"}),
    Situation("a file becomes a symlink", {"a": "1"}, nothing, {"a": L("../..")}, {"a": L("../..")}),
    Situation("a symlink becomes a directory", {"a": L("b")}, nothing, {"a/b": "2"}, {"a/b": "2"}),
    Situation(
        "the attendee makes a symlink out of the directory of a file",
        {"a.py": "1"},
        does({"a.py": L("/etc/hostname")}, delete=("a.py",)),
        {"a.py": "2"},
        {"a.py": L("/etc/hostname"), "a.new-fix7.py": "2"},
    ),
    Situation(
        "the attendee makes a symlink out of the directory of a directory: never followed",
        {"d/a": "1", "d/e/b": "1"},
        _replaced_by_link,
        {"d/a": "2", "d/n": "2"},
        {"d": L("OUTSIDE")},
    ),
    Situation(
        "the attendee changes a mode: kept, with what is in the new one",
        {"a": "1", "d": D(), "d/b": "1"},
        change_modes,
        {"a": "2", "d": D(), "d/b": "2"},
        {"a": F("2", 0o700), "d": D(0o750), "d/b": "2"},
    ),
    Situation(
        "the image changes modes",
        {"a": "1", "b": "1", "d": D(), "d/x": "1"},
        does({"b": "mine"}),
        {"a": F("1", 0o755), "b": F("1", 0o755), "d": D(0o700), "d/x": "1"},
        {"a": F("1", 0o755), "b": "mine", "d": D(0o700), "d/x": "1"},
    ),
    Situation(
        "read-only content",
        {"d": D(0o555), "d/a": F("1", 0o444), "d/e": D(0o555), "d/e/b": F("1", 0o400)},
        nothing,
        {"d": D(0o555), "d/a": F("2", 0o444), "d/e": D(0o555), "d/e/b": F("1", 0o400)},
        {"d": D(0o555), "d/a": F("2", 0o444), "d/e": D(0o555), "d/e/b": F("1", 0o400)},
    ),
    Situation(
        "the attendee locks a file and a directory",
        {"a": "1", "d/x": "1"},
        lock,
        {"a": "1", "d/x": "1", "n": "2"},
        {"a": F("1", 0o000), "d": D(0o000), "d/x": "1", "d/own": "x", "n": "2"},
    ),
    Situation(
        "hard links", {"d/a": "1"}, link, {"d/a": "2"}, {"d/a": "2", "d/three": "mine", "one": "mine", "two": "mine"}
    ),
    Situation(
        "odd names",
        dict.fromkeys(ODD, "1"),
        does(dict.fromkeys(ODD[:4], "mine")),
        dict.fromkeys(ODD, "2"),
        {
            **dict.fromkeys(ODD[:4], "mine"),
            **{f"{name}.new-fix7": "2" for name in ODD[:4]},
            **dict.fromkeys(ODD[4:], "2"),
        },
    ),
    Situation(
        "a long name beside",
        {"a" * 250 + ".py": "1"},
        does({"a" * 250 + ".py": "mine"}),
        {"a" * 250 + ".py": "2"},
        {"a" * 250 + ".py": "mine", "a" * 243 + ".new-fix7.py": "2"},
    ),
    Situation(
        "the name beside is taken",
        {"a.py": "1"},
        does({"a.py": "mine", "a.new-fix7.py": "other"}),
        {"a.py": "2"},
        {"a.py": "mine", "a.new-fix7.py": "other", "a.new-fix7-2.py": "2"},
    ),
    Situation(
        "the same version is beside already",
        {"a.py": "1"},
        does({"a.py": "mine", "a.new-fix7.py": "2"}),
        {"a.py": "2"},
        {"a.py": "mine", "a.new-fix7.py": "2"},
    ),
    Situation(
        "pipes and sockets",
        {"a": "1", "b": "1"},
        make_pipes,
        {"a": "2", "b": "2"},
        {"a": Other(), "a.new-fix7": "2", "b": "2", "pipe": Other(), "socket": Other()},
    ),
    Situation(
        "deeper than a path may be long",
        {"a": "1"},
        go_deep,
        {"a": "2"},
        {"a": "2", "/".join([*["twenty characters ok"] * 220, "own"]): ""},
    ),
    Situation(
        "owners",
        {"a": F("1", uid=1000), "b": F("1", uid=1000), "d": D(uid=1000), "d/c": F("1", uid=1000)},
        change_owner,
        {"a": F("2", uid=1000), "b": F("1", uid=1001), "d": D(uid=1000), "d/c": F("1", uid=1000)},
        {"a": F("2", uid=1234), "b": F("1", uid=1001), "d": D(uid=1234), "d/c": F("1", uid=1000)},
        root=True,
    ),
    Situation(
        "the image changes attributes",
        {"a": F("1", attrs=(FIRST,)), "b": F("1", attrs=(MAY_READ,)), "d": D(attrs=(FIRST,)), "d/x": "1"},
        does({"d/own": "m"}),
        {"a": F("1", attrs=(NEXT,)), "b": "1", "d": D(attrs=(INHERITED, NEXT)), "d/x": F("2", attrs=(MAY_READ,))},
        {
            **{"a": F("1", attrs=(NEXT,)), "b": "1", "d": D(attrs=(INHERITED, NEXT))},
            **{"d/x": F("2", attrs=(MAY_READ,)), "d/own": "m"},
        },
        attrs=True,
    ),
    Situation(
        "the attendee changes attributes: kept, with what is in the new one",
        {"a": F("1", attrs=(FIRST,)), "b": "1", "c": F("1", attrs=(FIRST,)), "d": D(), "d/x": "1"},
        tag,
        {"a": F("2", attrs=(NEXT,)), "b": "2", "c": F("2", attrs=(NEXT,)), "d": D(attrs=(NEXT,)), "d/x": "2"},
        {
            **{"a": F("2", attrs=(MINE,)), "b": F("2", attrs=(MAY_READ,)), "c": "2"},
            **{"d": D(attrs=(("user.also", b"\0\xff"), MINE)), "d/x": "2"},
        },
        attrs=True,
    ),
    Situation(
        "edited, with attributes: kept, and those of the new one beside",
        {"a.py": F("1", attrs=(FIRST,))},
        does({"a.py": "mine"}),
        {"a.py": F("2", attrs=(NEXT,))},
        {"a.py": F("mine", attrs=(FIRST,)), "a.new-fix7.py": F("2", attrs=(NEXT,))},
        attrs=True,
    ),
    Situation(
        "what is new in a directory whose access list is passed on: is as the image has it",
        {"d/x": "1"},
        pass_on,
        {"d/x": "2", "d/n": "2", "d/e/n": "2"},
        {"d": D(attrs=(INHERITED,)), "d/x": "2", "d/n": "2", "d/e/n": "2"},
        attrs=True,
    ),
    Situation(
        "capabilities",
        {"a": F("1", 0o755, attrs=(MAY_BIND,)), "b": F("1", 0o755)},
        nothing,
        {"a": F("2", 0o755, attrs=(MAY_BIND,)), "b": F("1", 0o755, attrs=(MAY_BIND,))},
        {"a": F("2", 0o755, attrs=(MAY_BIND,)), "b": F("1", 0o755, attrs=(MAY_BIND,))},
        root=True,
        attrs=True,
    ),
]
