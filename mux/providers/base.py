"""The provider's protocol: what every backend does, and `tests/providers` proves of each.

Every call is idempotent by ship id: a call that is made again, because its answer was lost or the mux was killed in
between, changes nothing. A listing is the truth about what exists; machines of other events are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mux.core.model import Machine, ShipId


class ProviderError(Exception):
    """The provider refused or failed. ``fatal``: another try would fail the same way; the message says what to do."""

    code = "provider"

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """What a machine needs to become a ship.

    Args:
        ship: whose machine it is.
        event: name of the event; listings are limited to it.
        control_url: ``wss://host:port/control`` to dial.
        ca_pem: the only certificate authority that the control endpoint's certificate may chain to.
        join_token: one-time secret that the first agent key is bound with.
        runtime: ``process`` or ``docker``.
        bundle: SHA-256 of the agent bundle that the control listener serves, 64 hex digits; empty if it serves none.
    """

    ship: ShipId
    event: str
    control_url: str
    ca_pem: str
    join_token: str = field(repr=False)
    runtime: str
    bundle: str = ""


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was ended by its marks.

    Args:
        machines: ended, and seen to be gone.
        things: launch templates, disks and the like that were deleted.
        foreign: machines of the same event that belong to another store, and were left alone.
    """

    machines: int
    things: int = 0
    foreign: int = 0


class Provider(Protocol):
    """What every backend does. Calls raise :class:`ProviderError`; none blocks the event loop."""

    name: str

    async def open(self) -> None:
        """Adopt what an earlier run left: machines of this event, running or not."""

    async def launch(self, order: LaunchOrder) -> Machine:
        """Make a machine for a ship, or find the one that was made for it."""

    async def start(self, order: LaunchOrder) -> None:
        """Start a stopped machine. A running one is left alone."""

    async def park(self, ship: ShipId) -> None:
        """Stop a machine and keep its disk; returns when it has stopped. Unknown and stopped ones are fine."""

    async def terminate(self, ship: ShipId) -> None:
        """End a machine and its disk; returns when it is gone. An unknown one is fine."""

    async def list(self) -> Mapping[ShipId, Machine]:
        """Every machine of this event that is not gone, launched by whatever run."""

    async def reap(self, *, foreign: bool) -> Reaped:
        """End whatever is marked as this event's, known or not, and see that it is gone; for the time after the event.

        ``foreign``: also what another store launched under the same event's name.
        """

    async def close(self) -> None:
        """Let go without touching machines."""
