"""The kinds of values that are about warming: local times and prices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from mux.config.faults import Part, Refused, kind_of
from mux.config.kinds import Kind

PRICE_MAX = 10_000.0
"""For a ship and hour: far beyond any machine; keeps sums small enough to be exact."""
PRICES_MAX = 64
"""Kinds of machines with a price of their own."""
KIND_CHARS_MAX = 64
"""Of a kind of machine: EC2's longest is under 20."""
LOCAL_TIME = "%Y-%m-%d %H:%M"


def local_time_text(at: datetime) -> str:
    """A local time as the event file writes it."""
    return at.strftime(LOCAL_TIME if not at.second else f"{LOCAL_TIME}:%S")


def local_time() -> Kind:
    """A date and a time of day of the event's zone: a text, or TOML's own local date-time."""

    def read(value: object) -> datetime:
        if isinstance(value, datetime):
            if value.tzinfo is not None:
                raise Refused(Part(nearest=f'"{local_time_text(value.replace(tzinfo=None))}"'))
            return value.replace(microsecond=0)
        if not isinstance(value, str):
            raise Refused
        for form in (LOCAL_TIME, f"{LOCAL_TIME}:%S"):
            try:
                return datetime.strptime(value.replace("T", " ", 1), form)  # noqa: DTZ007 - local by what it is
            except ValueError:
                continue
        raise Refused

    allowed = 'a date and a time of event.time_zone, written as "2027-05-14 08:45"'
    return Kind("local time", allowed, read)


def prices() -> Kind:
    """Prices by kind of machine."""

    def read(value: object) -> Mapping[str, float]:
        if not isinstance(value, dict) or len(value) > PRICES_MAX:
            raise Refused
        wrong = []
        for name, price in value.items():
            if not 0 < len(name) <= KIND_CHARS_MAX or not name.isprintable():
                wrong.append(Part(found="a name that is not allowed", below=name))
            elif isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price <= PRICE_MAX:
                wrong.append(Part(found=kind_of(price), below=name, allowed=f"a number from 0 to {PRICE_MAX:g}"))
        if wrong:
            raise Refused(*wrong)
        return {name: float(price) for name, price in value.items()}

    return Kind("table of numbers", f"a table of at most {PRICES_MAX} prices from 0 to {PRICE_MAX:g}", read)
