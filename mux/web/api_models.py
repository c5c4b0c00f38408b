"""The admin API's words: a pydantic model for every request and every response.

Owns the shapes and their bounds. Knows no handler, no store and no HTTP. The OpenAPI document is generated from these
models, so a description here is documentation there.

Rules: a request refuses unknown fields, converts no types and bounds every text and list; a response says what is so,
without secrets (freshly generated codes and tokens excepted, which are shown once, where they are made). Ids of the
core stay opaque texts. Texts that came from a ship are hostile: JSON carries them as data, whoever renders them
escapes them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

API_VERSION = "v1"
API_PREFIX = f"/api/{API_VERSION}"

EVENT_TEXT_CHARS_MAX = 512 * 1024
"""An event file with a hundred projects is about 60 KB."""
ROSTER_TEXT_CHARS_MAX = 8_000_000
"""As much as the roster's reader takes."""

Login = Annotated[str, StringConstraints(min_length=1, max_length=320, strip_whitespace=True)]
"""A name, an e-mail address (RFC 5321 section 4.5.3.1: at most 64 + 1 + 255 characters) or an id."""
TokenName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")]
ScopeName = Literal["read", "fleet", "roster", "apply", "files"]
RoleName = Literal["attendee", "helper", "organizer"]
DoorsName = Literal["auto", "open", "closed"]
Secrets = dict[str, dict[str, dict[str, str]]]

BROADCAST_CHARS_MAX = 500
"""What everybody is told at once: a few sentences, which is what anybody reads beside their work."""


class ApiRequest(BaseModel):
    """What every request has in common: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ApiResponse(BaseModel):
    """What every response has in common; made from the core's views by attribute."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


# --- errors ---------------------------------------------------------------------------------------------------------


class ErrorBody(ApiResponse):
    """Why a request was not carried out."""

    code: str = Field(description="Short and stable, for machines.")
    message: str = Field(description="One or two sentences for people: what is so, and what to do next.")
    detail: list[str] = Field(default=[], description="Every fault on a line of its own, where there are several.")


class ErrorResponse(ApiResponse):
    """The body of every answer with a status of 400 or more."""

    error: ErrorBody


# --- small answers --------------------------------------------------------------------------------------------------


class Done(ApiResponse):
    """It was carried out: persisted and published."""

    ok: Literal[True] = True
    text: str = Field(default="", description="One sentence for people.")


class Health(ApiResponse):
    """The control process answers."""

    ok: Literal[True] = True
    version: str


# --- status ---------------------------------------------------------------------------------------------------------


class ResourcesOut(ApiResponse):
    """A ship's machine, as its last report says. Bytes, and load over one minute."""

    cpus: int
    load_1m: float
    memory_total_bytes: int
    memory_available_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int


class SeatOut(ApiResponse):
    """One seat of a ship."""

    index: int
    user: str | None = Field(description="Id of the attendee whose seat it is.")
    ready: bool = Field(description="It can be offered, or is in use.")
    workspaces: dict[str, str] = Field(description="Project to the state of its workspace.")
    failures: dict[str, str] = Field(description="Project to reason and last lines of its log.")
    snapshot_lag_s: dict[str, float] = Field(
        description="Project to what would be missing of the attendee's files if the ship were lost now, in seconds of "
        "their work; 0 where the newest snapshot has all that was seen."
    )


class ShipOut(ApiResponse):
    """One ship."""

    id: str
    state: str = Field(description="pending, booting, available, running, parked or terminated.")
    boot: int = Field(description="Counts its boots.")
    linked: bool
    conditions: list[str] = Field(
        description="unreachable, cordoned, draining, failed (why), keeps work of so many attendees."
    )
    phase: str = Field(description="What it says that it is doing.")
    generation: int
    generation_reached: int
    last_seen_s: float | None = Field(description="Seconds since the epoch of its last report.")
    resources: ResourcesOut
    limits: list[str] = Field(description="Limits in force.")
    limits_missing: list[str] = Field(description="Limits that its runtime cannot enforce.")
    kept_of: list[str] = Field(description="Ids of attendees who were moved away and whose work it keeps.")
    seats: list[SeatOut]


class SiteOut(ApiResponse):
    """One name that is served over TLS."""

    name: str = Field(description="public or admin.")
    host: str
    names: list[str] = Field(description="What the certificate is for; none if nothing is served yet.")
    issuer: str
    not_after_s: float | None = Field(description="Seconds since the epoch at which it ends.")
    sha256: str = Field(description="Of the certificate's DER, hexadecimal.")
    fault: str = Field(description="What is wrong with the one that should be served instead; empty for nothing.")


class Tls(ApiResponse):
    """Certificates that are served."""

    sites: list[SiteOut] = Field(description="None where mux speaks no TLS itself.")


class Notice(ApiResponse):
    """Something that organizers should know."""

    at: float = Field(description="Seconds since the epoch.")
    severity: Literal["info", "warning", "error"]
    subject: str = Field(description="The ship, project or user that it is about; may be empty.")
    text: str


class Notices(ApiResponse):
    """The latest notices, newest first."""

    notices: list[Notice]


class Status(ApiResponse):
    """The room at a glance."""

    now: float = Field(description="Seconds since the epoch at which this was so.")
    event: str
    doors: DoorsName
    doors_open: bool = Field(description="Newcomers get seats now.")
    launching: bool = Field(description="The reconciler may launch ships.")
    launching_text: str = Field(description="Why it may not, or why launching fails for now; else empty.")
    trouble: str = Field(
        description="Why nothing can be stored, so that what is shown is not in force yet; else empty."
    )
    seats_wanted: int
    seats_total: int
    seats_ready: int
    seats_assigned: int
    waiting: int
    sessions: int
    snapshot_lag_s: float = Field(description="The largest of all seats'.")
    homes_behind: int = Field(description="How many of all seats' are above 0.")
    ships_by_state: dict[str, int]
    projects_broken: dict[str, str] = Field(description="Project to reason, for those that hold no seats back.")
    opt_ins: dict[str, list[str]] = Field(description="Project to what its containers may beyond the rule.")
    ships: list[ShipOut]
    notices: list[Notice]


# --- the fleet ------------------------------------------------------------------------------------------------------


class DoorsIn(ApiRequest):
    """Whether newcomers get seats."""

    doors: DoorsName


class BroadcastIn(ApiRequest):
    """What everybody is told; empty for nothing any more."""

    text: Annotated[str, Field(max_length=BROADCAST_CHARS_MAX)]


class DrainIn(ApiRequest):
    """How a ship is to go."""

    evict: bool = Field(
        default=False,
        description="Move its attendees now, with all that they saved, instead of waiting until they leave.",
    )


class ReapIn(ApiRequest):
    """What is to be ended after the event."""

    foreign: bool = Field(default=False, description="Also what another mux launched under the same event's name.")


class ReapOut(ApiResponse):
    """How the ending of everything that bears the event's marks stands."""

    running: bool = Field(description="Under way: machines take minutes to end.")
    machines: int = Field(description="Ended, and seen to be gone.")
    things: int = Field(description="Launch templates, disks and the like that were deleted.")
    foreign: int = Field(description="Machines of the same event that belong to another mux, and were left alone.")
    error: str = Field(description="Why it ended early; empty if it did not.")


class SeatReleaseIn(ApiRequest):
    """Whose seat is to be taken back."""

    user: Login = Field(description="Name, e-mail address or id.")


# --- the roster -----------------------------------------------------------------------------------------------------


class UserOut(ApiResponse):
    """One entry of the roster; credentials are not shown."""

    id: str
    name: str
    email: str
    role: RoleName
    credential_kind: Literal["code", "password", "none"]
    self_registered: bool
    entered: bool = Field(description="Has ever logged in.")
    created_at: float = Field(description="Seconds since the epoch.")


class Roster(ApiResponse):
    """Who may enter, by name."""

    users: list[UserOut]


class FreshCode(ApiResponse):
    """A code that was generated just now. Only its hash is kept: it cannot be shown again."""

    name: str
    email: str
    role: RoleName
    code: str = Field(repr=False)


class Codes(ApiResponse):
    """Freshly generated codes, and what a slip says beside them."""

    event: str
    address: str = Field(description="Where attendees go.")
    codes: list[FreshCode]


class RosterImportIn(ApiRequest):
    """A roster to take in: CSV with a header line ``name,email,role,code`` or ``password``."""

    csv: Annotated[str, StringConstraints(min_length=1, max_length=ROSTER_TEXT_CHARS_MAX)] = Field(repr=False)


class RosterImported(Codes):
    """What an import changed."""

    created: int
    updated: int
    unchanged: int


class RosterAddIn(ApiRequest):
    """One new entry; it gets a generated code."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
    email: Annotated[str, StringConstraints(max_length=320, strip_whitespace=True)] = ""
    role: RoleName = "attendee"


class RosterRemoved(ApiResponse):
    """Who was removed: their sessions have ended."""

    id: str
    name: str
    released: bool = Field(description="The seat was given back too.")


class RosterEmptied(ApiResponse):
    """Everybody was removed: no name and no e-mail address is kept, and every session has ended."""

    removed: int = Field(description="Entries that there were.")


# --- tokens ---------------------------------------------------------------------------------------------------------


class TokenOut(ApiResponse):
    """A token of this API, without the secret."""

    name: str
    scopes: list[ScopeName]
    created_at: float = Field(description="Seconds since the epoch.")


class Tokens(ApiResponse):
    """Every token of this API."""

    tokens: list[TokenOut]


class TokenAddIn(ApiRequest):
    """A token to make."""

    name: TokenName
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=4)]


class TokenMade(ApiResponse):
    """A token that was made just now. Only its hash is kept: it cannot be shown again."""

    name: str
    scopes: list[ScopeName]
    token: str = Field(repr=False)


# --- the event ------------------------------------------------------------------------------------------------------


class EventText(ApiResponse):
    """The event file in force; None before the first one was applied."""

    text: str | None


class EventPlanIn(ApiRequest):
    """An event file to compare with what is in force."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=EVENT_TEXT_CHARS_MAX)] = Field(
        description="The file, TOML."
    )
    secrets: Secrets | None = Field(
        default=None,
        repr=False,
        description="Project to attendee (`*` for everybody) to variable to value. Null: mux reads the CSV files that "
        "the event file names, on its own machine.",
    )


class EventApplyIn(EventPlanIn):
    """An event file to put in force, as planned."""

    plan_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="From the plan; refused when the file, the secrets or what is in force is not the same any more."
    )


class Change(ApiResponse):
    """One difference between what is in force and the file. Values that may be secrets are not shown."""

    key: str = Field(description="E.g. `fleet.attendees`, `project[intro].image`, or `project[intro]` for a whole one.")
    before: str = Field(description="As the file writes it; empty if it was not there.")
    after: str = Field(description="Likewise.")
    effect: str = Field(description="What that does, one sentence for people.")


class EventPlan(ApiResponse):
    """What applying the file would do; nothing has been done."""

    plan_id: str
    changes: list[Change]
    warnings: list[str]
    first: bool = Field(description="No file has been applied before.")


class EventApplied(ApiResponse):
    """The file is in force."""

    changes: list[Change]
    warnings: list[str]
