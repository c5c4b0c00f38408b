"""Which store attendees' files are kept in, as the event file says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mux.config.schema import EventFile
from mux.files.base import FilesStore
from mux.files.directory import DirectoryStore
from mux.files.s3 import S3Store, connected


def files_store(file: EventFile, data: Path, clock: Callable[[], float]) -> FilesStore:
    """The store, not opened yet.

    Args:
        file: the event file.
        data: the data directory.
        clock: seconds since the epoch.
    """
    files = file.files
    if files.store == "s3":
        connect = partial(connected, files.region, files.endpoint or "")
        return S3Store(connect, files.bucket, files.prefix, files.attendee_max, clock)
    return DirectoryStore(data / "files", files.attendee_max)
