"""The tables of an event file that are about warming: its patience, the timetable, money."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from mux.config import kinds, warming_kinds
from mux.config.tables import Key, Table
from mux.config.warming_kinds import PRICE_MAX, local_time

DAY_S = 86_400


class WarmingTable(Table):
    """How patient mux is with ships on their way."""

    doc: ClassVar[str] = "Warming: how patient mux is with ships on their way, beside fleet.boot_deadline_s."

    install_deadline_s: Annotated[
        float,
        Key(
            kinds.number(1, DAY_S, unit="seconds"),
            "How long a booting ship may be installing before it is replaced.",
            600.0,
        ),
    ] = 600.0
    pull_deadline_s: Annotated[
        float,
        Key(
            kinds.number(1, DAY_S, unit="seconds"),
            "How long a booting ship may be pulling images before it is replaced.",
            600.0,
        ),
    ] = 600.0
    start_deadline_s: Annotated[
        float,
        Key(
            kinds.number(1, DAY_S, unit="seconds"),
            "How long a booting ship may be starting workspaces before it is replaced.",
            300.0,
        ),
    ] = 300.0
    stall_s: Annotated[
        float,
        Key(
            kinds.number(1, DAY_S, unit="seconds"),
            "Time without another ready seat after which warming counts as stalled, and organizers are told why.",
            300.0,
        ),
    ] = 300.0


class TimetableTable(Table):
    """What happens by itself, and when."""

    doc: ClassVar[str] = "The timetable: what happens by itself, and when. Times are of event.time_zone."

    warm_at: Annotated[
        datetime | None,
        Key(
            local_time(),
            "Warming begins; no ship is launched before. Default: as early as full_at asks for.",
            "2027-05-14 07:30",
        ),
    ] = None
    full_at: Annotated[
        datetime | None,
        Key(
            local_time(),
            "Every seat should be ready by then. mux says beforehand when that will not be met.",
            "2027-05-14 08:45",
        ),
    ] = None
    cool_at: Annotated[
        datetime | None,
        Key(
            local_time(),
            "Ships without people are let go, and no more are launched. Whoever has a seat keeps it.",
            "2027-05-14 17:00",
        ),
    ] = None
    hard_stop: Annotated[
        datetime | None,
        Key(
            local_time(),
            "Every ship is let go. Everybody is told 15 and 5 minutes before.",
            "2027-05-14 20:00",
        ),
    ] = None
    cool: Annotated[
        str,
        Key(
            kinds.choice("end", "park"),
            "What becomes of ships that are cooled. end: ended. park: stopped, to be started again quickly.",
            "park",
        ),
    ] = "end"
    stop: Annotated[
        str,
        Key(
            kinds.choice("park", "end"),
            "What becomes of ships at the hard stop. park: stopped, files kept. end: ended, with all files on them.",
            "end",
        ),
    ] = "park"

    @property
    def in_order(self) -> tuple[tuple[str, datetime], ...]:
        """The times that are set, in the order in which they must come."""
        times = {"warm_at": self.warm_at, "full_at": self.full_at, "cool_at": self.cool_at, "hard_stop": self.hard_stop}
        return tuple((name, at) for name, at in times.items() if at is not None)


class SpendTable(Table):
    """What ships cost, and what the event may cost."""

    doc: ClassVar[str] = "Money: what ships cost, and what the event may cost. Without a price nothing is counted."

    price_per_ship_hour: Annotated[
        float | None,
        Key(kinds.number(0, PRICE_MAX), "Price of one ship for an hour, disk and traffic included.", 0.25),
    ] = None
    prices: Annotated[
        Mapping[str, float],
        Key(
            warming_kinds.prices(),
            "Prices by kind of machine, where the provider tells the kind; the others have price_per_ship_hour.",
            {"m6i.large": 0.12},
        ),
    ] = Field(default_factory=dict)
    spot_price_per_ship_hour: Annotated[
        float | None,
        Key(
            kinds.number(0, PRICE_MAX),
            "Price of one ship on a spot machine for an hour. Default: as of any other of its kind.",
            0.1,
        ),
    ] = None
    spot_prices: Annotated[
        Mapping[str, float],
        Key(
            warming_kinds.prices(),
            "Prices of spot machines by kind; the others have spot_price_per_ship_hour.",
            {"m6i.large": 0.05},
        ),
    ] = Field(default_factory=dict)
    limit: Annotated[
        float | None,
        Key(
            kinds.number(0, 1e9),
            "What the event may cost in all. No ship is launched beyond it without an organizer's word.",
            500.0,
        ),
    ] = None
    hours: Annotated[
        float,
        Key(
            kinds.number(0.1, 24 * 31, unit="hours"),
            "How long ships are taken to run from now on, where the timetable does not say.",
            8.0,
        ),
    ] = 8.0
    currency: Annotated[str, Key(kinds.text(8), "What prices are in.", "EUR")] = "USD"
