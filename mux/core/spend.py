"""What the fleet costs: prices, a limit, and a meter that survives restarts.

Pure arithmetic. Money is in the event file's currency; prices are kept as millionths of it for each hour, as whole
numbers, so that sums over ships are exact. A machine of which it is not known what it is costs the most that it may
turn out to cost. A ship costs from the order for its machine until that has ended or is parked. The meter is saved
whenever the rate changes, with the rate: what ran on while the mux was away is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MICROS = 1_000_000
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class SpendSpec:
    """What the event file says of money.

    Args:
        price_micros: of a ship for an hour, in millionths; None when it is not known.
        prices_micros: by the kind of machine, where the provider tells it.
        spot_price_micros: of a ship whose machine may be taken back; None for the same as of any other.
        spot_prices_micros: likewise, by the kind of machine.
        kinds: of machines that may be launched; empty where the provider tells none.
        markets: where they may come from, True for spot.
        limit: for the whole event; None for no limit.
        hours: how long ships are taken to run from now on, where the timetable does not say.
        currency: for people.
    """

    price_micros: int | None = None
    prices_micros: Mapping[str, int] = field(default_factory=dict)
    spot_price_micros: int | None = None
    spot_prices_micros: Mapping[str, int] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    markets: tuple[bool, ...] = (False,)
    limit: float | None = None
    hours: float = 8.0
    currency: str = "USD"

    @property
    def known(self) -> bool:
        """Whether ships have a price."""
        return self.price_micros is not None

    @property
    def dearest_micros(self) -> int:
        """The most that a machine which is still to be launched may cost for an hour, in millionths."""
        return max(self._listed(kind, spot=spot) for kind in self.kinds or ("",) for spot in self.markets)

    def price(self, kind: str, *, spot: bool) -> int:
        """Of a machine for an hour, in millionths; 0 when no price is known.

        Args:
            kind: of machine; empty while it is not known, which costs the most that it may turn out to cost.
            spot: it may be taken back.
        """
        return self._listed(kind, spot=spot) if kind else self.dearest_micros

    def _listed(self, kind: str, *, spot: bool) -> int:
        price = self.prices_micros.get(kind, self.price_micros or 0)
        if not spot:
            return price
        return self.spot_prices_micros.get(kind, price if self.spot_price_micros is None else self.spot_price_micros)


@dataclass(frozen=True, slots=True)
class Meter:
    """What has been spent until ``at``, and how fast it goes on.

    Args:
        spent: money.
        ship_seconds: sum over ships.
        ships: that cost now.
        rate_micros: what they cost for an hour, in millionths.
        at: seconds since the epoch.
    """

    spent: float = 0.0
    ship_seconds: float = 0.0
    ships: int = 0
    rate_micros: int = 0
    at: float = 0.0

    def read(self, now: float) -> Meter:
        """The meter at ``now``. A clock that went back counts as standing still."""
        passed_s = max(0.0, now - self.at)
        return Meter(
            spent=self.spent + passed_s / HOUR_S * self.rate_micros / MICROS,
            ship_seconds=self.ship_seconds + passed_s * self.ships,
            ships=self.ships,
            rate_micros=self.rate_micros,
            at=now,
        )

    def turned(self, now: float, ships: int, rate_micros: int) -> Meter:
        """The meter at ``now``, going on at another rate."""
        read = self.read(now)
        return Meter(read.spent, read.ship_seconds, ships, rate_micros, now)

    def reaches(self, limit: float) -> float | None:
        """When so much will have been spent at this rate; None if never, or already."""
        left = limit - self.spent
        return self.at + left * MICROS / self.rate_micros * HOUR_S if left > 0 and self.rate_micros else None


def estimate(meter: Meter, hours_left: float, *, more_micros: int = 0) -> float:
    """What the event will have cost: what is spent, and what runs, and ``more_micros`` an hour, for ``hours_left``."""
    return meter.spent + (meter.rate_micros + more_micros) / MICROS * hours_left


def affordable(meter: Meter, hours_left: float, limit: float, price_micros: int) -> int:
    """How many more ships may be launched so that the estimate stays within ``limit``."""
    if meter.spent >= limit:
        return 0
    room = limit - estimate(meter, hours_left)
    each = price_micros / MICROS * hours_left
    # A hair's breadth for sums of decimals: a limit of exactly ten ships' price is ten ships.
    return max(0, int((room + 1e-6) / each)) if each > 0 else 1_000_000


def money(amount: float, currency: str) -> str:
    """An amount for people."""
    return f"{amount:,.2f} {currency}"
