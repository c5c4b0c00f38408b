"""A simulated provider: idempotent by ship id, slow, forgetful in its answers, with a listing that lags behind.

Its troubles are windows of time. In none of them does it break its promise (`mux.providers.base`): a call that is made
again changes nothing, and a listing names, sooner or later, what exists and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from mux.core.events import (
    Event,
    LaunchFailed,
    LaunchSucceeded,
    ListingFailed,
    MachineCallEnded,
    MachinesListed,
)
from mux.core.model import Machine, MachineStatus, ShipId
from tests.sim.clock import Dice, Timeline
from tests.sim.machines import Registry, SimMachine

LISTING_LAG_S = 12.0
"""A machine may appear in, and leave, the listing so much later than it does the world: less than two listings."""
PORT_FIRST = 20_000

Post = Callable[[Event], None]


@dataclass
class Troubles:
    """Until when what goes wrong; seconds."""

    launches_fail: float = 0.0
    launches_fatal: float = 0.0
    slow: float = 0.0
    lags: float = 0.0
    answers_lost: float = 0.0
    listings_fail: float = 0.0
    ends_fail: float = 0.0


@dataclass
class Provider:
    """Makes, lists and ends machines.

    Args:
        time: virtual.
        dice: luck.
        port_count: ports of a machine's range.
        boots: told of a machine that has just booted, so that an agent starts there.
        ends: told of a machine that is no more.
    """

    time: Timeline
    dice: Dice
    port_count: int
    boots: Callable[[SimMachine], None]
    ends: Callable[[SimMachine], None]
    machines: dict[ShipId, SimMachine] = field(default_factory=dict)
    troubles: Troubles = field(default_factory=Troubles)
    registry: Registry = field(default_factory=Registry)
    vanished: set[ShipId] = field(default_factory=set)
    _shown_from: dict[ShipId, float] = field(default_factory=dict)
    _shown_until: dict[ShipId, tuple[float, Machine]] = field(default_factory=dict)
    _calls: int = 0

    def by_host(self, host: str) -> SimMachine | None:
        """The machine at an address, or None."""
        return next((machine for machine in self.machines.values() if machine.host == host), None)

    def launch(self, ship: ShipId, post: Post) -> None:
        """Make a machine for a ship, or find the one that was made."""
        self.time.after(self._takes_s(0.2, 3.0), self._launched, ship, post)

    def _launched(self, ship: ShipId, post: Post) -> None:
        now = self.time.now
        if self.troubles.launches_fail > now or self.troubles.launches_fatal > now:
            post(LaunchFailed(ship, "no capacity", fatal=self.troubles.launches_fatal > now))
            return
        if ship not in self.machines:
            self.make(ship)
        if self.troubles.answers_lost > now:
            post(LaunchFailed(ship, "no answer within the deadline"))
        else:
            post(LaunchSucceeded(ship, self._described(self.machines[ship], fresh=True)))

    def make(self, ship: ShipId) -> None:
        """A machine begins to be."""
        self._calls += 1
        taken = {machine.host for machine in self.machines.values()}
        # The lowest free one: addresses of machines that are gone are used again at once.
        host = next(host for number in range(1, 1 << 16) if (host := f"10.0.{number >> 8}.{number & 255}") not in taken)
        key = sha256(f"{ship} {self._calls}".encode()).hexdigest()
        machine = SimMachine(ship, host, PORT_FIRST, self.port_count, key=key, dice=self.dice, registry=self.registry)
        self.machines[ship] = machine
        self._shown_from[ship] = self.time.now + self._lag("shown", ship)
        self.time.after(self._takes_s(1.0, 15.0), self._boot, machine)

    def _boot(self, machine: SimMachine) -> None:
        if self.machines.get(machine.ship) is machine and not machine.up:
            machine.boots()
            self.boots(machine)

    def reboot(self, machine: SimMachine) -> None:
        """The machine crashes and comes back by itself."""
        machine.stops()
        self.ends(machine)
        self.time.after(self._takes_s(1.0, 10.0), self._boot, machine)

    def start(self, ship: ShipId, post: Post) -> None:
        """Start a stopped machine."""
        self.time.after(self._takes_s(0.5, 4.0), self._started, ship, post)

    def _started(self, ship: ShipId, post: Post) -> None:
        machine = self.machines.get(ship)
        if machine is None:
            post(MachineCallEnded(ship, "there is no such machine"))
            return
        if machine.status is MachineStatus.STOPPED:
            machine.status = MachineStatus.PENDING
            self.time.after(self._takes_s(1.0, 8.0), self._boot, machine)
        post(MachineCallEnded(ship, self._ending_trouble()))

    def park(self, ship: ShipId, post: Post) -> None:
        """Stop a machine and keep its disk."""
        self.time.after(self._takes_s(0.5, 4.0), self._parked, ship, post)

    def _parked(self, ship: ShipId, post: Post) -> None:
        machine = self.machines.get(ship)
        if machine is not None:
            machine.stops()
            machine.status = MachineStatus.STOPPED
            self.ends(machine)
        post(MachineCallEnded(ship, self._ending_trouble()))

    def terminate(self, ship: ShipId, post: Post) -> None:
        """End a machine and its disk."""
        self.time.after(self._takes_s(0.2, 3.0), self._terminated, ship, post)

    def _terminated(self, ship: ShipId, post: Post) -> None:
        trouble = self._ending_trouble()
        if not trouble:
            self.vanish(ship)
        post(MachineCallEnded(ship, trouble))

    def vanish(self, ship: ShipId) -> None:
        """A machine is no more, whoever ended it."""
        machine = self.machines.pop(ship, None)
        if machine is not None:
            self._shown_until[ship] = self.time.now + self._lag("gone", ship), self._described(machine)
            machine.stops()
            self.ends(machine)

    def list_machines(self, asked_at: float, post: Post) -> None:
        """Say what exists. ``asked_at`` by the mux's clock."""
        if self.troubles.listings_fail > self.time.now:
            self.time.after(self._takes_s(0.1, 2.0), post, ListingFailed("throttled"))
            return
        now = self.time.now
        found = {s: m for s, (until, m) in self._shown_until.items() if until > now and s not in self.machines}
        found.update((s, self._described(m)) for s, m in self.machines.items() if self._shown_from[s] <= now)
        self.time.after(self._takes_s(0.1, 1.5), post, MachinesListed(found, asked_at))

    def _described(self, machine: SimMachine, *, fresh: bool = False) -> Machine:
        # Some clouds know no address before the machine runs.
        if fresh and self.dice.roll("late address", machine.ship) < 0.3:
            return Machine(machine.ship, machine.status)
        return Machine(machine.ship, machine.status, machine.host, machine.port_first, machine.port_count)

    def _ending_trouble(self) -> str:
        return "throttled" if self.troubles.ends_fail > self.time.now else ""

    def _lag(self, *what: object) -> float:
        if self.troubles.lags > self.time.now:
            return LISTING_LAG_S
        lags = self.dice.roll("lags", *what) < 0.3
        return self.dice.between(0.0, LISTING_LAG_S, "lag", *what) if lags else 0.0

    def _takes_s(self, low: float, high: float) -> float:
        self._calls += 1
        factor = 15.0 if self.troubles.slow > self.time.now else 1.0
        return factor * self.dice.between(low, high, "call", self._calls)
