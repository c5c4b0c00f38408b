"""``python -m bench.core``: what one `Fleet.handle` costs, against the number of ships.

A fleet is grown to its size with simulated ships, then each kind of event is handed to it a number of times, and the
median of its processor time is taken, so that what else runs on the machine matters little. The core alone: no store,
no network, and the garbage collector waits between the sizes.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from bench.core.plot import plot
from bench.core.push import Push
from mux.core.commands import AcceptLink, LaunchShip, ListMachines, SendDesired
from mux.core.events import (
    Event,
    EventSpecApplied,
    LaunchSucceeded,
    LoggedIn,
    LoggedOut,
    MachinesListed,
    ProjectPushed,
    ShipDialed,
    ShipReported,
)
from mux.core.fleet import Fleet
from mux.core.model import (
    Desired,
    EventSpec,
    FleetSpec,
    LinkId,
    Machine,
    MachineStatus,
    ProjectName,
    ProjectSpec,
    ReportedState,
    SessionHash,
    ShipId,
    ShipReport,
    UserId,
    WorkspaceReport,
)
from mux.core.rollout import Pace
from mux.core.views import attendee_view

RESULTS = Path(__file__).parents[1] / "results"
SIZES = (100, 300, 1_000, 2_000, 5_000)
SEATS_PER_SHIP = 2
ROUNDS = 60
SLOW_ROUNDS = 5
"""Listings and applies look at every ship by their nature; five of them say enough."""


@dataclass
class Bench:
    """A fleet of one size, with every ship available.

    Args:
        ships: how many.
    """

    ships: int

    def __post_init__(self) -> None:
        self.spec = self._spec("0")
        self.now = 1_000.0
        self.fleet = Fleet.restored(self.spec, self.now)
        self.machines: dict[ShipId, Machine] = {}
        self.desired: dict[ShipId, Desired] = {}
        self.links: dict[ShipId, LinkId] = {}
        self._seq = count(1)
        self._people = count(1)
        self._act([])
        self._grow()
        # People in half of the room: a whole event's worth of assignments and routes.
        for _ in range(self.ships * SEATS_PER_SHIP // 2 // 100):
            self._act([self._login() for _ in range(100)])
        self._settle()

    def _spec(self, digit: str) -> EventSpec:
        projects = tuple(ProjectSpec(ProjectName(name), name, f"sha256:{digit * 64}") for name in ("intro", "more"))
        fleet = FleetSpec(self.ships * SEATS_PER_SHIP, SEATS_PER_SHIP, launches_in_flight_max=self.ships)
        return EventSpec("bench", projects, fleet)

    def _grow(self) -> None:
        for _ in range(6):
            self._settle()
        assert self.fleet.world.offers.total == self.ships * SEATS_PER_SHIP, "the fleet did not get ready"

    def _act(self, events: list[Event]) -> None:
        """Hand events to the core and remember what ships are told."""
        answers: list[Event] = []
        for command in self.fleet.handle(*events, now=self.now):
            match command:
                case ListMachines():
                    answers.append(MachinesListed(dict(self.machines), self.now))
                case LaunchShip(ship):
                    machine = Machine(ship, MachineStatus.RUNNING, f"10.{len(self.machines)}", 20_000, 64)
                    self.machines[ship] = machine
                    self.links[ship] = LinkId(len(self.machines))
                    answers.append(LaunchSucceeded(ship, machine))
                    answers.append(ShipDialed(ship, self.links[ship], f"key of {ship}", "boot", token_ok=True))
                case SendDesired(ship, _, desired):
                    self.desired[ship] = desired
                case AcceptLink() | _:
                    pass
        if answers:
            self._act(answers)

    def _settle(self) -> None:
        told, self.desired = self.desired, {}
        self._act([self.report(ship, desired) for ship, desired in told.items()])

    def report(self, ship: ShipId, desired: Desired | None = None, state: str = "healthy") -> ShipReported:
        """What a ship says: that all is as it was told, or what it last said, with one workspace in another state."""
        known = self.fleet.world.ships[ship]
        if desired is not None:
            words = tuple(
                WorkspaceReport(each.id, ReportedState.HEALTHY, epoch=each.epoch) for each in desired.workspaces
            )
        else:
            words = known.report.workspaces if known.report else ()
        if state != "healthy" and words:
            words = (replace(words[0], state=ReportedState(state)), *words[1:])
        return self.said(ship, desired.generation if desired else known.generation, words)

    def said(self, ship: ShipId, generation: int, words: tuple[WorkspaceReport, ...]) -> ShipReported:
        """The next report of a ship."""
        return ShipReported(ship, self.links[ship], ShipReport(next(self._seq), generation, "", words))

    def _login(self) -> LoggedIn:
        number = next(self._people)
        return LoggedIn(UserId(f"user{number}"), SessionHash(f"{number}"), self.now + 1e6)

    # --- what is measured -------------------------------------------------------------------------------------------

    def measure(self) -> Iterator[tuple[str, float]]:
        """Name and median cost, in microseconds, of each kind of event."""
        ships = list(self.machines)
        yield "heartbeat", self._timed(ROUNDS, lambda turn: [self.report(ships[turn % len(ships)])])
        flips = ("unhealthy", "healthy")
        last = ships[-1]
        yield "report with a change", self._timed(ROUNDS, lambda turn: [self._flip(last, flips[turn % 2])])
        yield "login", self._timed(ROUNDS, lambda _: [self._login()])
        self._settle()
        sessions = list(self.fleet.world.sessions)[:ROUNDS]
        yield "logout", self._timed(len(sessions), lambda turn: [LoggedOut(sessions[turn])])
        yield "listing", self._timed(SLOW_ROUNDS, lambda _: [MachinesListed(dict(self.machines), self.now)])
        specs = [self._spec("1"), self._spec("2")]
        yield "apply", self._timed(SLOW_ROUNDS, lambda turn: [EventSpecApplied(specs[turn % 2])], settle=True)
        yield "a waiting person's view", self._view()
        self._push()
        yield "heartbeat, rollout on", self._timed(ROUNDS, lambda turn: [self.report(ships[turn % len(ships)])])
        yield "change, rollout on", self._timed(ROUNDS, lambda turn: [self._flip(last, flips[turn % 2])])
        self._settle()
        yield "a push, for each attendee", Push(self, ProjectName("more")).cost()

    def _push(self) -> None:
        """An image that every ship has proved, and that nobody gets before another time."""
        pace = Pace(not_before=self.now + 1e6)
        self._act([ProjectPushed(ProjectName("intro"), "intro", f"sha256:{'9' * 64}", pace, "")])
        for _ in range(3):
            self._settle()

    def _flip(self, ship: ShipId, state: str) -> ShipReported:
        known = self.fleet.world.ships[ship]
        words = tuple(WorkspaceReport(w.id, ReportedState(state), epoch=0) for w in known.workspaces.values())
        return self.said(ship, known.generation, words)

    def _view(self) -> float:
        queue = self.ships * SEATS_PER_SHIP  # as many wait as there are seats
        self._act([self._login() for _ in range(queue)])
        last = next(reversed(self.fleet.world.waiting), UserId("nobody"))
        took = []
        for _ in range(ROUNDS):
            started = time.thread_time()
            attendee_view(self.fleet.world, last)
            took.append(time.thread_time() - started)
        return statistics.median(took) * 1e6

    def _timed(self, rounds: int, make: Callable[[int], list[Event]], *, settle: bool = False) -> float:
        took = []
        for turn in range(rounds):
            events = make(turn)
            self.now += 0.01
            started = time.thread_time()
            commands = self.fleet.handle(*events, now=self.now)
            took.append(time.thread_time() - started)
            for command in commands:
                if isinstance(command, SendDesired):
                    self.desired[command.ship] = command.desired
            if settle:
                self._settle()
        return statistics.median(took) * 1e6


def main() -> None:
    """Measure, write JSON and the plot."""
    parser = argparse.ArgumentParser(prog="python -m bench.core", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of ships")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where core.json and core.svg go")
    chosen = parser.parse_args()
    costs: dict[str, list[float]] = {}
    for size in chosen.sizes:
        gc.collect()
        gc.disable()
        for name, microseconds in Bench(size).measure():
            costs.setdefault(name, []).append(round(microseconds, 1))
        gc.enable()
        print(f"{size:>6} ships: " + ", ".join(f"{name} {row[-1]:.0f} µs" for name, row in costs.items()), flush=True)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "seats_per_ship": SEATS_PER_SHIP,
        "projects": 2,
        "ships": chosen.sizes,
        "microseconds": costs,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "core.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (chosen.out / "core.svg").write_text(plot(chosen.sizes, costs), encoding="utf-8")


if __name__ == "__main__":
    main()
