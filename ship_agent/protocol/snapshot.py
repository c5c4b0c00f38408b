"""A snapshot of an attendee's changes, as ships and the mux exchange and keep it.

Owns the manifest: what differs from the image's content, by path, with files as lists of chunks that are named by the
SHA-256 of their bytes. The manifest itself is named by the SHA-256 of its JSON. Pure: reads no file.

Rules: paths and targets are bytes, written percent-encoded (RFC 3986 section 2.1). A manifest that parses can be
restored and archived without leaving the directory that it is restored to.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import Field, ValidationError, model_validator

from ship_agent.protocol.messages import Count, Digest, Message

CHUNK_BYTES = 1 << 20
"""Of one chunk; the last of a file may be shorter."""
OBJECT_BYTES_MAX = CHUNK_BYTES + 1024
"""Of one chunk when it is compressed: what zlib cannot shrink grows by some bytes."""
MANIFEST_BYTES_MAX = 4 << 20
"""Of a manifest: about 20,000 files."""
ENTRIES_MAX = 20_000
FILE_BYTES_MAX = 256 << 20
"""Of one file; larger ones are named and left out."""
SNAPSHOT_BYTES_MAX = 8 << 30
"""Of all files of a snapshot: what a chunk that is named many times, or a hole, takes is the next ship's room."""
PATH_CHARS_MAX = 12_288
"""PATH_MAX of Linux, with each byte encoded."""

ATTRS_MAX = 64
"""Of one entry; an agent takes 2 KB of them."""
_ATTR = re.compile(r"user\.(?!overlay\.)[^\0]{1,250}|system\.posix_acl_(access|default)")

AttrValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=4096)]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_SHA = re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """No manifest; one sentence without anything of its text."""


class SnapshotEntry(Message):
    """One thing that the attendee made or changed.

    Args:
        path: in the attendee's directory, percent-encoded.
        kind: what it is.
        mode, uid, gid: permission bits and owner, as numbers on the ship.
        mtime_ns: when it was last written, in nanoseconds since the epoch.
        size: bytes of a file.
        chunks: SHA-256 of each CHUNK_BYTES of a file, in order.
        target: where a symlink points, percent-encoded.
        of_image: the image has something of that path.
        image: what the image has there, as a mark that is the same for the same; empty if that is not known.
        attrs: extended attributes, see `is_attr`, by name, in base64.
    """

    path: Annotated[str, Field(min_length=1, max_length=PATH_CHARS_MAX)]
    kind: Literal["dir", "file", "link"]
    mode: Annotated[int, Field(ge=0, le=0o7777)]
    uid: Count
    gid: Count
    mtime_ns: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    size: Annotated[int, Field(ge=0, le=FILE_BYTES_MAX)] = 0
    chunks: Annotated[list[Sha], Field(max_length=FILE_BYTES_MAX // CHUNK_BYTES)] = []  # noqa: RUF012 - pydantic copies it
    target: Annotated[str, Field(max_length=PATH_CHARS_MAX)] = ""
    of_image: bool = False
    image: Annotated[str, Field(max_length=64)] = ""
    attrs: Annotated[dict[str, AttrValue], Field(max_length=ATTRS_MAX)] = {}  # noqa: RUF012 - pydantic copies it

    @model_validator(mode="after")
    def _whole(self) -> SnapshotEntry:
        _check_path(self.path)
        wanted = -(-self.size // CHUNK_BYTES) if self.kind == "file" else 0
        if len(self.chunks) != wanted:
            raise ValueError("chunks do not make up the file")
        for name, value in self.attrs.items():
            if not is_attr(name):
                raise ValueError("not an attribute of an attendee's")
            base64.b64decode(value, validate=True)
        return self

    @property
    def name(self) -> bytes:
        """The path as the file system has it."""
        return unquote_to_bytes(self.path)


class Manifest(Message):
    """What an attendee's directory was at one moment, beside the image's content.

    Args:
        digest: of the image that the directory was at.
        taken_at: seconds since the epoch, by the ship's clock.
        entries: what was made or changed; directories before what is in them.
        gone: paths of the image that the attendee deleted.
        left_out: paths of files that are too large, and not as the image has them.
        locked: paths of what the ship may not read, since its owner has taken that right away. What is among the others
            of it, or of what is in it, is as an earlier snapshot had it.
    """

    version: Literal[1] = 1
    digest: Digest | Literal[""]
    taken_at: Annotated[float, Field(ge=0, le=1e11)]
    entries: Annotated[list[SnapshotEntry], Field(max_length=ENTRIES_MAX)]
    gone: Annotated[list[str], Field(max_length=ENTRIES_MAX)] = []  # noqa: RUF012 - as above
    left_out: Annotated[list[str], Field(max_length=ENTRIES_MAX)] = []  # noqa: RUF012 - as above
    locked: Annotated[list[str], Field(max_length=ENTRIES_MAX)] = []  # noqa: RUF012 - as above

    @model_validator(mode="after")
    def _inside(self) -> Manifest:
        """Nothing twice, and nothing in what is no directory: else a symlink could lead a restored file out."""
        kinds: dict[bytes, str] = {}
        for entry in self.entries:
            if entry.name in kinds:
                raise ValueError("a path comes twice")
            kinds[entry.name] = entry.kind
        for path in kinds:
            parts = path.split(b"/")
            if any(kinds.get(b"/".join(parts[:depth]), "dir") != "dir" for depth in range(1, len(parts))):
                raise ValueError("a path is in what is no directory")
        for named in (*self.gone, *self.left_out, *self.locked):
            _check_path(named)
        if sum(entry.size for entry in self.entries) > SNAPSHOT_BYTES_MAX:
            raise ValueError("more than a snapshot may have")
        return self

    @property
    def differs(self) -> bool:
        """Whether the directory was anything but the image's content."""
        return bool(self.entries or self.gone or self.left_out or self.locked)

    def chunks(self) -> Iterator[str]:
        """Every chunk that the files consist of, some more than once."""
        for entry in self.entries:
            yield from entry.chunks

    def body(self) -> bytes:
        """The JSON that is kept and exchanged."""
        return self.model_dump_json().encode()


class Missing(Message):
    """The mux's answer to a snapshot that is not there whole.

    Args:
        chunks: to be brought first.
        direct: each to the address that is to be asked for, not to the mux.
    """

    chunks: list[Sha]
    direct: bool = False


class AddressWanted(Message):
    """A ship is about to bring a chunk.

    Args:
        length: bytes that it will send.
        sha256: of these bytes.
    """

    length: Annotated[int, Field(ge=1, le=OBJECT_BYTES_MAX)]
    sha256: Sha


class Address(Message):
    """Where a ship may bring or fetch one chunk, once or until it expires. A secret: never logged.

    Args:
        url: signed.
        headers: to be sent with the request; they are part of what is signed.
    """

    url: Annotated[str, Field(pattern=r"^https?://", max_length=8192, repr=False)]
    headers: Annotated[dict[str, str], Field(max_length=8)] = {}  # noqa: RUF012 - as above


def manifest_id(body: bytes) -> str:
    """The name of a manifest."""
    return hashlib.sha256(body).hexdigest()


def read_manifest(body: bytes) -> Manifest:
    """The manifest in a body. Raises ManifestError."""
    if len(body) > MANIFEST_BYTES_MAX:
        raise ManifestError(f"a manifest has at most {MANIFEST_BYTES_MAX} bytes")
    try:
        return Manifest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"not a manifest: {first['type']} at {where or 'its root'}") from error


def is_sha(text: str) -> bool:
    """Whether a text is a SHA-256 in hex."""
    return _SHA.fullmatch(text) is not None


def is_attr(name: str) -> bool:
    """Whether snapshots have extended attributes of that name: an attendee's own, and access control lists."""
    return _ATTR.fullmatch(name) is not None and name.isprintable()


def is_path(text: str) -> bool:
    """Whether a text is a path as manifests hold it."""
    try:
        _check_path(text)
    except ValueError:
        return False
    return True


def quoted(path: bytes) -> str:
    """A path as a manifest holds it."""
    return quote_from_bytes(path, safe="/ ")


def _check_path(text: str) -> bytes:
    path = unquote_to_bytes(text)
    if quoted(path) != text or b"\0" in path or any(part in (b"", b".", b"..") for part in path.split(b"/")):
        raise ValueError("not a relative path")
    return path
