"""What must hold of ships that are lost: who may be given up, and that nothing kept is destroyed before its release.

Judged from outside: by when a ship was last heard and its workspaces last reached, in the simulation's own time, and by
what lies on the machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from mux.core.commands import AcceptLink, Command, Placement
from mux.core.events import (
    Event,
    EventSpecApplied,
    PathsReported,
    ShipDeclaredLost,
    ShipReleased,
    ShipReported,
)
from mux.core.fleet import Fleet
from mux.core.model import Assignment, ProjectName, ShipId, ShipWanted, UserId, WorkspaceId
from mux.core.paths import PATHS_FRESH_S
from mux.core.routes import RouteKey

if TYPE_CHECKING:
    from tests.sim.house import House

LATE_S = 1.0
"""How much later than it could a decision may come: batches take their time, and a full disk holds one up."""


class Loss:
    """Watches one house.

    Args:
        house: what is watched.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._kept: dict[ShipId, set[str]] = {}
        self._heard: dict[ShipId, float] = {}
        self._stopped: dict[ShipId, float] = {}
        self._failing: dict[ShipId, tuple[float, float]] = {}
        self._led: set[WorkspaceId] = set()
        self._restarted = 0.0

    # --- who may be given up ----------------------------------------------------------------------------------------

    def restarted(self) -> None:
        """A new process of the mux has heard nothing yet."""
        self._restarted = self._house.time.now

    def heard(self, fleet: Fleet, events: Sequence[Event], commands: Sequence[Command]) -> set[ShipId]:
        """Note who was heard from, and what the proxies said. Returns ships that may be given up for it now."""
        now = self._house.time.now
        # The silence of one that is to be stopped says nothing; what was asked of its machine may still be under way.
        self._stopped.update((s.id, now) for s in fleet.world.ships.values() if s.wanted is not ShipWanted.RUN)
        for command in commands:
            if isinstance(command, AcceptLink):
                self._heard[command.ship] = now
        for event in events:
            match event:
                case ShipReported(ship_id) if (ship := fleet.world.ships.get(ship_id)) is not None:
                    if ship.report is event.report:
                        self._heard[ship_id] = now
                case PathsReported(reached, unreached):
                    self._told(now, set(_ships(reached)), set(_ships(unreached)))
        told = any(isinstance(event, PathsReported) for event in events)
        return {ship for ship in fleet.world.ships if told and self._out_of_reach(ship)}

    def _told(self, now: float, reached: set[ShipId], unreached: set[ShipId]) -> None:
        for ship in reached:
            self._failing.pop(ship, None)
        for ship in unreached - reached:
            since, last = self._failing.get(ship, (now, now))
            self._failing[ship] = (now if now - last > PATHS_FRESH_S else since, now)

    def _out_of_reach(self, ship: ShipId) -> bool:
        """Whether a ship may be given up: silent, and not reached, both for long enough and up to now."""
        since, last = self._failing.get(ship, (0.0, -PATHS_FRESH_S))
        return self._house.time.now - last <= LATE_S and self._both_s(ship, since) >= self._patience_s - LATE_S

    def overdue(self, fleet: Fleet, events: Sequence[Event]) -> Iterator[str]:
        """Ships that must have been given up by now, and were not."""
        if fleet.world.tally.cut_off or not any(isinstance(event, PathsReported) for event in events):
            return
        now = self._house.time.now
        for ship_id, (since, last) in self._failing.items():
            ship = fleet.world.ships.get(ship_id)
            if ship is None or ship.gone or not (ship.assigned and ship.unreachable) or last < now:
                continue
            both_s = self._both_s(ship_id, max(since, self._stopped.get(ship_id, 0.0)))
            if ship.wanted is ShipWanted.RUN and both_s > 3 * self._patience_s:
                yield f"{ship_id} has long been silent and out of reach, and its attendees wait"

    def _both_s(self, ship: ShipId, since: float) -> float:
        silent = max(self._heard.get(ship, 0.0), self._restarted) + self._house.mux.spec.fleet.heartbeat_grace_s
        return self._house.time.now - max(since, silent)

    @property
    def _patience_s(self) -> float:
        return self._house.mux.spec.fleet.lost_after_s

    # --- what is kept -----------------------------------------------------------------------------------------------

    @property
    def led_to(self) -> Set[WorkspaceId]:
        """Where anybody was ever led to."""
        return self._led

    def led(self, routes: Mapping[RouteKey, Placement | None]) -> None:
        """Note where attendees were led to: work is where they were, and nowhere else."""
        self._led.update(place.workspace for place in routes.values() if place is not None and not place.hold)

    def moved(
        self,
        events: Sequence[Event],
        before: Mapping[UserId, Assignment],
        after: Mapping[UserId, Assignment],
        incarnations: Mapping[tuple[UserId, int, ProjectName], WorkspaceId],
        leavers: frozenset[UserId],
    ) -> None:
        """Note what attendees who were moved had worked on, by what is on the machines, until it is let go.

        Whoever leaves as an organizer said (``leavers``) has nothing to be kept.
        """
        applied = any(isinstance(event, EventSpecApplied) for event in events)
        for event in events:
            if isinstance(event, ShipReleased):
                self._kept.pop(event.ship, None)
        for user, assignment in before.items():
            machine = self._house.provider.machines.get(assignment.ship)
            if after.get(user) == assignment or user in leavers or applied or machine is None or machine.ever_hostile:
                continue
            if _let_go_at_once(events, machine.ship):
                continue
            held = {w for (who, epoch, _), w in incarnations.items() if (who, epoch) == (user, assignment.epoch)}
            theirs = {w for w in held & machine.workspaces.keys() if user in machine.truth[w].owners}
            self._kept.setdefault(machine.ship, set()).update(theirs & self._led)
        for ship in self._kept.keys() & self._house.provider.vanished:
            del self._kept[ship]

    def kept_on(self, ship: ShipId) -> frozenset[str]:
        """What a ship must keep."""
        return frozenset(self._kept.get(ship, ()))


def _let_go_at_once(events: Sequence[Event], ship: ShipId) -> bool:
    """Whether a ship was declared lost and then let go in one batch, as after a disk that was full."""
    lost = [number for number, event in enumerate(events) if event == ShipDeclaredLost(ship)]
    let_go = [number for number, event in enumerate(events) if event == ShipReleased(ship)]
    return bool(lost and let_go) and lost[0] < let_go[-1]


def _ships(workspaces: Iterable[WorkspaceId]) -> Iterator[ShipId]:
    return (ShipId(identity.partition(".")[0]) for identity in workspaces)
