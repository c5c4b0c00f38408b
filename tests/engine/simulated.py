"""Ships in memory behind a real engine: they launch, dial and become healthy at once, and keep what they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mux.core.commands import (
    AcceptLink,
    Effect,
    LaunchShip,
    ListMachines,
    ParkShip,
    SendDesired,
    StartShip,
    TerminateShip,
)
from mux.core.events import (
    Event,
    LaunchSucceeded,
    MachineCallEnded,
    MachinesListed,
    ShipDialed,
    ShipReported,
)
from mux.core.model import (
    Desired,
    LinkId,
    Machine,
    MachineStatus,
    ReportedState,
    ShipId,
    ShipReport,
    WorkspaceReport,
)


class SimulatedFleet:
    """Plays provider and ships for an engine: the engine's effects."""

    def __init__(self) -> None:
        self.post: Callable[[Event], None] = lambda _event: None
        self.machines: dict[ShipId, Machine] = {}
        self.desired: dict[ShipId, Desired] = {}
        self.started: list[Effect] = []
        self._links = 0
        self._seq = 0

    def start(self, effects: Sequence[Effect]) -> None:
        """Carry effects out at once."""
        self.started += effects
        for effect in effects:
            self._start(effect)

    def _start(self, effect: Effect) -> None:
        match effect:
            case ListMachines():
                self.post(MachinesListed(dict(self.machines), 0.0))
            case LaunchShip(ship):
                first = 20_000 + 100 * len(self.machines)
                self.machines[ship] = Machine(ship, MachineStatus.RUNNING, "127.0.0.1", first, 100)
                self._links += 1
                self.post(LaunchSucceeded(ship, self.machines[ship]))
                self.post(ShipDialed(ship, LinkId(self._links), f"key of {ship}", "boot 1", token_ok=True))
            case StartShip(ship) | ParkShip(ship) | TerminateShip(ship):
                self.post(MachineCallEnded(ship))
            case SendDesired(ship, link, desired):
                self.desired[ship] = desired
                self._seq += 1
                healthy = tuple(
                    WorkspaceReport(workspace.id, ReportedState.HEALTHY, epoch=workspace.epoch)
                    for workspace in desired.workspaces
                )
                self.post(ShipReported(ship, link, ShipReport(self._seq, desired.generation, "", healthy)))
            case AcceptLink() | _:
                pass
