"""What a directory holds, as values: entries by path, when two are the same, and how a tree is written down.

Pure: reads no file. Paths are bytes, relative, parts joined by ``/``: names need not be UTF-8, and may hold newlines.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["dir", "file", "link", "other"]


Attrs = tuple[tuple[str, bytes], ...]
"""Extended attributes, by name."""


@dataclass(frozen=True, slots=True)
class Meta:
    """Whose an entry is and who may do what: permission bits, user id, group id, extended attributes."""

    mode: int
    uid: int
    gid: int
    attrs: Attrs = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree.

    Args:
        kind: ``other`` is a pipe, a socket or a device.
        meta: owner and mode; of a symlink the owner counts alone.
        size: bytes of a file.
        content: SHA-256 of a file's bytes in hex; empty where nobody needed it, which equals nothing.
        target: where a symlink points, as written.
    """

    kind: Kind
    meta: Meta
    size: int = 0
    content: str = ""
    target: bytes = b""


Tree = Mapping[bytes, Entry]
"""Entries by path; every parent but the root is an entry itself."""


def same(one: Entry | None, other: Entry | None) -> bool:
    """Whether two entries hold the same, whatever their owners and modes. Two directories do, whatever is in them."""
    if one is None or other is None or one.kind != other.kind:
        return False
    match one.kind:
        case "dir":
            return True
        case "file":
            return one.content != "" and one.content == other.content
        case "link":
            return one.target == other.target
        case "other":
            return False


def mark_of(entry: Entry | None) -> str:
    """What an entry holds, in 64 characters at most: of two that are the `same`, the same. Empty where that is not
    known, and for what equals nothing.
    """
    if entry is None:
        return ""
    match entry.kind:
        case "dir":
            return "dir"
        case "file":
            return entry.content
        case "link":
            return hashlib.sha256(b"link " + entry.target).hexdigest()
        case "other":
            return ""


def parent_of(path: bytes) -> bytes:
    """The directory that a path is in; empty for the root."""
    return path.rpartition(b"/")[0]


def joined(folder: bytes, name: bytes) -> bytes:
    """The path of a name in a directory, which may be the root."""
    return folder + b"/" + name if folder else name


def to_json(tree: Tree) -> list[list[Any]]:
    """A tree as JSON can hold it; bytes that are not UTF-8 as surrogate escapes (PEP 383)."""
    return [
        [_text(path), entry.kind, entry.meta.mode, entry.meta.uid, entry.meta.gid, entry.size, entry.content]
        + ([_text(entry.target)] if entry.kind == "link" else _attrs_to_json(entry.meta.attrs))
        for path, entry in tree.items()
    ]


def from_json(raw: Any) -> dict[bytes, Entry]:
    """The inverse of `to_json`. Raises ValueError, TypeError or IndexError for what it would not have written."""
    tree: dict[bytes, Entry] = {}
    for item in raw:
        path, kind, mode, uid, gid, size, content = item[:7]
        if kind not in ("dir", "file", "link"):
            raise ValueError("an entry of an unknown kind")
        target = _bytes(item[7]) if kind == "link" else b""
        attrs = _attrs_from_json(item[7:]) if kind != "link" else ()
        tree[_bytes(path)] = Entry(kind, Meta(int(mode), int(uid), int(gid), attrs), int(size), str(content), target)
    return tree


def _attrs_to_json(attrs: Attrs) -> list[list[list[str]]]:
    return [[[name, base64.b64encode(value).decode()] for name, value in attrs]] if attrs else []


def _attrs_from_json(raw: list[Any]) -> Attrs:
    return tuple((str(name), base64.b64decode(value, validate=True)) for name, value in (raw[0] if raw else ()))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
