"""Snapshots as ships bring them, for tests of what is done with them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence

from mux.core.model import ProjectName, UserId
from mux.files.base import FilesStore, Kind, Snapshot
from ship_agent.protocol.snapshot import CHUNK_BYTES, Manifest, SnapshotEntry, quoted


def file_entry(path: bytes, content: bytes, *, of_image: bool = False, mtime_s: int = 1_700_000_000) -> SnapshotEntry:
    """A file."""
    blocks = blocks_of(content)
    return SnapshotEntry(
        path=quoted(path),
        kind="file",
        mode=0o644,
        uid=1000,
        gid=100,
        mtime_ns=mtime_s * 10**9,
        size=len(content),
        chunks=[hashlib.sha256(block).hexdigest() for block in blocks],
        of_image=of_image,
    )


def blocks_of(content: bytes) -> list[bytes]:
    """The chunks of a file."""
    return [content[at : at + CHUNK_BYTES] for at in range(0, len(content), CHUNK_BYTES)]


async def keep(
    store: FilesStore,
    user: UserId,
    project: ProjectName,
    files: Mapping[bytes, bytes],
    *,
    now: float,
    of_image: Sequence[bytes] = (),
    gone: Sequence[bytes] = (),
    left_out: Sequence[bytes] = (),
    locked: Sequence[bytes] = (),
    kind: Kind = "snapshot",
    others: Sequence[SnapshotEntry] = (),
) -> Snapshot:
    """Have a snapshot kept, with its chunks."""
    for content in files.values():
        for block in blocks_of(content):
            await store.put_object(user, hashlib.sha256(block).hexdigest(), zlib.compress(block))
    entries = [file_entry(path, content, of_image=path in of_image) for path, content in files.items()]
    manifest = Manifest(
        digest="",
        taken_at=now,
        entries=[*others, *entries],
        gone=[quoted(path) for path in gone],
        left_out=[quoted(path) for path in left_out],
        locked=[quoted(path) for path in locked],
    )
    return await store.put_manifest(user, project, kind, manifest.body(), now)
