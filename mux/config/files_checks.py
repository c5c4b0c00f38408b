"""Rules of an event file about the store of attendees' files that span keys."""

from __future__ import annotations

from collections.abc import Iterator

from mux.config.faults import Fault, shown
from mux.config.schema import EventFile


def files_rules(file: EventFile) -> Iterator[tuple[tuple[str, ...], Fault]]:
    """Faults of ``[files]``, with the keys that they are about."""
    files = file.files
    if files.store != "s3":
        return
    for key, value, what in (("bucket", files.bucket, "the name of a bucket"), ("region", files.region, "its region")):
        if not value:
            name = f"files.{key}"
            yield (name, "files.store"), Fault(name, shown(value), f"{what}, since files.store is s3")
