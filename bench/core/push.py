"""What a whole push costs the core: every ship proves the image, and a tenth of the room at a time gets it.

Each ship speaks twice for each thing that it is told, and between waves a part of the fleet reports as it does all the
time, with a word that has changed: nothing of that may cost a look at everybody.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mux.core.commands import ListMachines, SendDesired
from mux.core.events import Event, MachinesListed, ProjectPushed, ShipReported
from mux.core.model import Desired, ProjectName, ReportedState, ShipId, WorkspaceId, WorkspaceReport
from mux.core.rollout import Pace, RolloutState

if TYPE_CHECKING:
    from bench.core.__main__ import Bench

DIGEST = f"sha256:{'7' * 64}"
SHARE = 0.1
STEP_S = 0.002
"""Between two words: ships do not speak in the same instant."""
LOOK_S = 5.0
CHATTER = 7
"""One ship of so many has something new to say within LOOK_S."""


class Push:
    """One push to a fleet.

    Args:
        bench: the fleet, with people on half of its seats.
        project: of which project.
    """

    def __init__(self, bench: Bench, project: ProjectName) -> None:
        self._bench = bench
        self._project = project
        self._ran: dict[WorkspaceId, str] = {}
        self._spent_s = 0.0

    def cost(self) -> float:
        """Microseconds of processor time for each attendee."""
        bench = self._bench
        fleet, ships, turn = bench.fleet, list(bench.machines), 0
        self._hand([ProjectPushed(self._project, self._project, DIGEST, Pace(share=SHARE))])
        while fleet.world.rollouts[self._project].state is RolloutState.RUNNING:
            told, bench.desired = bench.desired, {}
            for state in (ReportedState.STARTING, ReportedState.HEALTHY):
                for ship, desired in told.items():
                    bench.now += STEP_S
                    self._hand([self._answer(ship, desired, state)])
            for desired in told.values():
                self._ran.update((each.id, each.digest) for each in desired.workspaces)
            if not told:
                bench.now = max(bench.now, min(fleet.next_deadline() or bench.now, bench.now + LOOK_S))
                for event in self._chatter(ships[turn % CHATTER :: CHATTER]):
                    self._hand([event])
                turn += 1
                self._hand([])
        assert fleet.world.rollouts[self._project].state is RolloutState.DONE, "the push did not come to its end"
        return self._spent_s / len(fleet.world.assignments) * 1e6

    def _hand(self, events: Sequence[Event]) -> None:
        bench = self._bench
        started = time.thread_time()
        commands = bench.fleet.handle(*events, now=bench.now)
        self._spent_s += time.thread_time() - started
        for command in commands:
            match command:
                case SendDesired(ship, _, desired):
                    bench.desired[ship] = desired
                case ListMachines():
                    self._hand([MachinesListed(dict(bench.machines), bench.now)])

    def _answer(self, ship: ShipId, desired: Desired, state: ReportedState) -> ShipReported:
        """What is new on a ship is in that state; it has reached what is wanted once that is healthy."""
        words = tuple(
            WorkspaceReport(
                each.id,
                ReportedState.HEALTHY if self._ran.get(each.id) == each.digest else state,
                epoch=each.epoch,
                digest=each.digest,
            )
            for each in desired.workspaces
        )
        generation = desired.generation - (state is not ReportedState.HEALTHY)
        return self._bench.said(ship, generation, words)

    def _chatter(self, ships: Sequence[ShipId]) -> Iterator[ShipReported]:
        for ship in ships:
            known = self._bench.fleet.world.ships[ship]
            first, *others = known.report.workspaces if known.report else ()
            first = replace(first, behind_s=first.behind_s + 1.0)
            yield self._bench.said(ship, known.generation, (first, *others))
