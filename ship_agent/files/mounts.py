"""Overlay mounts by mount(2) and umount2(2), and what is mounted where (proc_pid_mountinfo(5)).

Options: ``userxattr`` keeps overlay's marks where a container's root without privileges could have written them too, so
that both read them; ``index``, ``metacopy`` and ``xino`` are off, since each ties an upper directory to one lower, and
this one changes with the image. ``redirect_dir=off`` together with ``userxattr`` is refused by the kernel, which
implies it (Documentation/filesystems/overlayfs).
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ship_agent.files.base import FilesFailure
from ship_agent.files.place import remove_tree

OPTIONS = "userxattr,index=off,metacopy=off,xino=off"
MOUNT_FLAGS = 0x2 | 0x4
"""MS_NOSUID, MS_NODEV: an attendee's files are neither."""
_NOT_IN_OPTIONS = re.compile(r"[:,\\\s]")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def mount(lower: Path, upper: Path, work: Path, at: Path) -> None:
    """Mount an overlay. Raises FilesFailure, and OSError by the kernel's word."""
    if any(_NOT_IN_OPTIONS.search(str(path)) for path in (lower, upper, work)):
        raise FilesFailure(
            "files_failed", "a path of the ship's directory has a character that no overlay mount takes; use sync"
        )
    options = f"lowerdir={lower},upperdir={upper},workdir={work},{OPTIONS}"
    _call(lambda: _libc().mount(b"overlay", os.fsencode(at), b"overlay", MOUNT_FLAGS, options.encode()), at)


def unmount(at: Path) -> None:
    """Unmount; it must not be in use. Raises OSError, EBUSY if it is."""
    _call(lambda: _libc().umount2(os.fsencode(at), 0), at)


def upper_at(at: Path) -> str | None:
    """The upper directory of the overlay that is mounted at a path; None if none is."""
    wanted = os.fsencode(at)
    found = None
    with open("/proc/self/mountinfo", "rb") as file:  # noqa: PTH123 - not on a disk
        for line in file:
            before, _, after = line.partition(b" - ")
            fields = after.split()
            if _unescaped(before.split()[4]) == wanted and fields[0] == b"overlay":
                options = _unescaped(fields[2]).split(b",")
                found = next((os.fsdecode(o[9:]) for o in options if o.startswith(b"upperdir=")), "")
    return found


def can_mount(directory: Path) -> bool:
    """Whether overlays can be mounted below a directory: tried once there, and taken away again."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    place = Path(tempfile.mkdtemp(prefix=".new-overlay-", dir=directory))
    try:
        lower, upper, work, at = (place / name for name in ("lower", "upper", "work", "at"))
        for folder in (lower, upper, work, at):
            folder.mkdir()
        mount(lower, upper, work, at)
        unmount(at)
    except (OSError, FilesFailure):
        return False
    finally:
        remove_tree(place)
    return True


def _call(call: Callable[[], int], at: Path) -> None:
    if call() != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(at))


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), field)
