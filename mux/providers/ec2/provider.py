"""The provider `ec2`: the protocol's calls, and what is remembered between two listings.

Owns which machine is whose, as last heard; what is fresh (EC2's listings lag behind) and what is being ended. Rules:
- Calls for one ship wait for each other.
- A machine of this event's name that bears another store's tag is foreign: reported, never touched.
- Of two machines of one ship the newer is ended, and that is reported.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from mux.core.events import Event, MachineEnded
from mux.core.model import Machine, ShipId
from mux.providers.base import LaunchOrder, ProviderError, Reaped
from mux.providers.ec2 import reaping
from mux.providers.ec2.announcing import Announcing
from mux.providers.ec2.api import Ec2Api
from mux.providers.ec2.faults import Ec2Error, Kind
from mux.providers.ec2.instances import (
    LIVE,
    Census,
    Instance,
    census,
    ended,
    instances_of,
    ship_name_ok,
)
from mux.providers.ec2.launching import Launching
from mux.providers.ec2.orders import TAG_EVENT, TAG_SHIP, TAG_STORE
from mux.providers.ec2.settings import Ec2Settings
from mux.providers.ec2.together import Together
from mux.providers.ec2.waiting import POLL_S, Waiting

log = structlog.get_logger(__name__)

FRESH_S = 90.0
"""How long a machine that EC2 said to have made, started or ended may be told otherwise by its listings."""


class Ec2Provider:
    """Ships as machines of Amazon EC2.

    Args:
        settings: what machines are, and whose.
        user_data: what a machine is told at its first boot; at most 16 KB.
        post: takes what is noticed between calls.
        api: EC2.
        poll_s: how often a machine is looked at while somebody waits for it.
    """

    name = "ec2"

    def __init__(
        self,
        settings: Ec2Settings,
        user_data: Callable[[LaunchOrder], bytes],
        post: Callable[[Event], None],
        api: Ec2Api,
        poll_s: float = POLL_S,
    ) -> None:
        self._settings = settings
        self._user_data = user_data
        self._post = post
        self.api = api
        self._announcing = Announcing(settings.event, api, post)
        self._say = self._announcing.say
        self._launching = Launching(settings, self.api, self._find, self._say)
        self._waiting = Waiting(api, poll_s)
        self._stop = Together(lambda some: self.api.call("StopInstances", machines=len(some), InstanceIds=some))
        self._start = Together(lambda some: self.api.call("StartInstances", machines=len(some), InstanceIds=some))
        self._end = Together(lambda some: self.api.call("TerminateInstances", machines=len(some), InstanceIds=some))
        self._locks: weakref.WeakValueDictionary[ShipId, asyncio.Lock] = weakref.WeakValueDictionary()
        self._known: dict[ShipId, Instance] = {}
        self._fresh_until: dict[str, float] = {}
        self._ending_until: dict[str, float] = {}
        self._started_until: dict[str, float] = {}

    # --- the provider's protocol ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find what an earlier run left. While EC2 is in trouble that waits for the first listing."""
        try:
            machines = await self.list()
        except Ec2Error as fault:
            if fault.fatal:
                raise
            log.warning("machines cannot be listed yet", error=str(fault))
        else:
            log.info("machines found", event_name=self._settings.event, ships=len(machines))

    async def launch(self, order: LaunchOrder) -> Machine:
        """Launch a machine, unless the ship has one."""
        self._check(order)
        async with self._lock(order.ship):
            instance = self._known.get(order.ship)
            if instance is None:
                instance = await self._launching.make(order.ship, self._user_data(order))
                self._known[order.ship] = instance
                self._fresh_until[instance.id] = self._now() + FRESH_S
            return instance.machine(self._settings)

    async def start(self, order: LaunchOrder) -> None:
        """Start the stopped machine."""
        self._check(order)
        async with self._lock(order.ship):
            instance = await self._of(order.ship)
            if instance is None:
                raise ProviderError(f"{order.ship} has no machine any more; launch another ship.", fatal=True)
            if instance.state == "stopping":
                await self._waiting.until(instance.id, lambda one: one is None or one.state != "stopping")
            if instance.state in ("stopping", "stopped"):
                await self._start(instance.id)
                self._known[order.ship] = replace(instance, state="pending")
                self._started_until[instance.id] = self._now() + FRESH_S

    async def park(self, ship: ShipId) -> None:
        """Stop the machine. A spot machine cannot be stopped: it is ended, and that is said."""
        async with self._lock(ship):
            instance = await self._of(ship)
            if instance is None or instance.state == "stopped":
                return
            if instance.spot:
                self._say("parking_ends", f"{ship} runs on a spot machine, which cannot be parked: it is ended.", ship)
                await self._ended(instance)
                return
            await self._until_settled(instance)
            try:
                await self._stop(instance.id)
            except Ec2Error as fault:
                if fault.kind is not Kind.UNSUPPORTED:
                    raise
                self._say("parking_ends", f"{ship} cannot be parked and is ended: {fault}", ship)
                await self._ended(instance)
                return
            self._started_until.pop(instance.id, None)
            self._known[ship] = replace(instance, state="stopping")
            found = await self._waiting.until(
                instance.id, lambda one: one is None or one.state not in ("pending", "running", "stopping")
            )
            if found is not None and found.live:
                self._known[ship] = found

    async def terminate(self, ship: ShipId) -> None:
        """End the machine, and see that it is gone."""
        async with self._lock(ship):
            instance = await self._of(ship)
            if instance is not None:
                await self._ended(instance)

    async def list(self) -> Mapping[ShipId, Machine]:
        """Every machine of this event and store."""
        asked_at = self._now()
        found = await self._all(LIVE)
        now = self._now()
        self._forget(now)
        sorted_out = census(self._settings, (one for one in found if one.id not in self._ending_until))
        await self._end_surplus(sorted_out)
        self._announcing.foreign(sorted_out)
        vanished = self._adopt(sorted_out, asked_at)
        if vanished:
            await self._look_for(vanished)
        await self._announcing.look({instance.id: ship for ship, instance in self._known.items()}, now)
        return {ship: instance.machine(self._settings) for ship, instance in self._known.items()}

    async def reap(self, *, foreign: bool) -> Reaped:
        """End everything of this event by its tags, whoever launched it here; with ``foreign``, other stores' too."""
        unlisted = [ship for ship, one in self._known.items() if one.id in self._fresh_until]
        await asyncio.gather(*(self.terminate(ship) for ship in unlisted))
        reaped = await reaping.reap(self._settings, self.api, self._end, self._waiting, foreign=foreign)
        return replace(reaped, machines=reaped.machines + len(unlisted))

    async def close(self) -> None:
        """Let go; machines go on."""
        for part in (self._stop, self._start, self._end, self._waiting, self.api):
            await part.close()

    # --- one machine ------------------------------------------------------------------------------------------------

    def _check(self, order: LaunchOrder) -> None:
        if order.event != self._settings.event:
            raise ProviderError(f"this provider makes machines for {self._settings.event} only.", fatal=True)
        if not ship_name_ok(order.ship):
            raise ProviderError(f"no machine can be called {order.ship!r:.80}.", fatal=True)

    def _lock(self, ship: ShipId) -> asyncio.Lock:
        return self._locks.setdefault(ship, asyncio.Lock())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _of(self, ship: ShipId) -> Instance | None:
        """The ship's machine, as last heard, or as EC2 says now."""
        if not ship_name_ok(ship):
            return None
        return self._known.get(ship) or await self._find(ship)

    async def _find(self, ship: ShipId) -> Instance | None:
        found = await self._all(LIVE, {"Name": f"tag:{TAG_SHIP}", "Values": [ship]})
        return census(self._settings, (one for one in found if one.id not in self._ending_until)).ours.get(ship)

    async def _all(self, states: tuple[str, ...], *more: dict[str, object]) -> Sequence[Instance]:
        filters = [
            {"Name": f"tag:{TAG_EVENT}", "Values": [self._settings.event]},
            *([{"Name": f"tag:{TAG_STORE}", "Values": [self._settings.store]}] if more else []),
            {"Name": "instance-state-name", "Values": list(states)},
            *more,
        ]
        return [
            instance
            async for page in self.api.pages("DescribeInstances", Filters=filters)
            for instance in instances_of(page)
        ]

    async def _until_settled(self, instance: Instance) -> None:
        """A machine that is pending, or not listed yet, can be neither stopped nor ended for sure."""
        if instance.state == "pending" or instance.id in self._fresh_until:
            await self._waiting.until(instance.id, lambda one: self._known_gone(instance, one) or _settled(one))

    def _known_gone(self, instance: Instance, found: Instance | None) -> bool:
        return found is None and self._fresh_until.get(instance.id, 0.0) <= self._now()

    async def _ended(self, instance: Instance) -> None:
        self._ending_until[instance.id] = float("inf")
        try:
            while True:
                try:
                    await self._end(instance.id)
                    break
                except Ec2Error as fault:
                    if fault.kind is not Kind.MISSING:
                        raise
                # Not listed yet, or gone for so long that EC2 has forgotten it.
                found = await self._waiting.until(
                    instance.id, lambda one: one is not None or self._known_gone(instance, one)
                )
                if found is None:
                    break
            await self._waiting.until(
                instance.id,
                lambda one: self._known_gone(instance, one) or (one is not None and one.state == "terminated"),
            )
        except BaseException:
            # It may still be there: let the next listing show it.
            self._ending_until.pop(instance.id, None)
            raise
        self._ending_until[instance.id] = self._now() + FRESH_S
        if self._known.get(instance.ship) is not None and self._known[instance.ship].id == instance.id:
            del self._known[instance.ship]

    # --- what a listing means ---------------------------------------------------------------------------------------

    def _forget(self, now: float) -> None:
        for until in (self._fresh_until, self._ending_until, self._started_until):
            for name in [name for name, end in until.items() if end <= now]:
                del until[name]

    def _adopt(self, found: Census, asked_at: float) -> Sequence[Instance]:
        """Take over what is listed; returns known machines that are not listed though they should be."""
        vanished = []
        for ship, instance in list(self._known.items()):
            other = found.ours.get(ship)
            fresh = self._fresh_until.get(instance.id, 0.0) > asked_at
            if other is None and not fresh and instance.id not in self._ending_until:
                vanished.append(instance)
        for ship, instance in found.ours.items():
            # A listing tells of a start some time after it was taken.
            lags = instance.state == "stopped" and self._started_until.get(instance.id, 0.0) > asked_at
            self._known[ship] = replace(instance, state="pending") if lags else instance
        return vanished

    async def _look_for(self, vanished: Sequence[Instance]) -> None:
        """Say why machines are gone that nobody here ended."""
        found = await self._waiting.look(*(instance.id for instance in vanished))
        for instance in vanished:
            now = found.get(instance.id)
            if now is not None and now.live:
                continue
            if self._known.get(instance.ship) is instance:
                del self._known[instance.ship]
            if now is not None:
                why = ended(now)
                self._post(MachineEnded(instance.ship, why.text, why.fatal))

    async def _end_surplus(self, found: Census) -> None:
        for instance in found.surplus:
            text = f"{instance.ship} had two machines; the newer one, {instance.id}, is ended."
            self._say("two_machines", text, instance.ship)
            self._ending_until[instance.id] = self._now() + FRESH_S
            try:
                await self._end(instance.id)
            except Ec2Error as error:
                # The next listing tells of it again.
                self._ending_until.pop(instance.id, None)
                log.warning("a surplus machine cannot be ended", instance=instance.id, error=str(error))


def _settled(found: Instance | None) -> bool:
    return found is not None and found.state != "pending"
