"""Snapshots on the mux's disk, by attendee.

Owns the layout of ``<data>/files``:

    <attendee>/owner.json                 whose it is; the directory's name is a hash of the id
    <attendee>/objects/<xx>/<sha256>      a chunk, compressed with zlib, named by the SHA-256 of its bytes
    <attendee>/project-<name>/<…>.json    a manifest; its name says when, what kind, and its own SHA-256

Knows nothing of ships or of who may ask. Rules: nothing is changed once it is there; written aside, on the disk, then
renamed; verified when it comes in and when it goes out; a manifest is there only with every chunk it names; the bytes
of one attendee are bounded. Blocking: call it in a thread. `latest` and `find` are answered from memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import structlog

from mux.core.model import ProjectName, UserId
from ship_agent.protocol.snapshot import (
    CHUNK_BYTES,
    MANIFEST_BYTES_MAX,
    OBJECT_BYTES_MAX,
    Manifest,
    ManifestError,
    is_sha,
    manifest_id,
    read_manifest,
)

log = structlog.get_logger(__name__)

KEPT_NEWEST: Final = 10
"""Snapshots of a project that are kept whatever their age."""
KEPT_EVERY_S: Final = 600.0
"""Of older ones, one for each so many seconds."""
KEPT_MAX: Final = 100
"""Snapshots of one project of one attendee: a day's work."""
RECOVERED_MAX: Final = 10
"""Recovered copies of one project of one attendee."""
UNUSED_S: Final = 3600.0
"""A chunk that no manifest names may belong to one that is under way; after so long it does not."""
_ASIDE: Final = ".new-"

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
    """

    user: UserId
    project: ProjectName
    id: str
    kind: Kind
    at: float

    @property
    def file_name(self) -> str:
        """In the project's directory."""
        return f"{round(self.at * 1000):015d}~{self.kind}~{self.id}.json"


class SnapshotStore:
    """All snapshots of an event.

    Args:
        directory: made if need be.
        attendee_bytes_max: bound of one attendee, compressed.
    """

    def __init__(self, directory: Path, attendee_bytes_max: int) -> None:
        self.attendee_bytes_max = attendee_bytes_max
        self._directory = directory
        self._lock = threading.Lock()
        self._locks: dict[UserId, threading.Lock] = {}
        self._kept: dict[UserId, dict[ProjectName, list[Snapshot]]] = {}
        self._bytes: dict[UserId, int] = {}

    def open(self) -> None:
        """Find what is there, and remove what a kill has left half written. Raises FilesStoreError."""
        with _translated():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for home in self._directory.iterdir():
                if home.name.startswith(_ASIDE):
                    shutil.rmtree(home)
                    continue
                try:
                    user = UserId(json.loads((home / "owner.json").read_bytes())["user"])
                except (OSError, ValueError, KeyError, TypeError):
                    log.warning("no attendee's files", name=home.name[:80])
                    continue
                if home.name == _directory_name(user):
                    self._kept[user] = {found[0].project: found for found in _find(user, home)}
                    self._bytes[user] = _usage(home)

    def latest(self, user: UserId, project: ProjectName) -> Snapshot | None:
        """The newest snapshot of a project; recovered copies are not among them."""
        kept = self._kept.get(user, {}).get(project, [])
        return next((each for each in reversed(kept) if each.kind == "snapshot"), None)

    def find(self, user: UserId, project: ProjectName, identity: str) -> Snapshot | None:
        """A snapshot of a project by its id."""
        kept = self._kept.get(user, {}).get(project, [])
        return next((each for each in kept if each.id == identity), None)

    def all(self) -> list[Snapshot]:
        """Every one that is kept, by attendee and project, the oldest first."""
        with self._lock:
            return [each for projects in self._kept.values() for kept in projects.values() for each in kept]

    def bytes_of(self, user: UserId) -> int:
        """What an attendee's files take here."""
        return self._bytes.get(user, 0)

    def put_object(self, user: UserId, chunk: str, packed: bytes) -> None:
        """Keep a chunk. Raises NoRoomError or DamagedError."""
        if len(packed) > OBJECT_BYTES_MAX or _unpacked(packed, chunk) is None:
            raise DamagedError("the bytes are not those of that chunk")
        with self._of(user), _translated():
            path = self._object(user, chunk)
            if path.exists():
                return
            self._have_room(user, len(packed))
            self._own(user)
            _write(path, packed)
            self._bytes[user] = self._bytes.get(user, 0) + len(packed)

    def put_manifest(self, user: UserId, project: ProjectName, kind: Kind, body: bytes, now: float) -> Snapshot:
        """Keep a snapshot. The same as the newest one is that one.

        Raises DamagedError, NoRoomError, or ChunksMissingError with what is to be put first.
        """
        try:
            manifest = read_manifest(body)
        except ManifestError as error:
            raise DamagedError(str(error)) from error
        with self._of(user), _translated():
            missing = [chunk for chunk in dict.fromkeys(manifest.chunks()) if not self._object(user, chunk).exists()]
            if missing:
                raise ChunksMissingError(missing)
            kept = self._kept.get(user, {}).get(project, [])
            same = [each for each in kept if each.kind == kind]
            if same and same[-1].id == manifest_id(body):
                return same[-1]
            self._have_room(user, len(body))
            self._own(user)
            at = round(max(now, kept[-1].at + 0.001) if kept else now, 3)
            snapshot = Snapshot(user, project, manifest_id(body), kind, at)
            _write(self._manifest(snapshot), body)
            with self._lock:
                self._kept.setdefault(user, {})[project] = [*kept, snapshot]
            self._bytes[user] = self._bytes.get(user, 0) + len(body)
            self._prune(user, project, now)
        return snapshot

    def body(self, snapshot: Snapshot) -> bytes:
        """A manifest's JSON, verified. Raises MissingError or DamagedError."""
        body = _read(self._manifest(snapshot), MANIFEST_BYTES_MAX)
        if manifest_id(body) != snapshot.id:
            raise DamagedError("the snapshot is damaged on the mux's disk")
        return body

    def manifest(self, snapshot: Snapshot) -> Manifest:
        """A manifest, verified. Raises MissingError or DamagedError."""
        try:
            return read_manifest(self.body(snapshot))
        except ManifestError as error:
            raise DamagedError(str(error)) from error

    def packed(self, user: UserId, chunk: str) -> bytes:
        """A chunk as it is kept; who gets it verifies it. Raises MissingError."""
        return _read(self._object(user, chunk), OBJECT_BYTES_MAX)

    def chunk(self, user: UserId, chunk: str) -> bytes:
        """A chunk's bytes, verified. Raises MissingError or DamagedError."""
        block = _unpacked(self.packed(user, chunk), chunk)
        if block is None:
            raise DamagedError("a part of the snapshot is damaged on the mux's disk")
        return block

    def delete(self, user: UserId) -> bool:
        """Delete all that is kept of an attendee; whether anything was. Raises FilesStoreError."""
        with self._of(user), _translated():
            there = self._home(user).exists()
            if there:
                # Renamed first: what is half deleted must not be found as an attendee's by the next start.
                debris = self._directory / f"{_ASIDE}{uuid4().hex}"
                self._home(user).rename(debris)
                shutil.rmtree(debris)
            with self._lock:
                self._kept.pop(user, None)
            self._bytes.pop(user, None)
            return there

    def _prune(self, user: UserId, project: ProjectName, now: float) -> None:
        kept = self._kept[user][project]
        stay = set(_staying([each for each in kept if each.kind == "snapshot"]))
        stay.update([each for each in kept if each.kind == "recovered"][-RECOVERED_MAX:])
        gone = [each for each in kept if each not in stay]
        if not gone:
            return
        with self._lock:
            self._kept[user][project] = [each for each in kept if each in stay]
        for each in gone:
            self._manifest(each).unlink(missing_ok=True)
        self._sweep(user, now)

    def _sweep(self, user: UserId, now: float) -> None:
        """Delete chunks that no manifest names and that nobody can be about to name."""
        used: set[str] = set()
        for kept in self._kept.get(user, {}).values():
            for snapshot in kept:
                used.update(self.manifest(snapshot).chunks())
        for path in self._home(user).glob("objects/*/*"):
            if path.name not in used and path.stat().st_mtime < now - UNUSED_S:
                path.unlink()
        self._bytes[user] = _usage(self._home(user))

    def _have_room(self, user: UserId, more: int) -> None:
        if self._bytes.get(user, 0) + more <= self.attendee_bytes_max:
            return
        if user in self._kept:
            self._sweep(user, time.time())
        if self._bytes.get(user, 0) + more > self.attendee_bytes_max:
            raise NoRoomError("this attendee's files take all the room that files.attendee_max gives")

    def _of(self, user: UserId) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(user, threading.Lock())

    def _own(self, user: UserId) -> None:
        path = self._home(user) / "owner.json"
        if not path.exists():
            _write(path, json.dumps({"user": user}).encode())

    def _home(self, user: UserId) -> Path:
        return self._directory / _directory_name(user)

    def _object(self, user: UserId, chunk: str) -> Path:
        if not is_sha(chunk):
            raise MissingError("there is no such chunk")
        return self._home(user) / "objects" / chunk[:2] / chunk

    def _manifest(self, snapshot: Snapshot) -> Path:
        return self._home(snapshot.user) / f"project-{snapshot.project}" / snapshot.file_name


def _staying(snapshots: list[Snapshot]) -> Iterator[Snapshot]:
    """Those that are kept: the newest, and of older ones the last of each stretch of time."""
    newest, older = snapshots[-KEPT_NEWEST:], snapshots[:-KEPT_NEWEST]
    yield from newest
    last_of = {int(each.at // KEPT_EVERY_S): each for each in older}
    yield from list(last_of.values())[-(KEPT_MAX - KEPT_NEWEST) :]


def _find(user: UserId, home: Path) -> Iterator[list[Snapshot]]:
    for folder in home.glob("project-*"):
        project = ProjectName(folder.name.removeprefix("project-"))
        found = []
        for path in sorted(folder.iterdir()):
            at, _, rest = path.name.removesuffix(".json").partition("~")
            kind, _, identity = rest.partition("~")
            if path.name.startswith(_ASIDE):
                path.unlink()
            elif at.isdigit() and is_sha(identity):
                known: Kind = "recovered" if kind == "recovered" else "snapshot"
                found.append(Snapshot(user, project, identity, known, int(at) / 1000))
        if found:
            yield found


def _usage(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


def _directory_name(user: UserId) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:32]


def _unpacked(packed: bytes, chunk: str) -> bytes | None:
    """The bytes of a chunk, or None if they are not; never more than a chunk is unpacked."""
    try:
        machine = zlib.decompressobj()
        block = machine.decompress(packed, CHUNK_BYTES + 1)
    except zlib.error:
        return None
    whole = machine.eof and not machine.unused_data and len(block) <= CHUNK_BYTES
    return block if whole and hashlib.sha256(block).hexdigest() == chunk else None


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max + 1)
    except FileNotFoundError as error:
        raise MissingError("it is not here; it may have been deleted") from error
    except OSError as error:
        raise FilesStoreError(f"it cannot be read: {error.strerror}; look at the mux's disk") from error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f"{_ASIDE}{uuid4().hex}")
    opened = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            block = memoryview(content)
            while block:
                block = block[os.write(opened, block) :]
            os.fsync(opened)
        finally:
            os.close(opened)
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the errors of the disk into sentences for people."""
    try:
        yield
    except OSError as error:
        raise NoRoomError(f"the mux's disk: {error.strerror}; free some space there") from error
