"""What is announced for our machines, and who else has machines here: told to the core when it is new.

Owns how often EC2 is asked what it announces. Knows tags and ids, and nothing of launches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from mux.core.events import Event, MachineNoticed, ProviderNoticed
from mux.core.model import ShipId
from mux.core.plural import counted
from mux.providers.ec2.api import Ec2Api
from mux.providers.ec2.faults import Ec2Error, Kind
from mux.providers.ec2.instances import ENDING_CODES, Census, announced

log = structlog.get_logger(__name__)

NOTICES_S = 60.0
"""How often EC2 is asked what it announces; a retirement is announced days before."""


class Announcing:
    """Tells what is new.

    Args:
        event: name of the event.
        api: to ask.
        post: takes what is noticed.
    """

    def __init__(self, event: str, api: Ec2Api, post: Callable[[Event], None]) -> None:
        self._event = event
        self._api = api
        self._post = post
        self._asked_at = float("-inf")
        self._denied = False
        self._foreign: frozenset[str] = frozenset()

    def say(self, code: str, text: str, ship: str = "") -> None:
        """Tell the organizers."""
        self._post(ProviderNoticed("warning", code, ship, text))

    def foreign(self, found: Census) -> None:
        """Tell of machines of the event's name that are not ours."""
        names = frozenset(instance.id for instance in found.foreign)
        if names - self._foreign:
            self.say(
                "foreign_machines",
                f"Another mux, or a lost one, has {counted(len(names), 'machine')} of event {self._event}, left alone "
                "here; `mux fleet reap --foreign` ends all of that name.",
            )
        self._foreign = names

    async def look(self, ships: Mapping[str, ShipId], now: float) -> None:
        """Ask what EC2 announces, if it is time to.

        Args:
            ships: whose each of our machines is, by EC2's id.
            now: seconds of a steady clock.
        """
        if self._denied or now - self._asked_at < NOTICES_S:
            return
        self._asked_at = now
        filters = [{"Name": "event.code", "Values": sorted(ENDING_CODES)}]
        try:
            async for page in self._api.pages("DescribeInstanceStatus", Filters=filters):
                for each in announced(page):
                    if (ship := ships.get(each.instance)) is not None:
                        self._post(MachineNoticed(ship, each.notice))
        except Ec2Error as fault:
            if fault.kind is Kind.DENIED:
                self._denied = True
                self.say("no_notices", f"mux is not told when EC2 retires a machine: {fault}")
            else:
                log.warning("notices cannot be read", error=str(fault))
