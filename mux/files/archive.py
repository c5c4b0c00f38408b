"""Attendees' work as one ZIP archive, put together while it is sent.

Rules: every chunk is verified before anything of its file is in the archive; a file that is damaged or too much is left
out and named in ``ABOUT.txt``, the last member. Names of members lead nowhere but below their folder, on any system;
links are named, never made. One block and one file below SPOOL_BYTES are held in memory. What is deleted by the time
that it is reached is left out likewise.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import unicodedata
import zipfile
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Final

from mux.core.model import UserId
from mux.core.plural import counted
from mux.files.base import FilesStore, FilesStoreError, Snapshot
from mux.files.changed import shown
from ship_agent.protocol.snapshot import SnapshotEntry

ABOUT: Final = "ABOUT.txt"
ATTENDEE_BYTES_MAX: Final = 8 << 30
"""Of one snapshot, unpacked: chunks can be named many times, and so a small snapshot can be a very large archive."""
SPOOL_BYTES: Final = 8 << 20
"""A file up to this is verified in memory, a larger one on the disk."""
NAME_CHARS_MAX: Final = 120
DEPTH_MAX: Final = 64
"""Parts of a path: a ship may name thousands, and each has a name to remember."""
LINES_MAX: Final = 1_000
"""Of what ABOUT.txt says was left out."""
COMPRESS: Final = 6
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_ZIP_FIRST_S = 315_532_800
"""1980-01-01: the first time that a ZIP archive can say (APPNOTE.TXT section 4.4.6)."""
_ZIP_LAST_S = 4_354_819_198
"""2107-12-31."""


@dataclass(frozen=True, slots=True)
class Part:
    """One snapshot in an archive.

    Args:
        folder: that its files are below; safe as it is.
        snapshot: which.
    """

    folder: str
    snapshot: Snapshot


def parts_of(store: FilesStore, user: UserId, folder: str = "") -> list[Part]:
    """What an archive of an attendee's work has: of each project the newest snapshot, and every recovered copy."""
    found = []
    for snapshot in store.of_user(user):
        if snapshot.kind == "recovered":
            when = datetime.fromtimestamp(snapshot.at, UTC).strftime("%Y-%m-%d %H.%M.%S")
            found.append(Part(f"{folder}{snapshot.project} recovered {when}", snapshot))
        elif store.latest(user, snapshot.project) == snapshot:
            found.append(Part(f"{folder}{snapshot.project}", snapshot))
    return found


async def archive(store: FilesStore, parts: Sequence[Part]) -> AsyncIterator[bytes]:
    """The archive, block by block. Raises FilesStoreError when the store does not answer any more.

    Args:
        store: where the snapshots are.
        parts: what goes in, in this order.
    """
    sink = _Sink()
    said = _About()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESS) as made:
        for part in parts:
            async for block in _part(store, part, made, sink, said):
                yield block
        made.writestr(_info(ABOUT, 0o644, 0), said.text())
    yield sink.taken()


async def _part(
    store: FilesStore, part: Part, made: zipfile.ZipFile, sink: _Sink, said: _About
) -> AsyncIterator[bytes]:
    try:
        manifest = await store.manifest(part.snapshot)
    except FilesStoreError as error:
        said.left_out(part.folder, f"the whole snapshot: {error}")
        return
    names = Names(part.folder)
    files, left = 0, ATTENDEE_BYTES_MAX
    for entry in sorted(manifest.entries, key=lambda entry: entry.name):
        if entry.name.count(b"/") >= DEPTH_MAX:
            said.left_out(f"{part.folder}/{shown(entry.path)}", "in more folders than an archive takes")
            continue
        name = names.of(entry.name)
        if entry.kind == "dir":
            made.writestr(_info(name + "/", 0o755, entry.mtime_ns), b"")
        elif entry.kind == "link":
            said.left_out(name, f"a symbolic link to {shown(entry.target)}")
        elif entry.size > left:
            said.left_out(name, "more than one archive takes")
        else:
            left -= entry.size
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as whole:
                why = await _verified(store, part.snapshot.user, entry, whole)
                if why:
                    said.left_out(name, why)
                    continue
                async for block in _member(made, _info(name, entry.mode, entry.mtime_ns), entry.size, whole, sink):
                    yield block
            files += 1
        yield sink.taken()
    for path in manifest.left_out:
        said.left_out(f"{part.folder}/{shown(path)}", "larger than what snapshots take")
    for path in manifest.locked:
        said.left_out(
            f"{part.folder}/{shown(path)}", "locked on its machine; what is in here of it is from before that"
        )
    said.has(part, files)


async def _verified(store: FilesStore, user: UserId, entry: SnapshotEntry, whole: IO[bytes]) -> str:
    """Have a file's bytes in ``whole``; why not, in words."""
    size = 0
    for chunk in entry.chunks:
        try:
            block = await store.chunk(user, chunk)
        except FilesStoreError as error:
            return str(error)
        size += len(block)
        await asyncio.to_thread(whole.write, block)
    return "" if size == entry.size else "its parts do not make up its size"


async def _member(
    made: zipfile.ZipFile, info: zipfile.ZipInfo, size: int, whole: IO[bytes], sink: _Sink
) -> AsyncIterator[bytes]:
    whole.seek(0)
    info.file_size = size
    with made.open(info, "w") as member:
        while block := await asyncio.to_thread(whole.read, 1 << 20):
            await asyncio.to_thread(member.write, block)
            yield sink.taken()


def _info(name: str, mode: int, mtime_ns: int) -> zipfile.ZipInfo:
    at = min(max(mtime_ns // 10**9, _ZIP_FIRST_S), _ZIP_LAST_S)
    when = datetime.fromtimestamp(at, UTC)
    info = zipfile.ZipInfo(name, (when.year, when.month, when.day, when.hour, when.minute, when.second))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix: so that the mode below is one
    info.external_attr = (0o100000 | mode & 0o777 | 0o600) << 16
    if name.endswith("/"):
        info.compress_type = zipfile.ZIP_STORED
        info.external_attr = (0o40755 << 16) | 0x10
    return info


class Names:
    """Names of members for paths of one directory: safe on every system, and different where the paths are.

    Args:
        folder: that they are below.
    """

    def __init__(self, folder: str) -> None:
        self._safe: dict[bytes, str] = {b"": folder}
        self._taken: dict[str, int] = {}

    def of(self, path: bytes) -> str:
        """The name of one member, of at most DEPTH_MAX parts."""
        if path not in self._safe:
            above, _, last = path.rpartition(b"/")
            folder = self.of(above)
            self._safe[path] = self.free(folder, safe_name(last.decode("utf-8", "replace")))
        return self._safe[path]

    def free(self, folder: str, name: str) -> str:
        """A name in a folder that nothing else has; ``name`` is safe."""
        start, dot, end = name.rpartition(".")
        wanted = _alike(f"{folder}/{name}")
        number = self._taken.get(wanted, 1)
        while True:
            candidate = name if number == 1 else f"{start} ({number}).{end}" if dot else f"{name} ({number})"
            full = f"{folder}/{candidate}"
            number += 1
            if _alike(full) not in self._taken:
                self._taken[_alike(full)] = 2
                self._taken[wanted] = number  # thousands may want one name: nobody tries the same numbers again
                return full


def _alike(name: str) -> str:
    """The same for names that some system takes for one: they differ in case, or in how an accent is written."""
    return unicodedata.normalize("NFC", name).casefold()


def safe_name(text: str) -> str:
    """A text as one part of a path, on any system. Never empty, never ``..``, never with a separator."""
    plain = "".join("_" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char for char in text)
    name = _FORBIDDEN.sub("_", plain)
    if len(name) > NAME_CHARS_MAX:
        start, dot, end = name.rpartition(".")
        ending = dot + end if start and len(end) <= 16 else ""
        name = name[: NAME_CHARS_MAX - len(ending)] + ending
    name = re.sub(r"[. ]$", "_", name)
    if not name or set(name) <= {".", "_"} or _RESERVED.fullmatch(name):
        name = f"_{name}"
    return name


def folder_names(users: Iterable[tuple[UserId, str]]) -> dict[UserId, str]:
    """A folder for each attendee, by what they are called; the id where nobody knows a name."""
    names = Names("")
    return {user: names.free("", safe_name(name or user)).removeprefix("/") for user, name in users}


@dataclass
class _About:
    """What ABOUT.txt says."""

    parts: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    more: int = 0

    def has(self, part: Part, files: int) -> None:
        when = datetime.fromtimestamp(part.snapshot.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.parts.append(f"{part.folder}: {counted(files, 'file')}, as they were at {when} UTC")

    def left_out(self, name: str, why: str) -> None:
        if len(self.lines) < LINES_MAX:
            self.lines.append(f"{name}: {why}")
        else:
            self.more += 1

    def text(self) -> bytes:
        head = [
            "What was made or changed in workspaces. Files that are as they came with a project are not in here.",
            "",
            *(self.parts or ["Nothing was kept."]),
        ]
        if self.lines:
            head += ["", "Not in this archive:", "", *self.lines]
        if self.more:
            head.append(f"and {self.more} more")
        return ("\n".join(head) + "\n").encode("utf-8", "replace")


class _Sink:
    """Where the archive is written to; what was written is taken away at once."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def write(self, block: bytes) -> int:
        self._blocks.append(bytes(block))
        return len(block)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)
