"""Wishes to start files over in a house, and what must hold of them.

A wish is carried out on its attendee's own files, by whichever ship has them then; not again once the mux has heard how
it ended, and not at all once it was withdrawn before a ship was told. A ship that was lost may be at it when the next
one has ended it: that is on the copy that it keeps, to which nobody is led. Each wish for one file names a file of its
own, so that it is known wherever it turns up; those to start everything over are told apart by nobody, and must end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mux.core.events import Event, ShipReported, StartOverAsked, WishesWithdrawn
from mux.core.model import Desired, ShipId, WorkspaceId
from mux.core.routes import RouteKey
from mux.core.wishes import ended
from mux.core.world import World
from ship_agent.step import StartOver

if TYPE_CHECKING:
    from tests.sim.actions import Action
    from tests.sim.house import House
    from tests.sim.machines import SimMachine

EVERYTHING = 0.3
"""Share of wishes to start everything over."""


def wish(house: House, action: Action) -> None:
    """Somebody who is led to a project wants files of it to start over, or takes their wishes back."""
    keys = sorted(house.mux.routes)
    if not keys:
        return
    user, project = keys[action.pick % len(keys)]
    if action.kind == "takes_back":
        house.mux.post(WishesWithdrawn(user))
    else:
        path = "" if action.size < EVERYTHING else f"wish-{action.pick}-{action.size}.ipynb"
        house.mux.post(StartOverAsked(user, project, path))


class WishRules:
    """What is remembered of wishes, by the file that each of them names."""

    def __init__(self) -> None:
        self._whose: dict[str, RouteKey] = {}
        self._void: set[str] = set()
        self._sent: dict[tuple[WorkspaceId, int], str] = {}
        self._ended: dict[str, WorkspaceId] = {}

    def persisted(self, world: World, events: Sequence[Event]) -> None:
        """What was said counts from the time that it is persisted."""
        for event in events:
            match event:
                case StartOverAsked(user, project, path) if path:
                    self._whose[path] = user, project
                case WishesWithdrawn(user):
                    self._void |= {path for path, key in self._whose.items() if key[0] == user} - self._ended.keys()
                case ShipReported(ship_id, _, report):
                    ship = world.ships.get(ship_id)
                    heard = report.workspaces if ship is not None and ship.report is report else ()
                    current = _current(world, ship_id)
                    for word in heard:
                        if word.started_over is not None and word.id in current:
                            path = self._sent.get((word.id, word.started_over.number), "")
                            if path:
                                self._ended.setdefault(path, word.id)

    def told(self, desired: Desired) -> Iterator[str]:
        """What does not hold of what a ship is told."""
        for workspace in desired.workspaces:
            path = workspace.start_over.path if workspace.start_over is not None else ""
            if workspace.start_over is None or path not in self._whose:
                continue
            self._sent[workspace.id, workspace.start_over.number] = path
            if (workspace.user, workspace.project) != self._whose[path]:
                yield f"{workspace.id} of {workspace.user} is told to carry out a wish of {self._whose[path]}"
            if path in self._void:
                yield f"{workspace.id} is told to carry out a wish that was withdrawn"
            if self._ended.get(path, workspace.id) != workspace.id:
                yield f"{workspace.id} is told to carry out a wish that has ended on {self._ended[path]}"

    def carried_out(self, world: World, machine: SimMachine, action: StartOver) -> Iterator[str]:
        """What does not hold of a wish that a ship is about to carry out."""
        spec, path = action.spec, action.wish.path
        owner = spec.receipt.split("|")[1] if spec.receipt else ""
        if machine.truth[spec.id].owners != {owner}:
            yield f"a wish of {owner} is carried out on the files of {sorted(machine.truth[spec.id].owners)}"
        if path in self._whose and (owner, spec.project.name) != self._whose[path]:
            yield f"a wish of {self._whose[path]} is carried out for {owner} in {spec.project.name}"
        ended_on = self._ended.get(path)
        if ended_on == spec.id or (ended_on is not None and spec.id in _current(world, machine.ship)):
            yield f"a wish is carried out on {spec.id} once more, and the mux has heard that it has ended"


def _current(world: World, ship_id: ShipId) -> set[WorkspaceId]:
    """What is on a ship's seats: what is done to a copy that is only kept, or about to be destroyed, is nobody's."""
    ship = world.ships.get(ship_id)
    return {each.id for seat in ship.seats for each in seat.workspaces.values()} if ship is not None else set()


def unfulfilled(world: World) -> Iterator[str]:
    """Wishes that have not come to an end."""
    for ship in world.ships.values():
        for workspace in ship.workspaces.values():
            known = ship.seats[workspace.seat].workspaces.get(workspace.project) is workspace
            if known and workspace.start_over is not None and ended(workspace) is None and workspace.project != "bad":
                yield f"the wish of {ship.seats[workspace.seat].user} has not been carried out on {workspace.id}"
