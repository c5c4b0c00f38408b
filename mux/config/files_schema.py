"""The table ``[files]`` of an event file: as `mux.config.schema` has the others."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from mux.config import kinds
from mux.config.faults import Refused
from mux.config.kinds import PATH_CHARS_MAX, Kind, is_host_name, is_loopback
from mux.config.tables import Key, Table

_PREFIX = re.compile(r"([A-Za-z0-9_.-]+/)*")
PREFIX_CHARS_MAX = 200


def _prefix() -> Kind:
    """What keys of a bucket begin with."""

    def read(value: object) -> str:
        if not isinstance(value, str) or len(value) > PREFIX_CHARS_MAX or not _PREFIX.fullmatch(value):
            raise Refused
        if any(part in (".", "..") for part in value.split("/")):
            raise Refused
        return value

    allowed = f"parts of letters, digits and `_.-`, a slash behind each; at most {PREFIX_CHARS_MAX} characters"
    return Kind("text", allowed, read)


def _endpoint() -> Kind:
    """Where a service is found: over TLS, or on this machine."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or " " in value or len(value) > PATH_CHARS_MAX:
            raise Refused
        try:
            parts = urlsplit(value)
            port_ok = parts.port is None or parts.port > 0
        except ValueError:
            raise Refused from None
        host = parts.hostname or ""
        named = is_host_name(f"[{host}]" if ":" in host else host)
        secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        more = parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment
        if not (secure and named and port_ok) or more:
            raise Refused
        return value.rstrip("/")

    return Kind("address", "https://, a host, and a port if need be; http:// on this machine alone", read)


class FilesTable(Table):
    """Where attendees' work is kept, and how much of it."""

    doc: ClassVar[str] = "What is kept of attendees' files, so that they outlive a ship."

    attendee_max: Annotated[
        int,
        Key(
            kinds.size(1 << 20, 1 << 40),
            "Room for the snapshots of one attendee, compressed. Beyond it nothing more is kept.",
            "512MiB",
        ),
    ] = 512 << 20
    store: Annotated[
        str,
        Key(
            kinds.choice("data", "s3"),
            "data: in the mux's data directory. s3: in a bucket, to which ships bring contents of files themselves.",
            "s3",
        ),
    ] = "data"
    bucket: Annotated[
        str,
        Key(
            kinds.text(
                63,
                chars_min=0,
                pattern=r"(?:[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?",
                allowed="the name of a bucket, or an empty text",
            ),
            "The bucket. It must be there.",
            "summer-school-files",
        ),
    ] = ""
    prefix: Annotated[str, Key(_prefix(), "What keys in the bucket begin with.", "camp-2026/")] = ""
    region: Annotated[
        str,
        Key(
            kinds.text(32, chars_min=0, pattern=r"[a-z0-9-]*", allowed="a region, or an empty text"),
            "The bucket's region.",
            "eu-central-1",
        ),
    ] = ""
    endpoint: Annotated[
        str | None,
        Key(_endpoint(), "Another service that speaks S3; ships must reach it too.", "https://objects.example.org"),
    ] = None
