"""Where attendees' snapshots are kept: the protocol of every store, and what all of them have in common.

Knows nothing of ships or of who may ask. Rules, for every store: nothing is changed once it is there; a manifest is
there only with every chunk it names, is verified when it comes in and when it goes out; the bytes of one attendee are
bounded; what is kept of old snapshots is the same everywhere. `latest`, `find`, `all` and `of_user` are answered from
memory.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from mux.core.model import ProjectName, UserId
from ship_agent.protocol.snapshot import (
    CHUNK_BYTES,
    OBJECT_BYTES_MAX,
    Address,
    Manifest,
    ManifestError,
    is_sha,
    read_manifest,
)

KEPT_NEWEST: Final = 10
"""Snapshots of a project that are kept whatever their age."""
KEPT_EVERY_S: Final = 600.0
"""Of older ones, one for each so many seconds."""
KEPT_MAX: Final = 100
"""Snapshots of one project of one attendee: a day's work."""
RECOVERED_MAX: Final = 10
"""Recovered copies of one project of one attendee."""
LEFT_OUT_MAX: Final = 20
"""Files that were too large for a snapshot, or locked, as far as they are remembered: more than anybody reads."""
UNUSED_S: Final = 3600.0
"""A chunk that no manifest names may belong to one that is under way; after so long it does not."""

Kind = Literal["snapshot", "recovered"]


class FilesStoreError(Exception):
    """It was not kept or is not there; one sentence for people."""


class NoRoomError(FilesStoreError):
    """The attendee's bytes or the disk are used up."""


class DamagedError(FilesStoreError):
    """Not what its name says, or no manifest."""


class MissingError(FilesStoreError):
    """There is no such thing."""


class ChunksMissingError(FilesStoreError):
    """A manifest names chunks that are not here."""

    def __init__(self, chunks: list[str]) -> None:
        super().__init__(f"{len(chunks)} chunks are missing")
        self.chunks = chunks


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One that is kept.

    Args:
        user, project: whose, and of what.
        id: SHA-256 of the manifest.
        kind: ``recovered`` is what a lost ship still had when it came back.
        at: when it came in, in seconds since the epoch.
        left_out: paths of files that were too large for it, percent-encoded, LEFT_OUT_MAX at most; None if it came in
            before this start, and only its manifest says so.
        locked: likewise, of what its ship could not read.
    """

    user: UserId
    project: ProjectName
    id: str
    kind: Kind
    at: float
    left_out: tuple[str, ...] | None = field(default=None, compare=False)
    locked: tuple[str, ...] | None = field(default=None, compare=False)

    @property
    def file_name(self) -> str:
        """Among those of its project; names sort by time."""
        return f"{round(self.at * 1000):015d}~{self.kind}~{self.id}.json"

    @classmethod
    def named(cls, user: UserId, project: ProjectName, file_name: str) -> Snapshot | None:
        """The inverse of `file_name`; None for any other name."""
        at, _, rest = file_name.removesuffix(".json").partition("~")
        kind, _, identity = rest.partition("~")
        if not at.isdigit() or not is_sha(identity):
            return None
        return cls(user, project, identity, "recovered" if kind == "recovered" else "snapshot", int(at) / 1000)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted of an attendee: snapshots, recovered copies, and bytes as they were kept."""

    snapshots: int = 0
    recovered: int = 0
    size_bytes: int = 0


class Direct(Protocol):
    """A store to which ships bring chunks, and from which they fetch them, by signed addresses."""

    async def sign_put(self, user: UserId, chunk: str, length: int, packed_sha256: str) -> Address:
        """Where a chunk may be brought that has so many bytes, and that SHA-256, as it is sent."""

    async def sign_get(self, user: UserId, chunk: str) -> Address:
        """Where a chunk may be fetched."""


class FilesStore(Protocol):
    """One store of snapshots. Calls raise FilesStoreError."""

    attendee_bytes_max: int
    """Bound of one attendee, compressed."""

    @property
    def direct(self) -> Direct | None:
        """How ships reach it without the mux between; None if they do not."""

    async def open(self) -> None:
        """Find what is there, and remove what a kill has left half written."""

    async def close(self) -> None:
        """Let go of connections."""

    def latest(self, user: UserId, project: ProjectName) -> Snapshot | None:
        """The newest snapshot of a project; recovered copies are not among them."""

    def find(self, user: UserId, project: ProjectName, identity: str) -> Snapshot | None:
        """A snapshot of a project by its id."""

    def all(self) -> list[Snapshot]:
        """Every one that is kept, by attendee and project, the oldest first."""

    def of_user(self, user: UserId) -> list[Snapshot]:
        """Those of one attendee, likewise."""

    async def owners(self) -> set[UserId]:
        """Everybody of whom anything is kept, be it parts of a snapshot that never came whole."""

    async def bytes_of(self, user: UserId) -> int:
        """What an attendee's files take."""

    async def put_object(self, user: UserId, chunk: str, packed: bytes) -> None:
        """Keep a chunk. Raises NoRoomError or DamagedError."""

    async def put_manifest(self, user: UserId, project: ProjectName, kind: Kind, body: bytes, now: float) -> Snapshot:
        """Keep a snapshot. The same as the newest one is that one.

        Raises DamagedError, NoRoomError, or ChunksMissingError with what is to be put first.
        """

    async def body(self, snapshot: Snapshot) -> bytes:
        """A manifest's JSON, verified. Raises MissingError or DamagedError."""

    async def manifest(self, snapshot: Snapshot) -> Manifest:
        """A manifest, verified. Raises MissingError or DamagedError."""

    async def packed(self, user: UserId, chunk: str) -> bytes:
        """A chunk as it is kept; who gets it verifies it. Raises MissingError."""

    async def chunk(self, user: UserId, chunk: str) -> bytes:
        """A chunk's bytes, verified. Raises MissingError or DamagedError."""

    async def delete(self, user: UserId) -> Deleted | None:
        """Delete all that is kept of an attendee; None if nothing was."""


class Index:
    """The snapshots of a store, in memory. Safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[UserId, dict[ProjectName, list[Snapshot]]] = {}

    def of(self, user: UserId, project: ProjectName) -> list[Snapshot]:
        """Those of one project, the oldest first."""
        return self._kept.get(user, {}).get(project, [])

    def of_user(self, user: UserId) -> list[Snapshot]:
        """Those of one attendee."""
        with self._lock:
            return [each for kept in self._kept.get(user, {}).values() for each in kept]

    def knows(self, user: UserId) -> bool:
        """Whether anything is kept of an attendee."""
        return user in self._kept

    def all(self) -> list[Snapshot]:
        """Every one, by attendee and project, the oldest first."""
        with self._lock:
            return [each for projects in self._kept.values() for kept in projects.values() for each in kept]

    def latest(self, user: UserId, project: ProjectName) -> Snapshot | None:
        """The newest that is no recovered copy."""
        return next((each for each in reversed(self.of(user, project)) if each.kind == "snapshot"), None)

    def find(self, user: UserId, project: ProjectName, identity: str) -> Snapshot | None:
        """One by its id."""
        return next((each for each in self.of(user, project) if each.id == identity), None)

    def newest_like(self, user: UserId, project: ProjectName, kind: Kind, identity: str) -> Snapshot | None:
        """The newest of its kind, if that is its id."""
        same = [each for each in self.of(user, project) if each.kind == kind]
        return same[-1] if same and same[-1].id == identity else None

    def put(self, user: UserId, project: ProjectName, kept: list[Snapshot]) -> None:
        """Have these of a project, and no others."""
        with self._lock:
            self._kept.setdefault(user, {})[project] = kept

    def next(self, user: UserId, project: ProjectName, kind: Kind, identity: str, now: float) -> Snapshot:
        """A snapshot that is about to be kept, later than every one before it."""
        kept = self.of(user, project)
        at = round(max(now, kept[-1].at + 0.001) if kept else now, 3)
        return Snapshot(user, project, identity, kind, at)

    def prune(self, user: UserId, project: ProjectName) -> list[Snapshot]:
        """Let go of old ones; those are returned, for the store to delete."""
        kept = self.of(user, project)
        stay = set(_staying([each for each in kept if each.kind == "snapshot"]))
        stay.update([each for each in kept if each.kind == "recovered"][-RECOVERED_MAX:])
        gone = [each for each in kept if each not in stay]
        if gone:
            self.put(user, project, [each for each in kept if each in stay])
        return gone

    def forget(self, user: UserId) -> list[Snapshot]:
        """Let go of all that there is of an attendee."""
        with self._lock:
            return [each for kept in self._kept.pop(user, {}).values() for each in kept]


class Indexed:
    """What every store answers from memory.

    Args:
        attendee_bytes_max: bound of one attendee, compressed.
    """

    def __init__(self, attendee_bytes_max: int) -> None:
        self.attendee_bytes_max = attendee_bytes_max
        self._index = Index()
        self.latest = self._index.latest
        self.find = self._index.find
        self.all = self._index.all
        self.of_user = self._index.of_user


def noted(snapshot: Snapshot, manifest: Manifest) -> Snapshot:
    """A snapshot with what its manifest names as too large or locked, as far as that is remembered."""
    left_out, locked = tuple(manifest.left_out[:LEFT_OUT_MAX]), tuple(manifest.locked[:LEFT_OUT_MAX])
    return replace(snapshot, left_out=left_out, locked=locked)


def deleted(gone: list[Snapshot], size_bytes: int) -> Deleted:
    """What was deleted, counted."""
    recovered = sum(each.kind == "recovered" for each in gone)
    return Deleted(len(gone) - recovered, recovered, size_bytes)


def checked_chunk(packed: bytes, chunk: str) -> None:
    """Raise DamagedError unless bytes that came are those of a chunk."""
    if len(packed) > OBJECT_BYTES_MAX or unpacked(packed, chunk) is None:
        raise DamagedError("the bytes are not those of that chunk")


def parsed(body: bytes) -> Manifest:
    """The manifest in a body. Raises DamagedError."""
    try:
        return read_manifest(body)
    except ManifestError as error:
        raise DamagedError(str(error)) from error


def unpacked(packed: bytes, chunk: str) -> bytes | None:
    """The bytes of a chunk, or None if they are not; never more than a chunk is unpacked."""
    try:
        machine = zlib.decompressobj()
        block = machine.decompress(packed, CHUNK_BYTES + 1)
    except zlib.error:
        return None
    whole = machine.eof and not machine.unused_data and len(block) <= CHUNK_BYTES
    return block if whole and hashlib.sha256(block).hexdigest() == chunk else None


def _staying(snapshots: list[Snapshot]) -> Iterator[Snapshot]:
    """Those that are kept: the newest, and of older ones the last of each stretch of time."""
    newest, older = snapshots[-KEPT_NEWEST:], snapshots[:-KEPT_NEWEST]
    yield from newest
    last_of = {int(each.at // KEPT_EVERY_S): each for each in older}
    yield from list(last_of.values())[-(KEPT_MAX - KEPT_NEWEST) :]
