"""How many ships: a pure comparison of what is wanted with what is there, in buckets with reasons.

Launch failures space the tries out and, after a bound, end them loudly: a pool that keeps launching what always fails
spends the money. When most ships go silent at once it is the mux that is cut off, and nothing is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mux.core.model import FleetSpec

BEYOND_LIMIT = "the spend limit leaves no room for more ships"


DOUBLINGS_MAX = 30
"""Of a pause: far beyond its bound, and a number still."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one ship adds to the totals.

    Args:
        usable: seats to count on: all of a good ship's, only the assigned ones of one that is going or doubtful, none
            of one that is parked or being replaced.
        doubtful: seats of a ship that is unreachable and not otherwise failed, beyond the assigned ones.
        assigned: seats that are somebody's.
        ships: 1 for a ship that exists, unreachable: 1 for one that is silent, launching: 1 while its launch is asked,
            booting: 1 until it is available, parked: 1 for one that is or should be parked.
        idle: 1 for one that nobody is on, and nobody is seated on, since its machine will be taken.
        costs: 1 for one that somebody pays for.
        rate_micros: what it costs for an hour, in millionths of the currency.
        going_micros: that, of one that is on its way out: it does not cost for long.
    """

    usable: int = 0
    doubtful: int = 0
    assigned: int = 0
    ships: int = 0
    unreachable: int = 0
    launching: int = 0
    booting: int = 0
    parked: int = 0
    idle: int = 0
    costs: int = 0
    rate_micros: int = 0
    going_micros: int = 0


@dataclass(slots=True)
class Tally:
    """Sums of contributions, kept up to date ship by ship."""

    usable: int = 0
    doubtful: int = 0
    assigned: int = 0
    ships: int = 0
    unreachable: int = 0
    launching: int = 0
    booting: int = 0
    parked: int = 0
    idle: int = 0
    costs: int = 0
    rate_micros: int = 0
    going_micros: int = 0
    _of: dict[str, Contribution] = field(default_factory=dict)

    @property
    def cut_off(self) -> bool:
        """Whether so many ships are silent at once that it must be the mux that is cut off."""
        return self.unreachable > 1 and self.unreachable * 2 > self.ships

    def set(self, ship: str, contribution: Contribution) -> bool:
        """Replace a ship's contribution; True when anything changed."""
        before = self._of.get(ship, Contribution())
        if before == contribution:
            return False
        for name in (
            "usable", "doubtful", "assigned", "ships", "unreachable", "launching", "booting", "parked", "idle",
            "costs", "rate_micros", "going_micros",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(contribution, name) - getattr(before, name))
        self._of[ship] = contribution
        return True

    def drop(self, ship: str) -> None:
        """Forget a ship that has ended."""
        self.set(ship, Contribution())
        self._of.pop(ship, None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about the size of the fleet.

    Args:
        launch: ships to launch now.
        end: whole free ships that are surplus, of the size that would be launched now, and idle ones.
        surplus: seats that are surplus.
        deficit: seats that are missing.
        held: why less is launched than is missing; empty if nothing holds it back.
    """

    launch: int = 0
    end: int = 0
    surplus: int = 0
    deficit: int = 0
    held: str = ""


def plan(
    tally: Tally,
    spec: FleetSpec,
    *,
    enabled: bool,
    backing_off: bool,
    seats: int | None = None,
    held: str = "",
    affordable: int | None = None,
) -> Plan:
    """Compare what is wanted with what is there.

    Args:
        tally: the fleet as it is.
        spec: what is wanted.
        enabled: launching has not been given up.
        backing_off: a pause after a failed launch is under way.
        seats: that are wanted; None for as many as ``spec`` says.
        held: why nothing at all is to be done; empty if nothing holds it back.
        affordable: ships that the spend limit leaves room for; None for no limit.
    """
    if held:
        return Plan(held=held)
    wanted = spec.seats_wanted if seats is None else seats
    usable = tally.usable + (tally.doubtful if tally.cut_off else 0)
    deficit = wanted - usable
    if deficit <= 0:
        whole = -deficit // spec.seats_per_ship
        # With no seat wanted every free ship is surplus, whatever its size.
        return Plan(end=tally.idle + (whole if wanted else max(whole, min(1, -deficit))), surplus=-deficit)
    ships = -(-deficit // spec.seats_per_ship)
    if not enabled:
        return Plan(deficit=deficit, held="launching has been given up")
    if backing_off:
        return Plan(deficit=deficit, held="waiting after a failed launch")
    room = max(0, spec.launches_in_flight_max - tally.launching)
    if affordable is not None and affordable < ships:
        return Plan(launch=min(affordable, room), deficit=deficit, held=BEYOND_LIMIT)
    held = "" if ships <= room else f"at most {spec.launches_in_flight_max} launches at once"
    return Plan(launch=min(ships, room), deficit=deficit, held=held)


@dataclass(slots=True)
class LaunchPatience:
    """How often launching has failed in a row, and what that means.

    An order that the provider did not take has cost nothing: it is made again for as long as its seats are wanted.
    Machines that were made and never became ships cost money, and the next would fail as well: that has an end.

    Args:
        failures: in a row, of both sorts.
        machines: machines among them.
        reason: of the last one; it stays when what was refused is over.
        not_before: no launch before that time (seconds since the epoch).
    """

    failures: int = 0
    machines: int = 0
    reason: str = ""
    not_before: float = 0.0

    def failed(self, reason: str, spec: FleetSpec, now: float, *, made: bool) -> bool:
        """Note a failure; ``made``: of a machine that was made. Returns whether launching should be given up."""
        self.failures += 1
        self.machines += made
        self.reason = reason
        self.lasts(spec, now)
        return self.machines >= spec.launch_failures_max

    def lasts(self, spec: FleetSpec, now: float) -> None:
        """The trouble lasts: pause from now on, for as long as the failures so far ask for."""
        pause = min(spec.launch_backoff_s * 2 ** min(self.failures - 1, DOUBLINGS_MAX), spec.launch_backoff_max_s)
        self.not_before = now + pause

    def accepted(self) -> None:
        """The provider took an order: what it refused is over. The machines that failed are not."""
        self.failures = self.machines

    def forget(self) -> None:
        """A ship became available, or an organizer resumed launching."""
        self.failures = self.machines = 0
        self.reason = ""
        self.not_before = 0.0
