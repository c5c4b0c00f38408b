"""Keeping attendees' changes safe on the mux: looks at their directories, and sends what changed.

Owns when a snapshot is taken: as soon as something new looks the same twice, and every WRITING_S while nothing does.
Knows directories by name, see `ship_agent.snapshots.base`; whose they are is the mux's to know.

Rules: the directories are looked at one after the other and never take more than a share of one core; what is sent or
fetched goes several at once, so that a store that answers slowly holds up nobody else's; a mux that cannot be reached
holds up nothing but the snapshots; a directory is restored only while nothing runs on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from ship_agent.files.base import FilesFailure
from ship_agent.files.place import remove_tree
from ship_agent.protocol.snapshot import MANIFEST_BYTES_MAX, Manifest
from ship_agent.snapshots.client import FilesClient, FilesError
from ship_agent.snapshots.look import Look, look
from ship_agent.snapshots.reading import Known, TurnOverError, read_chunk
from ship_agent.snapshots.restore import restore
from ship_agent.snapshots.take import Taken, source_of, take

log = structlog.get_logger(__name__)

LOOK_S: Final = 0.7
"""Pause between two looks: a finished write is seen by the first and believed at the second, within two seconds."""
REST: Final = 4.0
"""Pause for each second of looking: a fifth of one core at most, whatever the attendees keep."""
WRITING_S: Final = 25.0
"""What is written without pause is taken this often; with the looks before and after it, at least every 30 s."""
RETRY_S: Final = 5.0
"""Pause after what the mux did not take; five minutes if asking again cannot help."""
REFUSED_S: Final = 300.0
OFFERS_MAX: Final = 4
"""Offers of one snapshot: files may change while their chunks are sent."""
TURNS_MAX: Final = 20
"""At reading for one snapshot, of `reading.TURN_BYTES` each: more is in no snapshot, unless it changes meanwhile."""
SENDING_MAX: Final = 4
"""Snapshots that are sent at once; those of who leaves go beside them."""
RESTORING_MAX: Final = 4
"""Directories that are restored at once: more would share the same network."""
CHUNKS_AT_ONCE: Final = 4
"""Of one snapshot: each costs a way to the mux, and one to where files are kept."""
LOCKED: Final = "a file or a directory is locked by its mode, and is kept as it was before that; `chmod u+rwX` opens it"
"""Said for as long as it is so, to whose files they are and to the organizers."""
FETCH_TRIES: Final = 3
FETCH_PAUSE_S: Final = 1.0
"""For each chunk that is fetched: with the first that does not come, all would have to be fetched again."""


@dataclass(slots=True)
class _Watched:
    """One directory. ``kept`` is what it was at ``kept_at``, when it was looked at for the mux's last snapshot (before
    there is one, when it was first looked at); ``last`` is the look before, ``changed_at`` when one last differed.
    ``still``: nobody writes to it any more; ``saved``: and what it has been since is in the mux's last snapshot.
    ``locked``: not all could be read for that. ``last_at``: when that look before was; ``sending``: a snapshot is under
    way; ``began_at``: when the last was begun.
    """

    directory: Path
    known: Known = field(default_factory=Known)
    kept: Look | None = None
    last: Look | None = None
    last_at: float = 0.0
    kept_at: float = 0.0
    changed_at: float = 0.0
    dirty_since: float = 0.0
    not_before: float = 0.0
    trouble: str = ""
    still: bool = False
    saved: bool = False
    locked: bool = False
    sending: bool = False
    began_at: float = 0.0


class SnapshotKeeper:
    """Snapshots and restores for one ship.

    Args:
        client: the way to the mux.
        staging: directory for what is being fetched; anything in it may be deleted.
    """

    def __init__(self, client: FilesClient, staging: Path) -> None:
        self._client = client
        self._staging = staging
        self._watched: dict[str, _Watched] = {}
        self._held: frozenset[str] = frozenset()
        self._restoring = asyncio.Semaphore(RESTORING_MAX)
        self._stilled = asyncio.Event()
        self._taking = asyncio.Lock()
        self._looked_s = 0.0
        self._sending: set[asyncio.Task[None]] = set()

    def watch(self, directories: Mapping[str, Path], held: frozenset[str], still: frozenset[str] = frozenset()) -> None:
        """These directories from now on; those before and not among them no longer.

        Args:
            directories: by name.
            held: names of those with an action under way: what is seen of their files may be half of it.
            still: names of those that nobody writes to any more: taken at once, and before all others.
        """
        self._held = held
        self._watched = {
            name: found
            if (found := self._watched.get(name)) is not None and found.directory == directory
            else _Watched(directory)
            for name, directory in directories.items()
        }
        for name, watched in self._watched.items():
            if watched.still != (name in still):
                watched.still, watched.saved, watched.not_before = name in still, False, 0.0
                self._stilled.set()

    def saved(self) -> frozenset[str]:
        """See `ship_agent.snapshots.base.Files`. What snapshots leave out counts as kept."""
        return frozenset(name for name, watched in self._watched.items() if watched.saved)

    def behind(self) -> Mapping[str, float]:
        """See `ship_agent.snapshots.base.Files`. What snapshots leave out counts as kept."""
        return {
            name: watched.changed_at - watched.kept_at
            for name, watched in self._watched.items()
            if watched.last is not None and watched.last != watched.kept and watched.changed_at > watched.kept_at
        }

    def unkept(self) -> Mapping[str, str]:
        """See `ship_agent.snapshots.base.Files`."""
        return {name: watched.trouble for name, watched in self._watched.items() if watched.trouble}

    async def run(self, told: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled. ``told`` is called when `saved` has become more."""
        try:
            while True:
                await self._client.linked.wait()
                self._stilled.clear()
                for name in sorted(self._watched, key=self._turn):
                    if self._stilled.is_set():
                        break  # who leaves waits for theirs
                    await self._attend(name, told)
                looked_s, self._looked_s = self._looked_s, 0.0
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S + min(REST * looked_s, WRITING_S)):
                        await self._stilled.wait()
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            await self._client.close()

    async def restore(self, name: str, directory: Path, snapshot: str) -> None:
        """Have a snapshot's files in a directory that nobody works in. Raises FilesError or FilesFailure."""
        async with self._restoring:
            manifest = await self._client.manifest(name, snapshot)
            staging = self._staging / name.replace("/", "~")  # no id has that
            try:
                await asyncio.to_thread(_emptied, staging)
                await self._fetch(name, manifest, staging)
                await asyncio.to_thread(restore, directory, manifest, lambda chunk: (staging / chunk).read_bytes())
            finally:
                await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
        log.info("files restored", of=name, files=len(manifest.entries))

    async def _fetch(self, name: str, manifest: Manifest, staging: Path) -> None:
        async def fetch(chunk: str) -> None:
            block = await self._fetched(name, chunk)
            try:
                await asyncio.to_thread((staging / chunk).write_bytes, block)
            except OSError as error:
                raise FilesFailure(
                    "disk_full", "no room for the attendee's files; free some space on the ship", retryable=True
                ) from error

        await _several(dict.fromkeys(manifest.chunks()), fetch)

    async def _fetched(self, name: str, chunk: str) -> bytes:
        for _ in range(FETCH_TRIES - 1):
            try:
                return await self._client.chunk(name, chunk)
            except FilesError as error:
                if not error.retryable:
                    raise
            await asyncio.sleep(FETCH_PAUSE_S)
        return await self._client.chunk(name, chunk)

    def _turn(self, name: str) -> tuple[bool, float]:
        """Who leaves first, then whoever has waited longest."""
        return not self._watched[name].still, self._watched[name].began_at

    async def _attend(self, name: str, told: Callable[[], None]) -> None:
        watched = self._watched.get(name)
        now = time.monotonic()
        if watched is None or name in self._held or watched.saved or now < watched.not_before:
            return
        await self._guarded(name, watched, self._look(name, watched, now, told))

    async def _look(self, name: str, watched: _Watched, now: float, told: Callable[[], None]) -> None:
        """Look at a directory, and have a snapshot of it sent if one is due and there is a turn for it."""
        still = watched.still
        due = await self._due(watched, now)
        if watched.sending:
            return  # looked at all the same: how old the snapshot is goes on counting
        if not due:
            _note_kept(watched, told, still=still)
        elif still or len(self._sending) < SENDING_MAX:
            watched.sending, watched.began_at = True, now
            sent = self._guarded(name, watched, self._sent(name, watched, told, still=still))
            task = asyncio.create_task(sent, name=f"snapshot of {name}")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _sent(self, name: str, watched: _Watched, told: Callable[[], None], *, still: bool) -> None:
        try:
            await self._snapshot(name, watched)
            _note_kept(watched, told, still=still)
        finally:
            watched.sending = False

    async def _guarded(self, name: str, watched: _Watched, work: Awaitable[None]) -> None:
        """Do something for one directory; what goes wrong puts off no other one."""
        try:
            await work
        except FilesFailure as failure:
            self._put_off(name, watched, str(failure), RETRY_S)
        except FilesError as error:
            again = error.retryable or watched.still  # somebody waits for it, and not for long
            self._put_off(name, watched, str(error), RETRY_S if again else REFUSED_S)
        except Exception:
            # A defect that one directory brings out must not end the others' snapshots.
            log.exception("snapshot failed", of=name)
            watched.trouble = "a defect, which is in the log of the ship's agent"
            watched.not_before = time.monotonic() + (RETRY_S if watched.still else REFUSED_S)

    async def _due(self, watched: _Watched, now: float) -> bool:
        """Whether a directory is to be taken: something is finished that is not kept, or has been written for long."""
        here = await asyncio.to_thread(lambda: look(source_of(watched.directory, watched.known)))
        self._looked_s += time.monotonic() - now
        before, watched.last, watched.last_at = watched.last, here, now
        if here != before:
            watched.changed_at = now
        if here == watched.kept:
            watched.kept_at, watched.dirty_since = now, 0.0
            return False
        watched.kept_at = watched.kept_at or now
        last = before or {}
        watched.dirty_since = watched.dirty_since or now
        long = now - watched.dirty_since >= WRITING_S
        return watched.still or long or finished(watched.kept or {}, last, here)

    async def _snapshot(self, name: str, watched: _Watched) -> None:
        unsteady: frozenset[bytes] = frozenset()
        for _ in range(OFFERS_MAX):
            looked_at, taken = await self._taken(watched, unsteady)
            if taken.manifest.locked and (earlier := await self._client.newest(name)) is not None:
                looked_at, taken = await self._taken(watched, unsteady, earlier)
            if not self._is_watched(name, watched):
                return
            if watched.kept is None and not taken.manifest.differs:
                break  # as the image made it: there is nothing to keep
            body = taken.manifest.body()
            if len(body) > MANIFEST_BYTES_MAX:
                raise FilesFailure("too_many_files", "too many files were changed; they are not kept elsewhere")
            if missing := await self._client.offer(name, body):
                changed = await self._send(name, taken, missing)
                unsteady |= changed
                if not self._is_watched(name, watched):
                    return
                if changed or await self._client.offer(name, body):
                    continue
            log.info("snapshot", of=name, files=len(taken.manifest.entries), bytes=len(body))
            break
        else:
            raise FilesFailure("files_changed", "the files change faster than they can be sent", retryable=True)
        if taken.manifest.locked and not watched.locked:
            log.warning("a part of an attendee's files is locked", of=name, paths=len(taken.manifest.locked))
        watched.kept, watched.locked = taken.look, bool(taken.manifest.locked)
        if watched.last_at <= looked_at:
            watched.last, watched.last_at = taken.look, looked_at
        watched.kept_at = looked_at
        watched.dirty_since = 0.0

    def _is_watched(self, name: str, watched: _Watched) -> bool:
        """Whether a directory is still the one of its name, and nothing of the agent's is under way in it."""
        return self._watched.get(name) is watched and name not in self._held

    async def _taken(
        self, watched: _Watched, unsteady: frozenset[bytes], earlier: Manifest | None = None
    ) -> tuple[float, Taken]:
        """A directory as it is, and when it was looked at; one with much to read has as many turns as it needs."""
        for _ in range(TURNS_MAX):
            async with self._taking:
                looked_at = time.monotonic()
                try:
                    return looked_at, await asyncio.to_thread(
                        take, watched.directory, watched.known, time.time(), unsteady, earlier
                    )
                except TurnOverError:
                    continue
                finally:
                    self._looked_s += time.monotonic() - looked_at
        raise FilesFailure("files_changed", "the files change faster than they can be read", retryable=True)

    async def _send(self, name: str, taken: Taken, missing: list[str]) -> frozenset[bytes]:
        """Send what the mux does not have. Returns the files that are others by now: the next snapshot has them."""
        changed: set[bytes] = set()

        async def send(chunk: str) -> None:
            source = taken.sources.get(chunk)
            if source is None:
                raise FilesError("the mux asks for what was not offered", retryable=False)
            block = taken.held.get(chunk) or await asyncio.to_thread(read_chunk, taken.directory, source, chunk)
            if block is None:
                changed.add(source.path)
            else:
                await self._client.put(name, chunk, block)

        await _several(missing, send)
        return frozenset(changed)

    def _put_off(self, name: str, watched: _Watched, why: str, pause_s: float) -> None:
        if self._watched.get(name) is not watched:
            return  # its workspace has gone meanwhile, and its files with it
        watched.not_before = time.monotonic() + pause_s
        if watched.trouble != why:
            watched.trouble = why
            log.warning("an attendee's files are not kept on the mux", of=name, why=why)


def finished(kept: Look, last: Look, here: Look) -> bool:
    """Whether something differs from what is kept, and has stayed the same between the last two looks."""
    return any(
        here.get(path) != kept.get(path) and here.get(path) == last.get(path) for path in here.keys() | kept.keys()
    )


def _note_kept(watched: _Watched, told: Callable[[], None], *, still: bool) -> None:
    """Note what is so of a directory that is kept as it was last seen. ``still``: nobody wrote to it meanwhile."""
    if watched.kept is None or watched.last != watched.kept:
        return
    watched.trouble = LOCKED if watched.locked else ""
    if still and watched.still:
        watched.saved = True
        told()


async def _several(chunks: Iterable[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Do something with each chunk, CHUNKS_AT_ONCE at a time. The first error ends all of it, and is raised."""
    left = iter(chunks)

    async def one_after_the_other() -> None:
        for chunk in left:
            await work(chunk)

    tasks = [asyncio.create_task(one_after_the_other()) for _ in range(CHUNKS_AT_ONCE)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _emptied(directory: Path) -> None:
    remove_tree(directory)
    directory.mkdir(parents=True, mode=0o700)
