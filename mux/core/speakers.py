"""How much ships may have organizers told.

A ship that was taken over gives reason for notices without end; those that are kept would be its own alone. So what
rests on one ship's word is bounded, and that something is left out is told once.

Rules: what one ship uses up is not another's. All who claim to be a ship without being it are one speaker, so that
nobody can silence a ship by taking its name.
"""

from __future__ import annotations

from typing import Literal

from mux.core.allowance import Allowance
from mux.core.model import ShipId

BURST = 40
PER_S = 1 / 60
"""All workspaces of a large ship may fail at once; after that nobody reads more than one notice a minute."""
STRANGERS = ShipId("")
"""Who claims to be a ship without being it."""


class Speakers:
    """What every ship has still to say."""

    def __init__(self) -> None:
        self._left: dict[ShipId, Allowance] = {}
        self._hushed: set[ShipId] = set()

    def hears(self, ship: ShipId, now: float) -> Literal["yes", "no", "no more"]:
        """Whether one more notice on this ship's word is told; "no more" when that ends.

        Args:
            ship: whose word, or STRANGERS.
            now: seconds since the epoch.
        """
        left = self._left.get(ship)
        if left is None:
            left = self._left[ship] = Allowance(BURST, PER_S, now)
        if left.take(now):
            if left.left >= BURST / 2:
                self._hushed.discard(ship)
            return "yes"
        if ship in self._hushed:
            return "no"
        self._hushed.add(ship)
        return "no more"

    def forget(self, ship: ShipId) -> None:
        """A ship has ended, and says nothing any more."""
        self._left.pop(ship, None)
        self._hushed.discard(ship)
