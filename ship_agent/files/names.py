"""Names of copies beside a file: of the image's new version, and of what was the attendee's before a start over.

Pure. Rules: the ending stays, so that programs still know the kind of file. A name that is taken gets a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable

NAME_BYTES_MAX = 255
"""NAME_MAX of Linux' file systems."""
LABEL_CHARS_MAX = 32
NUMBERS_MAX = 10_000
"""Copies of one file that are told apart by a number; beyond it something else is wrong."""


def label_of(reference: str, digest: str) -> str:
    """What an image is called in names of files: its tag, else the first eight digits of its digest."""
    last = reference.partition("@")[0].rpartition("/")[2]
    tag = last.partition(":")[2]
    return re.sub(r"[^A-Za-z0-9_.-]", "-", tag)[:LABEL_CHARS_MAX] or digest.removeprefix("sha256:")[:8]


def beside(name: bytes, mark: str, taken: Callable[[bytes], bool]) -> bytes:
    """A free name for a copy of ``name``: ``intro.ipynb`` with the mark ``new-fix7`` is ``intro.new-fix7.ipynb``.

    Args:
        name: the last part of a path.
        mark: goes before the ending.
        taken: whether a name cannot be had.
    """
    for number in range(1, NUMBERS_MAX):
        candidate = _marked(name, mark if number == 1 else f"{mark}-{number}")
        if not taken(candidate):
            return candidate
    raise ValueError("every name beside a file is taken")


def numbered(name: bytes, taken: Callable[[bytes], bool]) -> bytes:
    """A free name for a directory: ``name``, ``name-2`` and so on."""
    for number in range(1, NUMBERS_MAX):
        candidate = name if number == 1 else name + f"-{number}".encode()
        if not taken(candidate):
            return candidate
    raise ValueError("every name of a copy is taken")


def _marked(name: bytes, mark: str) -> bytes:
    start, dot, end = name.rpartition(b".")
    if not start.strip(b".") or b"." not in name:
        start, dot, end = name, b"", b""  # no ending: README, .bashrc
    elif start.endswith(b".tar"):
        start, dot = start[:-4], b".tar."
    marked = b"." + mark.encode()
    room = NAME_BYTES_MAX - len(marked) - len(dot) - len(end)
    if room < 1:
        return _cut(name, NAME_BYTES_MAX - len(marked)) + marked
    return _cut(start, room) + marked + dot + end


def _cut(name: bytes, most: int) -> bytes:
    """The first bytes of a name; of one that is text no half of a character, since programs do not list such names."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return name[:most]
    return name[:most].decode(errors="ignore").encode()
