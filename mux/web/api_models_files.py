"""The admin API's words about attendees' files. Rules as in ``api_models``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mux.core.files import PATH_CHARS_MAX
from mux.web.api_models import ApiRequest, ApiResponse


class SnapshotOut(ApiResponse):
    """One snapshot that is kept."""

    id: str = Field(description="SHA-256 of its manifest.")
    project: str
    kind: Literal["snapshot", "recovered"] = Field(
        description="`recovered`: what a lost ship still had when it came back; never restored by itself."
    )
    at: float = Field(description="When it came in, in seconds since the epoch.")
    files: int | None = Field(description="Files made or changed; null if it cannot be read.")
    size_bytes: int | None = Field(description="Of these files, unpacked; null if it cannot be read.")


class StartedOverOut(ApiResponse):
    """The last wish to start files of a project over."""

    project: str
    path: str = Field(description="Of one file, percent-encoded; empty for everything.")
    state: Literal["waiting", "done", "failed"]
    detail: str = Field(description="Why it failed; empty otherwise.")
    kept: str = Field(description="Where what was the attendee's is kept, percent-encoded; empty for nowhere.")


class AttendeeFiles(ApiResponse):
    """What is kept of one attendee's files."""

    user: str = Field(description="The id.")
    name: str = Field(description="Empty for somebody whom the roster does not know any more.")
    seated: bool = Field(description="Whether they have a seat, from which more may come.")
    snapshots: int
    recovered: int = Field(description="Recovered copies.")
    newest_at: float | None = Field(
        description="Of the newest, in seconds since the epoch; null where only parts are kept that never came whole."
    )
    size_bytes: int = Field(description="What it takes where it is kept.")


class Files(ApiResponse):
    """What is kept of attendees' files."""

    now: float = Field(description="In seconds since the epoch.")
    attendees: list[AttendeeFiles]


class FilesOf(ApiResponse):
    """What is kept of one attendee's files, snapshot by snapshot, and what is being started over."""

    now: float = Field(description="In seconds since the epoch.")
    user: str
    name: str
    seated: bool
    size_bytes: int
    snapshots: list[SnapshotOut] = Field(description="By project, the oldest first.")
    started_over: list[StartedOverOut]


class FilesResetIn(ApiRequest):
    """Files of an attendee are to be the image's again."""

    project: Annotated[str, Field(max_length=31)] = Field(default="", description="Empty: of every project.")
    path: Annotated[str, Field(max_length=PATH_CHARS_MAX)] = Field(
        default="", description="Of one file, percent-encoded; empty: everything. Needs a project."
    )


class FilesDeleted(ApiResponse):
    """What was deleted of an attendee."""

    user: str
    name: str
    snapshots: int
    recovered: int
    size_bytes: int
    kept_by: list[str] = Field(description="Ships that still hold work of theirs: `mux ship release` deletes it.")


class AllDeleted(ApiResponse):
    """What was deleted of everybody."""

    deleted: list[FilesDeleted]
