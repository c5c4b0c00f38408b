"""Making a ship's machine: one fleet of type instant over all pools, or, where EC2 does not give that, pool after pool.

Owns how often a ship was tried. A try that EC2 has answered with a refusal is over; one whose answer was lost is made
again under the same client token, by this process or the next, and finds what it made. Rules: pools without capacity
are passed over, spot ones for those on demand where the event allows both, as also where the account may have no spot
machine; throttling is waited out; whatever else EC2 says of a launch is told. A client token says nothing of the
market: an order on demand after one for a spot machine whose answer was lost is refused by EC2, and what was made is
found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from mux.core.model import ShipId
from mux.providers.base import ProviderError
from mux.providers.ec2 import orders
from mux.providers.ec2.api import Ec2Api
from mux.providers.ec2.faults import NO_SPOT_ROLE, Ec2Error, Kind, fault_of
from mux.providers.ec2.instances import Instance, read
from mux.providers.ec2.settings import Ec2Settings

TRIES_MAX = 8
"""Of one launch, while EC2 throttles inside a fleet, or a template that was just made is not found yet."""
PAUSE_S = 2.0
"""Between them."""
EMPTY_S = 60.0
"""How long a pool that had no machine is tried last, and spot is not tried where machines are had on demand too."""
FLEET_REFUSED = frozenset({"UnauthorizedOperation", "InvalidFleetConfig"})
"""What the way round does without, too: permissions, and subnets of one zone that could not be told apart."""
FLEET_CALLS = frozenset({"CreateFleet", "CreateLaunchTemplate", "CreateLaunchTemplateVersion"})
"""Calls that the way round, RunInstances, does without."""
NO_ADDRESSES = "InsufficientFreeAddressesInSubnet"
NO_SPOT = frozenset({"MaxSpotInstanceCountExceeded", "MaxSpotFleetRequestCountExceeded", NO_SPOT_ROLE})
"""Beside a lack of capacity: what an account has no spot machines for, and others nevertheless."""
_WORST_FIRST = (Kind.QUOTA, Kind.DENIED, Kind.THROTTLED, Kind.AGAIN, Kind.WRONG, Kind.UNSUPPORTED)


class Launching:
    """Makes machines.

    Args:
        settings: what they are.
        api: to ask.
        find: the machine that a ship has already, if EC2 lists one.
        say: tells the organizers: code, text.
    """

    def __init__(
        self,
        settings: Ec2Settings,
        api: Ec2Api,
        find: Callable[[ShipId], Awaitable[Instance | None]],
        say: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._api = api
        self._find = find
        self._say = say
        self._attempts: dict[ShipId, int] = {}
        self._asked: dict[ShipId, orders.Request] = {}
        self._empty_until: dict[tuple[orders.Pool, bool], float] = {}
        self._no_spot_until = float("-inf")
        self._no_role_told = False
        self._by_fleet = True
        self._template_made = False
        self._root_device = ""
        self._zones: dict[str, str] | None = None
        self._preparing = asyncio.Lock()

    async def make(self, ship: ShipId, user_data: bytes) -> Instance:
        """A machine for a ship that has none. Raises ProviderError."""
        if len(user_data) > orders.USER_DATA_BYTES_MAX:
            text = f"the ship's user-data has {len(user_data)} bytes and EC2 takes {orders.USER_DATA_BYTES_MAX}."
            raise ProviderError(text, fatal=True)
        data = orders.machine(self._settings, user_data, await self._device())
        now = asyncio.get_running_loop().time()
        if self._settings.market == "spot_first" and now >= self._no_spot_until:
            try:
                return await self._make(ship, data, spot=True)
            except Ec2Error as fault:
                if fault.kind is not Kind.CAPACITY and fault.ec2_code not in NO_SPOT:
                    raise
                self._without_spot(ship, fault)
        return await self._make(ship, data, spot=self._settings.market == "spot")

    def _without_spot(self, ship: ShipId, fault: Ec2Error) -> None:
        """For a while, ships on demand. A role that is missing stays so until somebody makes it: that is told once."""
        self._no_spot_until = asyncio.get_running_loop().time() + EMPTY_S
        self._answered(ship)
        self._attempts[ship] = self._attempts.get(ship, 0) + 1
        lasts = fault.ec2_code == NO_SPOT_ROLE
        if not (lasts and self._no_role_told):
            self._say("no_spot", f"{fault} Until then ships are launched on demand, which costs more.")
        self._no_role_told = lasts or self._no_role_told

    async def _make(self, ship: ShipId, data: orders.Request, *, spot: bool) -> Instance:
        if self._by_fleet:
            try:
                return await self._fleet(ship, data, spot=spot)
            except Ec2Error as fault:
                refused = fault.kind is Kind.UNSUPPORTED or fault.ec2_code in FLEET_REFUSED
                if not refused or fault.action not in FLEET_CALLS:
                    raise
                self._without_fleets(fault)
        return await self._run(ship, data, spot=spot)

    def _without_fleets(self, fault: Ec2Error) -> None:
        if self._by_fleet:
            text = f"{fault} Until then ships are launched with RunInstances, one type and subnet after the other."
            self._say("without_fleets", text)
        self._by_fleet = False

    async def _device(self) -> str:
        """Name of the machine image's root device."""
        async with self._preparing:
            if not self._root_device:
                image = self._settings.image
                answer = await self._api.call("DescribeImages", ImageIds=[image])
                if not answer.get("Images"):
                    text = f"there is no machine image {image} in {self._settings.region}; mend ec2.image."
                    raise ProviderError(text, fatal=True)
                self._root_device = str(answer["Images"][0].get("RootDeviceName") or "/dev/xvda")
            return self._root_device

    async def _zones_of_subnets(self) -> dict[str, str]:
        """The zone of each subnet; empty where there is nothing to tell apart, or EC2 does not say."""
        async with self._preparing:
            if self._zones is None:
                subnets = self._settings.subnets
                self._zones = await self._asked_zones(list(subnets)) if len(subnets) > 1 else {}
            return self._zones

    async def _asked_zones(self, subnets: list[str]) -> dict[str, str]:
        try:
            answer = await self._api.call("DescribeSubnets", SubnetIds=subnets)
        except Ec2Error as fault:
            if not fault.fatal and fault.kind is not Kind.MISSING:
                raise
            return {}
        return {str(each["SubnetId"]): str(each["AvailabilityZone"]) for each in answer.get("Subnets", ())}

    # --- by fleet ---------------------------------------------------------------------------------------------------

    async def _fleet(self, ship: ShipId, data: orders.Request, *, spot: bool) -> Instance:
        number = await self._version(ship, data)
        zones = await self._zones_of_subnets()
        # What an earlier process was refused is answered once more in the same words: that is no refusal of now.
        answers_left = 1 if ship in self._attempts else 2
        for _ in range(TRIES_MAX):
            where, others = orders.of_one_fleet(self._pools(ship, spot=spot), zones)
            answer = await self._ask_fleet(ship, number, where, spot=spot)
            if isinstance(answer, Instance):
                return answer
            fault, untried = self._refusal(answer, zones, spot=spot)
            if fault.kind is Kind.THROTTLED:
                self._api.throttled("CreateFleet", inside=True)
                await asyncio.sleep(PAUSE_S)
                continue
            answers_left -= 1
            untried = untried or not all(self._is_empty(pool, spot) for pool in others)
            if fault.fatal or not (untried or answers_left > 0):
                raise fault
        raise self._no_capacity(spot=spot)

    async def _ask_fleet(
        self, ship: ShipId, number: int, where: Sequence[orders.Pool], *, spot: bool
    ) -> Instance | Sequence[Mapping[str, Any]]:
        """The machine, or the refusals of the pools. A request whose answer was lost is made again to the letter."""
        attempt = self._attempts.setdefault(ship, 0)
        request = self._asked.setdefault(ship, orders.fleet(self._settings, ship, number, attempt, where, spot=spot))
        try:
            answer = await self._api.call("CreateFleet", **request)
        except Ec2Error as fault:
            if fault.kind is not Kind.USED:
                raise
            return await self._made_earlier(ship, fault)
        self._answered(ship)
        settings = self._settings
        for part in answer.get("Instances", ()):
            for name in part.get("InstanceIds", ()):
                kind = str(part.get("InstanceType", ""))
                return Instance(str(name), ship, settings.event, settings.store, spot=spot, kind=kind)
        self._attempts[ship] = attempt + 1
        return list(answer.get("Errors", ()))

    async def _made_earlier(self, ship: ShipId, fault: Ec2Error) -> Instance:
        """An earlier process made the same try with other words: what it made is listed sooner or later."""
        for _ in range(TRIES_MAX):
            if (found := await self._find(ship)) is not None:
                self._answered(ship)
                return found
            await asyncio.sleep(PAUSE_S)
        self._answered(ship)
        self._attempts[ship] += 1
        text = f"EC2 has an earlier order for {ship} and no machine of it; mux orders again."
        raise Ec2Error(Kind.AGAIN, fault.action, fault.ec2_code, text) from fault

    def _answered(self, ship: ShipId) -> None:
        self._asked.pop(ship, None)

    def _pools(self, ship: ShipId, *, spot: bool) -> list[orders.Pool]:
        """Where to try, in order; pools that had nothing a moment ago come last."""
        return sorted(orders.pools(self._settings, ship), key=lambda pool: self._is_empty(pool, spot))

    def _is_empty(self, pool: orders.Pool, spot: bool) -> bool:
        return self._empty_until.get((pool, spot), float("-inf")) > asyncio.get_running_loop().time()

    def _found_empty(self, pool: orders.Pool, code: str, zones: Mapping[str, str], *, spot: bool) -> None:
        """A subnet without addresses has none for any type; a zone without machines has none for any of its subnets."""
        kind, subnet = pool
        until = asyncio.get_running_loop().time() + EMPTY_S
        if code == NO_ADDRESSES:
            for each in self._settings.instance_types:
                for market in (False, True):
                    self._empty_until[(each, subnet), market] = until
            return
        zone = zones.get(subnet, subnet)
        for each in self._settings.subnets:
            if zones.get(each, each) == zone:
                self._empty_until[(kind, each), spot] = until

    def _refusal(
        self, errors: Sequence[Mapping[str, Any]], zones: Mapping[str, str], *, spot: bool
    ) -> tuple[Ec2Error, bool]:
        """The fault that counts among those of all pools, and whether some were not even tried.

        One that another pool would not mend goes first.
        """
        faults = []
        untried = False
        for error in errors:
            code = str(error.get("ErrorCode", ""))
            # What a pool refuses is the launch itself, whoever asked for it.
            faults.append(fault_of("RunInstances", code, str(error.get("ErrorMessage", ""))))
            where = error.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
            pool = str(where.get("InstanceType", "")), str(where.get("SubnetId", ""))
            if code == "UnfulfillableCapacity":
                untried = True
            elif faults[-1].kind is Kind.CAPACITY:
                self._found_empty(pool, code, zones, spot=spot)
        for kind in _WORST_FIRST:
            for fault in faults:
                if fault.kind is kind:
                    return fault, untried
        return self._no_capacity(spot=spot), untried

    def _no_capacity(self, *, spot: bool) -> Ec2Error:
        types, subnets = self._settings.instance_types, self._settings.subnets
        market = "spot" if spot else "on-demand"
        text = (
            f"EC2 has no {market} capacity for {', '.join(types)} in any of {len(subnets)} subnets; "
            f"name more instance types or subnets in [ec2]."
        )
        return Ec2Error(Kind.CAPACITY, "RunInstances", "InsufficientInstanceCapacity", text)

    async def _version(self, ship: ShipId, data: orders.Request) -> int:
        """The number of the ship's version of the event's launch template."""
        request = orders.version(self._settings, ship, data)
        for number in range(TRIES_MAX):
            await self._template()
            try:
                answer = await self._api.call("CreateLaunchTemplateVersion", **request)
                return int(answer["LaunchTemplateVersion"]["VersionNumber"])
            except Ec2Error as fault:
                if fault.kind is not Kind.MISSING or number == TRIES_MAX - 1:
                    raise
            # Not there yet, or deleted behind our back.
            self._template_made = False
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("unreachable")

    async def _template(self) -> None:
        async with self._preparing:
            if self._template_made:
                return
            try:
                await self._api.call("CreateLaunchTemplate", **orders.template(self._settings))
            except Ec2Error as fault:
                if "AlreadyExists" not in fault.ec2_code:
                    raise
            self._template_made = True

    # --- by RunInstances --------------------------------------------------------------------------------------------

    async def _run(self, ship: ShipId, data: orders.Request, *, spot: bool) -> Instance:
        attempt = self._attempts.setdefault(ship, 0)
        for request in orders.runs(self._settings, ship, data, attempt, spot=spot):
            try:
                answer = await self._api.call("RunInstances", **request)
            except Ec2Error as fault:
                if fault.kind is Kind.CAPACITY:
                    continue
                if fault.kind is not Kind.USED:
                    raise
                return await self._made_earlier(ship, fault)
            return read(answer["Instances"][0])
        self._attempts[ship] = attempt + 1
        raise self._no_capacity(spot=spot)
