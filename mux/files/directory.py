"""Snapshots on the mux's disk, by attendee.

Owns the layout of ``<data>/files``:

    <attendee>/owner.json                 whose it is; the directory's name is a hash of the id
    <attendee>/objects/<xx>/<sha256>      a chunk, compressed with zlib, named by the SHA-256 of its bytes
    <attendee>/project-<name>/<…>.json    a manifest; its name says when, what kind, and its own SHA-256

Rules beside those of every store: written aside, on the disk, then renamed. What blocks is done in a thread, one thing
at a time for each attendee. A directory whose ``owner.json`` is damaged is listed and deleted under a name that stands
for its owner's, and is theirs again with the next thing that they bring.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import structlog

from mux.core.model import ProjectName, UserId
from mux.files.base import (
    UNUSED_S,
    ChunksMissingError,
    DamagedError,
    Deleted,
    Direct,
    FilesStoreError,
    Indexed,
    Kind,
    MissingError,
    NoRoomError,
    Snapshot,
    checked_chunk,
    deleted,
    noted,
    parsed,
    unpacked,
)
from ship_agent.protocol.snapshot import (
    MANIFEST_BYTES_MAX,
    OBJECT_BYTES_MAX,
    Manifest,
    is_sha,
    manifest_id,
)

log = structlog.get_logger(__name__)

_ASIDE: Final = ".new-"
_LOST: Final = "unknown-"
"""First part of what stands for the id of somebody whose ``owner.json`` is damaged; their directory's name follows."""
_NAME: Final = re.compile(r"[0-9a-f]{32}")


class DirectoryStore(Indexed):
    """All snapshots of an event, in a directory. See `mux.files.base.FilesStore`.

    Args:
        directory: made if need be.
        attendee_bytes_max: bound of one attendee, compressed.
    """

    direct: Direct | None = None

    def __init__(self, directory: Path, attendee_bytes_max: int) -> None:
        super().__init__(attendee_bytes_max)
        self._directory = directory
        self._lock = threading.Lock()
        self._locks: dict[UserId, threading.Lock] = {}
        self._bytes: dict[UserId, int] = {}
        self._lost: dict[UserId, Path] = {}

    async def open(self) -> None:
        """Find what is there, and remove what a kill has left half written. Raises FilesStoreError."""
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Nothing is held."""

    async def owners(self) -> set[UserId]:
        """Everybody of whom anything is kept here."""
        return set(self._bytes)

    async def bytes_of(self, user: UserId) -> int:
        """What an attendee's files take here."""
        return self._bytes.get(user, 0)

    async def put_object(self, user: UserId, chunk: str, packed: bytes) -> None:
        """Keep a chunk. Raises NoRoomError or DamagedError."""
        await asyncio.to_thread(self._put_object, user, chunk, packed)

    async def put_manifest(self, user: UserId, project: ProjectName, kind: Kind, body: bytes, now: float) -> Snapshot:
        """Keep a snapshot; see FilesStore."""
        return await asyncio.to_thread(self._put_manifest, user, project, kind, body, now)

    async def body(self, snapshot: Snapshot) -> bytes:
        """A manifest's JSON, verified. Raises MissingError or DamagedError."""
        return await asyncio.to_thread(self._body, snapshot)

    async def manifest(self, snapshot: Snapshot) -> Manifest:
        """A manifest, verified. Raises MissingError or DamagedError."""
        return await asyncio.to_thread(self._read_manifest, snapshot)

    async def packed(self, user: UserId, chunk: str) -> bytes:
        """A chunk as it is kept; who gets it verifies it. Raises MissingError."""
        return await asyncio.to_thread(lambda: _read(self._object(user, chunk), OBJECT_BYTES_MAX))

    async def chunk(self, user: UserId, chunk: str) -> bytes:
        """A chunk's bytes, verified. Raises MissingError or DamagedError."""
        block = await asyncio.to_thread(lambda: unpacked(_read(self._object(user, chunk), OBJECT_BYTES_MAX), chunk))
        if block is None:
            raise DamagedError("a part of the snapshot is damaged on the mux's disk")
        return block

    async def delete(self, user: UserId) -> Deleted | None:
        """Delete all that is kept of an attendee; None if nothing was. Raises FilesStoreError."""
        return await asyncio.to_thread(self._delete, user)

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        with _translated():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for home in self._directory.iterdir():
                if home.name.startswith(_ASIDE):
                    shutil.rmtree(home)
                    continue
                user = _owner(home)
                if user is None and not (_NAME.fullmatch(home.name) and home.is_dir() and not home.is_symlink()):
                    log.warning("no attendee's files", name=home.name[:80])
                    continue
                if user is None:
                    log.warning("whose files these are cannot be read", name=home.name)
                    user = UserId(f"{_LOST}{home.name}")
                    self._lost[user] = home
                else:
                    self._adopt(user, home)
                self._bytes[user] = _usage(home)

    def _adopt(self, user: UserId, home: Path) -> None:
        for project, found in _find(user, home):
            self._index.put(user, project, found)

    def _put_object(self, user: UserId, chunk: str, packed: bytes) -> None:
        checked_chunk(packed, chunk)
        with self._of(user), _translated():
            path = self._object(user, chunk)
            if path.exists():
                return
            self._have_room(user, len(packed))
            self._own(user)
            _write(path, packed)
            self._bytes[user] = self._bytes.get(user, 0) + len(packed)

    def _put_manifest(self, user: UserId, project: ProjectName, kind: Kind, body: bytes, now: float) -> Snapshot:
        manifest = parsed(body)
        with self._of(user), _translated():
            missing = [chunk for chunk in dict.fromkeys(manifest.chunks()) if not self._object(user, chunk).exists()]
            if missing:
                raise ChunksMissingError(missing)
            if (same := self._index.newest_like(user, project, kind, manifest_id(body))) is not None:
                return same
            self._have_room(user, len(body))
            self._own(user)
            snapshot = noted(self._index.next(user, project, kind, manifest_id(body), now), manifest)
            _write(self._manifest(snapshot), body)
            self._index.put(user, project, [*self._index.of(user, project), snapshot])
            self._bytes[user] = self._bytes.get(user, 0) + len(body)
            gone = self._index.prune(user, project)
            for each in gone:
                self._manifest(each).unlink(missing_ok=True)
            if gone:
                self._sweep(user, now)
        return snapshot

    def _body(self, snapshot: Snapshot) -> bytes:
        body = _read(self._manifest(snapshot), MANIFEST_BYTES_MAX)
        if manifest_id(body) != snapshot.id:
            raise DamagedError("the snapshot is damaged on the mux's disk")
        return body

    def _read_manifest(self, snapshot: Snapshot) -> Manifest:
        return parsed(self._body(snapshot))

    def _delete(self, user: UserId) -> Deleted | None:
        with self._of(user), _translated():
            there = self._home(user).exists()
            if there:
                # Renamed first: what is half deleted must not be found as an attendee's by the next start.
                debris = self._directory / f"{_ASIDE}{uuid4().hex}"
                self._home(user).rename(debris)
                shutil.rmtree(debris)
            for each in (user, UserId(f"{_LOST}{_directory_name(user)}")):
                self._lost.pop(each, None)
                if each != user:
                    self._bytes.pop(each, None)
            gone = self._index.forget(user)
            size = self._bytes.pop(user, 0)
            return deleted(gone, size) if there else None

    def _sweep(self, user: UserId, now: float) -> None:
        """Delete chunks that no manifest names and that nobody can be about to name."""
        used: set[str] = set()
        try:
            for snapshot in self._index.of_user(user):
                used.update(self._read_manifest(snapshot).chunks())
        except FilesStoreError as error:
            # What a snapshot names that cannot be read is not known: nothing is deleted.
            log.warning("unused chunks are left for now", why=str(error))
            return
        for path in self._home(user).glob("objects/*/*"):
            if path.name not in used and path.stat().st_mtime < now - UNUSED_S:
                path.unlink()
        self._bytes[user] = _usage(self._home(user))

    def _have_room(self, user: UserId, more: int) -> None:
        if self._bytes.get(user, 0) + more <= self.attendee_bytes_max:
            return
        if self._index.knows(user):
            self._sweep(user, time.time())
        if self._bytes.get(user, 0) + more > self.attendee_bytes_max:
            raise NoRoomError("this attendee's files take all the room that files.attendee_max gives")

    def _of(self, user: UserId) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(user, threading.Lock())

    def _own(self, user: UserId) -> None:
        """Have it known whose files these are. Found again is what was there before that could not be read."""
        path = self._home(user) / "owner.json"
        lost = self._lost.pop(UserId(f"{_LOST}{_directory_name(user)}"), None)
        if lost is not None or not path.exists():
            _write(path, json.dumps({"user": user}).encode())
        if lost is not None:
            self._adopt(user, lost)
            self._bytes[user] = self._bytes.pop(UserId(f"{_LOST}{lost.name}"), 0)

    def _home(self, user: UserId) -> Path:
        return self._lost.get(user) or self._directory / _directory_name(user)

    def _object(self, user: UserId, chunk: str) -> Path:
        if not is_sha(chunk):
            raise MissingError("there is no such chunk")
        return self._home(user) / "objects" / chunk[:2] / chunk

    def _manifest(self, snapshot: Snapshot) -> Path:
        return self._home(snapshot.user) / f"project-{snapshot.project}" / snapshot.file_name


def _owner(home: Path) -> UserId | None:
    """Whose a directory is; None if that is not said, or not of this directory."""
    try:
        user = json.loads((home / "owner.json").read_bytes())["user"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return UserId(user) if isinstance(user, str) and _directory_name(UserId(user)) == home.name else None


def _find(user: UserId, home: Path) -> Iterator[tuple[ProjectName, list[Snapshot]]]:
    for folder in home.glob("project-*"):
        project = ProjectName(folder.name.removeprefix("project-"))
        found = []
        for path in sorted(folder.iterdir()):
            if path.name.startswith(_ASIDE):
                path.unlink()
            elif (snapshot := Snapshot.named(user, project, path.name)) is not None:
                found.append(snapshot)
        if found:
            yield project, found


def _usage(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


def _directory_name(user: UserId) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:32]


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
