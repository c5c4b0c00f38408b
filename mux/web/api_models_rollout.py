"""The admin API's words about rollouts. Rules as in ``api_models``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mux.web.api_models import ApiRequest, ApiResponse


class PushIn(ApiRequest):
    """Another image for a project."""

    image: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="A name of a container image, or a directory on the mux's machine for the process runtime."
    )
    max_unavailable: Annotated[str, Field(max_length=8)] = Field(
        default="", description="`10%` or `5` attendees at once; empty: as the event file says."
    )
    when: Annotated[str, Field(max_length=24)] = Field(
        default="now",
        description="`now`; `idle`, attendees who are not working; `offer`, attendees who accept it; `at 10:30` of "
        "event.time_zone.",
    )
    note: Annotated[str, Field(max_length=200)] = Field(default="", description="An organizer's words on it.")
    ignore_room: bool = Field(default=False, description="Push also what is estimated not to fit the ships' disks.")


class PushPlan(ApiResponse):
    """What a push would do, and how many it would reach now."""

    image: str
    digest: str
    attendees: int = Field(description="Who have a workspace of the project.")
    not_before: float = Field(description="Nobody is touched before that; 0 for at once.")
    not_before_text: str = Field(description="The same on a clock of event.time_zone; empty for at once.")


class Pushed(ApiResponse):
    """It is on its way."""

    ok: Literal[True] = True
    number: int = Field(description="Of the rollout; 0 if a later word on the project has overtaken it already.")
    text: str = Field(description="One sentence for people.")


class Failure(ApiResponse):
    """What did not take the image."""

    subject: str = Field(description="A ship, or a workspace.")
    why: str


class RolloutOut(ApiResponse):
    """How a project's latest rollout stands. Times are seconds since the epoch."""

    project: str
    number: int = Field(description="Counts the pushes of the project.")
    image: str
    digest: str
    was_image: str = Field(description="What a rollback goes back to.")
    was_digest: str
    phase: Literal["pulling", "proving", "swapping", "done", "stopped", "aborted", "rolled back"]
    rollback: bool
    paused: bool
    why: str = Field(description="Why it stopped; empty if it did not.")
    note: str
    pushed_at: float
    not_before: float = Field(description="Nobody is touched before that; 0 for at once.")
    not_before_text: str = Field(description="The same on a clock of event.time_zone; empty for at once.")
    ships: int = Field(description="Ships that are up.")
    pulled: int = Field(description="Of those, how many have the image.")
    proved: int = Field(description="Of those, how many have proved it with a throw-away workspace.")
    bound: int = Field(description="Workspaces of attendees on them.")
    swapped: int = Field(description="Of those, how many run the image.")
    swapping: int = Field(description="Away for it now.")
    waiting: int = Field(description="Still to be swapped.")
    when: Literal["now", "idle", "offer", "at"] = Field(description="When attendees may be swapped.")
    offered: int = Field(description="Attendees who were asked, for `offer`.")
    accepted: int = Field(description="Of those, how many have accepted.")
    working: int = Field(description="Of those waiting, how many are left alone until they are idle.")
    eta_s: float | None = Field(
        description="Seconds until it ends, as its waves so far went; null while that is not known."
    )
    waits_for: str = Field(description="What has to happen for it to go on; empty if nothing holds it up.")
    failures: list[Failure]


class Rollouts(ApiResponse):
    """The latest rollout of each project that has had one."""

    rollouts: list[RolloutOut]


class SteerIn(ApiRequest):
    """An organizer's word on a rollout."""

    order: Literal["pause", "resume", "abort", "rollback"]
