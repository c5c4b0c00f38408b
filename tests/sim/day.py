"""A day of a large room: everybody comes within minutes, an image is pushed while they work, and some of it breaks.

The rules of `tests.sim.rules` look at everything after every batch, which costs more than the day itself where a
thousand ships speak. `Fewer` looks at what must hold of the whole every few hundred batches, and at nothing that has to
be followed from batch to batch; peace asks for as much as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from mux.core.commands import AcceptLink, Command, Publish, SendDesired
from mux.core.errors import CoreError
from mux.core.events import Event
from mux.core.fleet import Fleet
from ship_agent.step import Action as AgentAction
from tests.sim.actions import Action, Scenario
from tests.sim.rules import Before, BrokenRuleError, Rules

if TYPE_CHECKING:
    from tests.sim.house import House
    from tests.sim.machines import SimMachine

SEATS_PER_SHIP = 10
COME_S = 180.0
PUSH_AT_S = 260.0
DAY_S = 600.0
GOOD_IMAGE = 0.01
"""Size of a push whose image works."""
TROUBLES = ("agent_restarts", "agent_restarts", "workspace_crashes", "machine_reboots", "machine_dies", "cut_off")
LOOK_EVERY = 500
NOTHING = Before({}, (), {}, doors_open=False)


def day(seed: int, ships: int) -> Scenario:
    """The house and history of a day.

    Args:
        seed: any number.
        ships: how many are full.
    """
    random = Random(f"day {seed}")
    attendees = ships * SEATS_PER_SHIP
    actions = [Action(round(random.uniform(0, COME_S), 2), "logs_in", user, 0.5) for user in range(attendees)]
    actions += [
        Action(
            round(random.uniform(COME_S, DAY_S), 2), random.choice(TROUBLES), random.randrange(10**6), random.random()
        )
        for _ in range(ships // 10)
    ]
    actions += [
        Action(PUSH_AT_S, "push_widely", 0, GOOD_IMAGE),
        *(Action(at, "mux_killed", 0, 0.5) for at in (PUSH_AT_S + 40, PUSH_AT_S + 140)),
    ]
    return Scenario(
        seed=seed,
        attendees=attendees,
        spare_seats=ships // 10,
        seats_per_ship=SEATS_PER_SHIP,
        ready_seats=attendees // 2,
        users=attendees,
        projects=("intro",),
        ports=64,
        faults_s=DAY_S,
        actions=tuple(sorted(actions, key=lambda action: action.at)),
    )


class Fewer(Rules):
    """Watches one large house.

    Args:
        house: what is watched.
        every: look after so many batches.
    """

    def __init__(self, house: House, every: int) -> None:
        super().__init__(house, every)
        self._due = False

    def before(self, fleet: Fleet) -> Before:
        """Nothing is followed."""
        return NOTHING

    def decided(self, fleet: Fleet, before: Before, events: Sequence[Event], commands: Sequence[Command]) -> None:
        """Now and then, the core's own invariants."""
        self._batch += 1
        self._due = self._batch % self._every == 0
        if self._due:
            try:
                fleet.validate()
            except CoreError as error:
                raise BrokenRuleError("core", str(error)) from error
        accepted = {(command.ship, command.link) for command in commands if isinstance(command, AcceptLink)}
        told = {(command.ship, command.link) for command in commands if isinstance(command, SendDesired)}
        current = {(ship, link) for ship, link in accepted if fleet.world.ships[ship].link == link}
        if current - told:
            raise BrokenRuleError("told", f"{sorted(current - told)} is let in and not told what is wanted")

    def persisted(self, fleet: Fleet, events: Sequence[Event]) -> None:
        """Then also, what is stored is what is in force."""
        world, kept = fleet.world, self.house.mux.kept
        if self._due:
            for what, stored, known in (
                ("assignments", kept.assignments, world.assignments),
                ("sessions", kept.sessions, world.sessions),
                ("queue", kept.waiting, world.waiting),
                ("rollouts", kept.rollouts, world.rollouts),
            ):
                if stored != known:
                    raise BrokenRuleError("forgotten", f"the {what} in the store are not those in force")

    def published(self, fleet: Fleet, commands: Sequence[Command]) -> None:
        """Every new route leads to what answers; now and then, every route to a workspace of its attendee."""
        for command in commands:
            if isinstance(command, Publish):
                for key, place in command.routes.items():
                    if place is not None and not place.hold:
                        self._check_new_route(key, place)
        if self._due:
            self.look()

    def restored(self, fleet: Fleet) -> None:
        """A new process has started from the store."""
        world = fleet.world
        if world.assignments != self.house.mux.kept.assignments:
            raise BrokenRuleError("forgotten", "a restart finds other assignments")
        self._rollouts.restarted(world)

    def acted(self, machine: SimMachine, action: AgentAction) -> None:
        """Nothing is followed."""

    def check_truth(self) -> None:
        """See `look`."""

    def look(self) -> None:
        """No route leads to anything but a workspace of its attendee."""
        super().check_truth()
