"""The provider `ec2` on the strict fake: lost answers, empty pools, quotas, throttling, other muxes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from mux.core.events import Event, MachineEnded, MachineNoticed, ProviderNoticed
from mux.core.model import MachineStatus, ShipId
from mux.providers.base import ProviderError
from mux.providers.ec2 import Ec2Api, Ec2Provider
from mux.providers.user_data import user_data
from tests.fakes.ec2 import (
    KEY_ID,
    Cloud,
    Fault,
    Faults,
    Instance,
    Principal,
    Quotas,
    Settings,
    State,
    api_of,
    client,
)
from tests.fakes.ec2.api import Api
from tests.fakes.rig import SUBNET_A
from tests.fakes.virtual import run_virtually
from tests.providers.backends import order
from tests.providers.ec2_backends import settings

SHIP = ShipId("ship-0001")
TYPES = ("m6i.2xlarge", "m6i.xlarge")


class Account:
    """A cloud, what goes wrong on the way to it, and muxes that use it."""

    def __init__(self, cloud: Cloud, api: Api) -> None:
        self.cloud = cloud
        self.api = api
        self.faults = api.faults
        self.events: list[Event] = []
        self._made: list[Ec2Provider] = []

    def provider(self, **changes: Any) -> Ec2Provider:
        """Another run of a mux."""
        api = Ec2Api(lambda: client("ec2", self.api))
        made = Ec2Provider(settings(**changes), user_data, self.events.append, api=api)
        self._made.append(made)
        return made

    @property
    def alive(self) -> list[Instance]:
        """Machines that exist and are not going."""
        return [
            one for one in self.cloud.instances.values() if one.state not in (State.SHUTTING_DOWN, State.TERMINATED)
        ]

    def said(self, code: str) -> list[str]:
        """What was told to the organizers under a code."""
        return [event.text for event in self.events if isinstance(event, ProviderNoticed) and event.code == code]

    def asked(self, action: str) -> int:
        """How often an action was called."""
        return sum(call.action == action for call in self.cloud.calls)

    async def close(self) -> None:
        for provider in self._made:
            await provider.close()


def on_an_account(
    test: Callable[[Account], Awaitable[None]], cloud: Settings | None = None, faults: Faults | None = None
) -> None:
    """Run a test in virtual time, on an account of its own."""

    async def run() -> None:
        made = Cloud(cloud or Settings())
        async with api_of(made, faults or Faults(), follow=True) as api:
            account = Account(made, api)
            try:
                await test(account)
            finally:
                await account.close()

    run_virtually(run())


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.ERROR_AFTER, Fault.RESET, Fault.ERROR_BEFORE, Fault.SLOW])
@pytest.mark.parametrize("action", ["CreateFleet", "CreateLaunchTemplateVersion", "CreateLaunchTemplate"])
def test_whatever_happens_to_an_answer_there_is_one_machine(fault: Fault, action: str) -> None:
    async def test(account: Account) -> None:
        account.faults.script(action, fault, fault)
        provider = account.provider()
        await provider.open()
        machine = await provider.launch(order(SHIP))
        assert machine.ship == SHIP
        assert len(account.alive) == 1

    on_an_account(test)


def test_a_mux_that_is_killed_while_it_launches_finds_its_machine_again() -> None:
    async def test(account: Account) -> None:
        account.faults.script("CreateFleet", *[Fault.LOST] * 4)
        first = account.provider()
        await first.open()
        with pytest.raises(ProviderError) as caught:
            await first.launch(order(SHIP))
        assert not caught.value.fatal
        await first.close()
        second = account.provider()
        await second.open()  # the listing may not show the machine yet
        await second.launch(order(SHIP))
        assert len(account.alive) == 1

    on_an_account(test, Settings(unlisted_s=(6, 6)))


def test_a_pool_without_capacity_is_passed_over() -> None:
    async def test(account: Account) -> None:
        for zone in account.cloud.catalog.zones:
            account.cloud.capacity[TYPES[0], zone, False] = 0
        provider = account.provider()
        await provider.open()
        await provider.launch(order(SHIP))
        [instance] = account.alive
        assert instance.offer.name == TYPES[1]

    on_an_account(test)


def test_pools_that_one_fleet_does_not_try_are_tried_by_the_next() -> None:
    async def test(account: Account) -> None:
        for zone in account.cloud.catalog.zones:
            account.cloud.capacity[TYPES[0], zone, False] = 0
        provider = account.provider()
        await provider.open()
        await provider.launch(order(SHIP))
        assert [one.offer.name for one in account.alive] == [TYPES[1]]
        assert account.asked("CreateFleet") > 1

    on_an_account(test, Settings(fleet_pools_tried=1))


SAME_ZONE = (SUBNET_A, "subnet-0ddddddddddddddd0")
"""The second has eleven addresses."""


@pytest.mark.parametrize("denied", [frozenset(), frozenset({"ec2:DescribeSubnets"})])
def test_two_subnets_of_one_zone_are_both_filled(denied: frozenset[str]) -> None:
    async def test(account: Account) -> None:
        account.cloud.keys[KEY_ID] = Principal("arn:aws:iam::123456789012:role/mux", denied)
        provider = account.provider(subnets=SAME_ZONE)
        await provider.open()
        while account.cloud.free_addresses(SAME_ZONE[0]):
            account.cloud.take_address(SAME_ZONE[0])
        for number in range(8):
            await provider.launch(order(ShipId(f"ship-{number:04}")))
        assert {one.subnet.id for one in account.alive} == {SAME_ZONE[1]}
        assert len(account.alive) == 8
        # Which zones they are in cannot be told without asking: machines are launched in the other way then.
        assert bool(account.said("without_fleets")) == bool(denied)

    on_an_account(test)


def test_a_zone_without_machines_is_not_asked_again_through_its_other_subnet() -> None:
    async def test(account: Account) -> None:
        for kind in TYPES:
            account.cloud.capacity[kind, "eu-central-1a", False] = 0
        provider = account.provider(subnets=SAME_ZONE)
        await provider.open()
        with pytest.raises(ProviderError, match="no on-demand capacity"):
            await provider.launch(order(SHIP))
        # Twice, since the first answer may be that to an earlier process.
        assert account.asked("CreateFleet") == 2

    on_an_account(test)


def test_no_capacity_anywhere_is_told_and_tried_again_by_the_next_launch() -> None:
    async def test(account: Account) -> None:
        for kind in TYPES:
            for zone in account.cloud.catalog.zones:
                account.cloud.capacity_gone(kind, zone, for_s=300)
        provider = account.provider()
        await provider.open()
        with pytest.raises(ProviderError, match=r"no on-demand capacity for m6i\.2xlarge, m6i\.xlarge") as caught:
            await provider.launch(order(SHIP))
        assert not caught.value.fatal
        await asyncio.sleep(400)
        await provider.launch(order(SHIP))
        assert len(account.alive) == 1

    on_an_account(test)


@pytest.mark.parametrize(
    ("market", "quotas", "said"),
    [("on_demand", Quotas(on_demand_vcpu=4), "ec2/L-1216C47A"), ("spot", Quotas(spot_vcpu=4), "ec2/L-34B43A08")],
)
def test_a_quota_ends_launching_and_is_named(market: str, quotas: Quotas, said: str) -> None:
    async def test(account: Account) -> None:
        provider = account.provider(market=market, instance_types=TYPES[:1])
        await provider.open()
        with pytest.raises(ProviderError, match=said) as caught:
            await provider.launch(order(SHIP))
        assert caught.value.fatal
        assert "Service Quotas" in str(caught.value)

    on_an_account(test, Settings(quotas=quotas))


@pytest.mark.parametrize("fleets", [True, False])
@pytest.mark.parametrize("trouble", ["capacity", "quota"])
def test_spot_first_launches_on_demand_while_there_is_no_spot_machine(fleets: bool, trouble: str) -> None:
    async def test(account: Account) -> None:
        cloud = account.cloud
        if not fleets:
            cloud.keys[KEY_ID] = replace(cloud.keys[KEY_ID], denied=frozenset({"ec2:CreateFleet"}))
        if trouble == "capacity":
            for kind in TYPES:
                for zone in cloud.catalog.zones:
                    cloud.capacity_gone(kind, zone, spot=True, for_s=300)
        provider = account.provider(market="spot_first")
        await provider.open()
        orders = [order(ShipId(f"ship-{number:04d}")) for number in range(1, 4)]
        made = await asyncio.gather(*map(provider.launch, orders))
        assert [one.spot for one in account.alive] == [False] * 3
        assert {(one.kind in TYPES, one.spot) for one in made} == {(True, False)}, "what it costs is known at once"
        assert "on demand, which costs more" in account.said("no_spot")[0]
        if trouble == "capacity":
            await asyncio.sleep(300)
            assert (await provider.launch(order(ShipId("ship-0009")))).spot
            assert [one.spot for one in account.alive] == [False] * 3 + [True], "spot again, once there is some"

    on_an_account(test, Settings(quotas=Quotas(spot_vcpu=2 if trouble == "quota" else 10_000)))


@pytest.mark.parametrize("fleets", [True, False])
def test_without_the_role_of_spot_machines_spot_first_goes_on_on_demand_and_says_so_once(fleets: bool) -> None:
    async def test(account: Account) -> None:
        cloud = account.cloud
        if not fleets:
            cloud.keys[KEY_ID] = replace(cloud.keys[KEY_ID], denied=frozenset({"ec2:CreateFleet"}))
        provider = account.provider(market="spot_first")
        await provider.open()
        for number in range(1, 4):
            await provider.launch(order(ShipId(f"ship-{number:04d}")))
            await asyncio.sleep(120)  # spot is tried again
        assert [one.spot for one in account.alive] == [False] * 3
        [said] = account.said("no_spot")
        assert "make it once with aws iam create-service-linked-role" in said
        assert "on demand, which costs more" in said
        cloud.settings = replace(cloud.settings, spot_role=True)
        assert (await provider.launch(order(ShipId("ship-0009")))).spot, "somebody has made it"

    on_an_account(test, Settings(spot_role=False))


def test_without_the_role_of_spot_machines_spot_alone_stops() -> None:
    async def test(account: Account) -> None:
        provider = account.provider(market="spot")
        await provider.open()
        with pytest.raises(ProviderError, match="AWSServiceRoleForEC2Spot") as caught:
            await provider.launch(order(SHIP))
        assert caught.value.fatal
        assert account.alive == []

    on_an_account(test, Settings(spot_role=False))


def test_a_spot_order_whose_answer_is_lost_is_not_followed_by_one_on_demand() -> None:
    async def test(account: Account) -> None:
        account.faults.script("CreateFleet", *[Fault.LOST] * 4)
        first = account.provider(market="spot_first")
        await first.open()
        with pytest.raises(ProviderError):
            await first.launch(order(SHIP))
        await first.close()
        for kind in TYPES:
            for zone in account.cloud.catalog.zones:
                account.cloud.capacity_gone(kind, zone, spot=True, for_s=300)
        second = account.provider(market="spot_first")
        await second.open()  # the listing may not show the machine yet
        await second.launch(order(SHIP))
        assert [one.spot for one in account.alive] == [True]

    on_an_account(test, Settings(unlisted_s=(6, 6)))


def test_storage_that_runs_out_after_the_launch_is_noticed() -> None:
    async def test(account: Account) -> None:
        provider = account.provider(disk_gib=2048)
        await provider.open()
        await provider.launch(order(SHIP))
        await asyncio.sleep(120)
        assert await provider.list() == {}
        [event] = [event for event in account.events if isinstance(event, MachineEnded)]
        assert event.ship == SHIP
        assert event.fatal
        assert "ebs/L-7A658B76" in event.reason

    on_an_account(test, Settings(quotas=Quotas(gp3_tib=1)))


def test_throttling_slows_down_and_reaches_nobody() -> None:
    async def test(account: Account) -> None:
        account.faults.script("CreateFleet", *[Fault.THROTTLED] * 6)
        provider = account.provider()
        await provider.open()
        await asyncio.gather(*(provider.launch(order(f"ship-{number}")) for number in range(8)))
        assert len(account.alive) == 8
        assert account.events == []

    on_an_account(test)


def test_without_fleets_ships_are_launched_pool_by_pool_and_that_is_said_once() -> None:
    async def test(account: Account) -> None:
        denied = frozenset({"ec2:CreateFleet"})
        account.cloud.keys[KEY_ID] = replace(account.cloud.keys[KEY_ID], denied=denied)
        for zone in account.cloud.catalog.zones:
            account.cloud.capacity[TYPES[0], zone, False] = 0
        account.faults.script("RunInstances", Fault.RESET, Fault.LOST)
        provider = account.provider()
        await provider.open()
        for number in range(3):
            await provider.launch(order(f"ship-{number}"))
        assert [one.offer.name for one in account.alive] == [TYPES[1]] * 3
        [text] = account.said("without_fleets")
        assert "ec2:CreateFleet" in text

    on_an_account(test)


def test_a_missing_permission_ends_launching_and_is_named() -> None:
    async def test(account: Account) -> None:
        denied = frozenset({"ec2:RunInstances"})
        account.cloud.keys[KEY_ID] = replace(account.cloud.keys[KEY_ID], denied=denied)
        provider = account.provider()
        await provider.open()
        with pytest.raises(ProviderError, match="ec2:RunInstances") as caught:
            await provider.launch(order(SHIP))
        assert caught.value.fatal
        assert "Encoded" not in str(caught.value)

    on_an_account(test)


@pytest.mark.parametrize("fleets", [True, False])
def test_a_machine_is_private_tagged_and_told_nothing_but_its_join_token(fleets: bool) -> None:
    async def test(account: Account) -> None:
        if not fleets:
            denied = frozenset({"ec2:CreateFleet"})
            account.cloud.keys[KEY_ID] = replace(account.cloud.keys[KEY_ID], denied=denied)
        provider = account.provider()
        await provider.open()
        await provider.launch(order(SHIP))
        [instance] = account.alive
        assert instance.user_data == user_data(order(SHIP))
        assert instance.public_address is None
        marks = {"mux:event": "camp", "mux:store": settings().store, "mux:ship": SHIP, "Name": f"camp {SHIP}"}
        assert marks.items() <= instance.tags.items()
        assert "join-token" not in repr(instance.tags)
        [volume] = account.cloud.volumes.values()
        assert marks.items() <= volume.tags.items()
        assert (volume.kind, volume.encrypted, volume.initialization_rate) == ("gp3", True, 300)

    on_an_account(test)


def test_a_machine_that_is_not_listed_yet_is_there_and_one_that_is_still_listed_is_gone() -> None:
    async def test(account: Account) -> None:
        provider = account.provider()
        await provider.open()
        await provider.launch(order(SHIP))
        assert set(await provider.list()) == {SHIP}
        await asyncio.sleep(60)
        assert (await provider.list())[SHIP].host
        await provider.terminate(SHIP)
        assert await provider.list() == {}

    on_an_account(test, Settings(unlisted_s=(30, 30), lag_s=(20, 20)))


def test_the_newer_of_two_machines_of_one_ship_is_ended_and_that_is_said() -> None:
    async def test(account: Account) -> None:
        provider = account.provider()
        await provider.open()
        await provider.launch(order(SHIP))
        await asyncio.sleep(60)
        [first] = account.alive
        async with client("ec2", account.api) as ec2:
            tags = [{"Key": key, "Value": value} for key, value in first.tags.items() if key.startswith("mux:")]
            await ec2.run_instances(
                ImageId=settings().image,
                InstanceType=TYPES[0],
                SubnetId=settings().subnets[0],
                MinCount=1,
                MaxCount=1,
                TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
            )
        await asyncio.sleep(60)
        await provider.list()
        assert account.alive == [first]
        assert len(account.said("two_machines")) == 1
        await asyncio.sleep(120)
        assert set(await provider.list()) == {SHIP}
        assert len(account.said("two_machines")) == 1

    on_an_account(test)


def test_machines_of_another_store_are_reported_and_left_alone_until_reaped_as_foreign() -> None:
    async def test(account: Account) -> None:
        theirs, ours = account.provider(store="f" * 16), account.provider()
        await theirs.open()
        await theirs.launch(order(SHIP))
        await asyncio.sleep(60)
        await ours.open()
        assert await ours.list() == {}
        await ours.terminate(SHIP)
        await ours.park(SHIP)
        await ours.launch(order(SHIP))
        assert len(account.alive) == 2
        assert len(account.said("foreign_machines")) == 1
        await asyncio.sleep(60)
        reaped = await ours.reap(foreign=False)
        assert (reaped.machines, reaped.foreign) == (1, 1)
        assert len(account.alive) == 1
        assert (await ours.reap(foreign=True)).machines == 1
        assert account.alive == []
        assert account.cloud.templates == {}

    on_an_account(test)


def test_a_protected_machine_keeps_no_other_from_being_reaped() -> None:
    async def test(account: Account) -> None:
        provider = account.provider()
        await provider.open()
        for ship in (SHIP, ShipId("ship-0002"), ShipId("ship-0003")):
            await provider.launch(order(ship))
        await asyncio.sleep(60)
        await provider.list()
        protected = account.alive[1]
        protected.protected = True
        with pytest.raises(ProviderError, match="disableApiTermination"):
            await provider.reap(foreign=False)
        assert account.alive == [protected]
        protected.protected = False
        await provider.reap(foreign=False)
        assert account.alive == []
        assert account.cloud.templates == {}

    on_an_account(test)


def test_a_spot_machine_that_is_to_be_parked_is_ended_and_that_is_said() -> None:
    async def test(account: Account) -> None:
        provider = account.provider(market="spot")
        await provider.open()
        await provider.launch(order(SHIP))
        assert [one.spot for one in account.alive] == [True]
        await provider.park(SHIP)
        assert account.alive == []
        assert await provider.list() == {}
        assert len(account.said("parking_ends")) == 1

    on_an_account(test)


def test_a_parked_machine_keeps_its_disk_and_its_address() -> None:
    async def test(account: Account) -> None:
        provider = account.provider()
        await provider.open()
        await provider.launch(order(SHIP))
        await asyncio.sleep(60)
        host = (await provider.list())[SHIP].host
        await provider.park(SHIP)
        assert [one.state for one in account.alive] == [State.STOPPED]
        await provider.start(order(SHIP))
        assert (await provider.list())[SHIP].status is MachineStatus.PENDING
        await asyncio.sleep(60)
        assert (await provider.list())[SHIP].status is MachineStatus.RUNNING
        assert (await provider.list())[SHIP].host == host
        assert len(account.cloud.volumes) == 1

    on_an_account(test)


def test_a_retirement_is_told_for_its_ship() -> None:
    async def test(account: Account) -> None:
        provider = account.provider()
        await provider.open()
        await provider.launch(order(SHIP))
        await asyncio.sleep(90)
        [instance] = account.alive
        account.cloud.schedule_retirement(instance.id, 3600)
        await asyncio.sleep(90)
        await provider.list()
        [event] = [event for event in account.events if isinstance(event, MachineNoticed)]
        assert (event.ship, event.notice.kind) == (SHIP, "maintenance")
        assert "instance-retirement" in event.notice.detail

    on_an_account(test)


def test_many_ends_and_stops_go_out_together() -> None:
    async def test(account: Account) -> None:
        provider = account.provider()
        await provider.open()
        ships = [ShipId(f"ship-{number}") for number in range(20)]
        await asyncio.gather(*(provider.launch(order(ship)) for ship in ships))
        await asyncio.sleep(90)
        await provider.list()
        await asyncio.gather(*(provider.park(ship) for ship in ships))
        await asyncio.gather(*(provider.terminate(ship) for ship in ships))
        assert account.alive == []
        assert account.asked("StopInstances") <= 2
        assert account.asked("TerminateInstances") <= 2

    on_an_account(test)


def test_a_mux_starts_while_ec2_is_in_trouble_and_says_at_once_when_it_may_not_ask() -> None:
    async def test(account: Account) -> None:
        account.faults.script("DescribeInstances", *[Fault.ERROR_BEFORE] * 4)
        await account.provider().open()
        denied = frozenset({"ec2:DescribeInstances"})
        account.cloud.keys[KEY_ID] = replace(account.cloud.keys[KEY_ID], denied=denied)
        with pytest.raises(ProviderError, match="ec2:DescribeInstances"):
            await account.provider().open()

    on_an_account(test)
