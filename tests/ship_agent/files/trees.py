"""Directories as values in tests: written from one, seen as one. Seen without the code under test."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

Attrs = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class F:
    """A file."""

    text: str | bytes
    mode: int = 0o644
    uid: int | None = None
    attrs: Attrs = ()


@dataclass(frozen=True)
class D:
    """A directory."""

    mode: int = 0o755
    uid: int | None = None
    attrs: Attrs = ()


@dataclass(frozen=True)
class L:
    """A symlink."""

    target: str


@dataclass(frozen=True)
class Other:
    """A pipe or a socket."""


Thing = str | F | D | L | Other
Spec = Mapping[str, Thing]
"""Things by path; directories above them need not be named."""


def full(spec: Spec, uid: int) -> dict[str, Thing]:
    """A specification with every directory and owner named, as `seen` gives it."""
    found: dict[str, Thing] = {}
    for path, thing in spec.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            found.setdefault("/".join(parts[:depth]), D(uid=uid))
        match thing:
            case str():
                found[path] = F(_bytes(thing), uid=uid)
            case F():
                found[path] = replace(thing, text=_bytes(thing.text), uid=uid if thing.uid is None else thing.uid)
            case D():
                found[path] = replace(thing, uid=uid if thing.uid is None else thing.uid)
            case _:
                found[path] = thing
    return found


def seen(root: Path) -> dict[str, Thing]:
    """What is in a directory; large files by their hash."""
    found: dict[str, Thing] = {}
    top = os.fspath(root)
    for folder, folders, files, at in os.fwalk(top):
        for name in (*folders, *files):
            path = f"{folder}/{name}"[len(top) + 1 :]
            what = os.stat(name, dir_fd=at, follow_symlinks=False)
            mode = stat.S_IMODE(what.st_mode)
            attrs = _attrs(f"/proc/self/fd/{at}/{name}")
            if stat.S_ISDIR(what.st_mode):
                found[path] = D(mode, what.st_uid, attrs)
            elif stat.S_ISLNK(what.st_mode):
                found[path] = L(os.readlink(name, dir_fd=at))
            elif stat.S_ISREG(what.st_mode):
                with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at), "rb") as file:
                    text = hashlib.file_digest(file, "sha256").digest() if what.st_size > 1 << 20 else file.read()
                found[path] = F(text, mode, what.st_uid, attrs)
            else:
                found[path] = Other()
    return found


def _attrs(path: str) -> Attrs:
    """Extended attributes; an overlay shows those of its own where they have lain for themselves."""
    names = sorted(name for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("user.overlay."))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def set_attrs(path: Path, attrs: Attrs) -> None:
    """Have these on a file or directory."""
    for name, value in attrs:
        os.setxattr(path, name, value)


def takes_attrs(directory: Path) -> bool:
    """Whether files of a directory can have all that situations give them."""
    try:
        os.setxattr(directory, "user.tried", b"1")
        os.removexattr(directory, "user.tried")
        os.getxattr(directory, "system.posix_acl_default")
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


def write(root: Path, spec: Spec) -> None:
    """Write a specification into a directory that may be there already."""
    root.mkdir(parents=True, exist_ok=True)
    locked: list[tuple[Path, D]] = []
    for path, thing in sorted(spec.items()):
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        match thing:
            case str() | F():
                file = F(thing) if isinstance(thing, str) else thing
                place.write_bytes(_bytes(file.text))
                if file.uid is not None and os.geteuid() == 0:
                    os.chown(place, file.uid, file.uid)
                place.chmod(file.mode)
                set_attrs(place, file.attrs)
            case D():
                place.mkdir(exist_ok=True)
                locked.append((place, thing))
            case L(target):
                place.symlink_to(target)
            case Other():
                os.mkfifo(place)
    for place, directory in reversed(locked):
        if directory.uid is not None and os.geteuid() == 0:
            os.chown(place, directory.uid, directory.uid)
        place.chmod(directory.mode)
        set_attrs(place, directory.attrs)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
