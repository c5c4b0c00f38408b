"""The admin API's words about warming and money. Rules as in ``api_models``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mux.web.api_models import ApiRequest, ApiResponse

SEATS_MAX = 20_000
"""Twice the largest event."""

Amount = Annotated[float, Field(ge=0, le=1e9)]


class SpendIn(ApiRequest):
    """The organizers' word on money."""

    limit: Amount = Field(description="What the event may cost in all, in the event file's currency.")


class SpendOut(ApiResponse):
    """What the event costs."""

    currency: str
    spent: float
    per_hour: float = Field(description="What runs now, for an hour.")
    event: float = Field(description="Estimate for the whole event, with what runs now.")
    limit: float | None = Field(description="In force; null for none.")
    ship_hours: float
    known: bool = Field(description="Whether the event file gives a price; without one nothing is counted.")


class ReasonOut(ApiResponse):
    """Why seats are missing."""

    reason: str
    count: int


class Warming(ApiResponse):
    """How warming goes on. Times are seconds since the epoch."""

    now: float
    seats: int = Field(description="Wanted.")
    ready: int = Field(description="Seats that said themselves that they are ready, assigned ones included.")
    by: float | None = Field(description="When they should be ready; null for as soon as possible.")
    begins_at: float | None = Field(description="When warming begins; null once it has.")
    expected_at: float = Field(description="When they are expected to be ready.")
    phase: str = Field(description="word (an organizer's), or of the timetable: open, early, warm, cool, stop.")
    held: str = Field(description="Why nothing is done now; empty if nothing holds mux back.")
    launching: bool
    launching_text: str
    stalled: bool = Field(description="No seat became ready for long.")
    ships_by_state: dict[str, int] = Field(description="State, or stage of the boot, to number of ships.")
    reasons: list[ReasonOut]
    spend: SpendOut


class WarmIn(ApiRequest):
    """How many seats, and by when."""

    seats: Annotated[int, Field(ge=0, le=SEATS_MAX)] | None = Field(
        default=None, description="Null: attendees and spare seats of the event file."
    )
    by: Annotated[str, Field(max_length=20)] = Field(
        default="", description="`08:45` (the next one) or `2027-05-14 08:45`, of event.time_zone; empty: at once."
    )
    spend_limit: Amount | None = Field(default=None, description="The organizer's word on what the event may cost.")


class WarmPlan(ApiResponse):
    """What so many seats take and cost. Times are seconds since the epoch."""

    seats: int
    ready: int
    launches: int = Field(description="Ships to be launched.")
    starts: int = Field(description="Parked ships to be started.")
    by: float | None
    begins_at: float
    expected_at: float
    boot_s: float = Field(description="How long a ship takes to become available.")
    measured: bool = Field(description="Whether that was measured; else it is the deadline of a boot.")
    per_hour: float
    event: float = Field(description="Estimate for the whole event.")
    beyond_limit: bool
    spend: SpendOut
    text: str = Field(description="One or two sentences for people.")
