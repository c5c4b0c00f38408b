"""Rules about warming that span keys of an event file: times that exist, in order; limits that come with prices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from mux.config.faults import Fault
from mux.config.schema import EventFile
from mux.config.warming_kinds import local_time_text

Ruled = tuple[tuple[str, ...], Fault]


def timestamp(at: datetime, zone: str) -> float:
    """A local time in seconds since the epoch; the first one of two that the clocks show when they are set back."""
    return at.replace(tzinfo=ZoneInfo(zone)).timestamp()


def warming_rules(file: EventFile) -> Iterator[Ruled]:
    """Faults between keys of the timetable, and between those of money."""
    yield from _times(file)
    price, spend = "spend.price_per_ship_hour", file.spend
    if spend.price_per_ship_hour is None:
        if spend.limit is not None:
            yield (price, "spend.limit"), Fault(price, "nothing", "a price: without one spend.limit holds nothing back")
        elif spend.spot_price_per_ship_hour is not None or spend.spot_prices:
            # With `market = "spot"` too: then it is the spot price.
            allowed = "a price: those of spot machines alone are not counted with"
            yield (price, "spend.spot_price_per_ship_hour", "spend.spot_prices"), Fault(price, "nothing", allowed)


def _times(file: EventFile) -> Iterator[Ruled]:
    zone = file.event.time_zone
    times = file.timetable.in_order
    for name, at in times:
        shown = datetime.fromtimestamp(timestamp(at, zone), UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        if shown != at:
            yield (
                (f"timetable.{name}", "event.time_zone"),
                Fault(
                    f"timetable.{name}",
                    f'"{local_time_text(at)}", which the clocks of {zone} leave out',
                    "a time that they show",
                    f'"{local_time_text(shown)}"',
                ),
            )
    for (earlier, first), (later, second) in pairwise(times):
        if second <= first:
            yield (
                (f"timetable.{later}", f"timetable.{earlier}"),
                Fault(
                    f"timetable.{later}",
                    f'"{local_time_text(second)}"',
                    f'a time after timetable.{earlier} ("{local_time_text(first)}")',
                ),
            )
