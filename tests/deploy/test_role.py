"""The role of the template: mux, its preflight and its reaping live on it, and nothing in it is more than that takes.

The strict fake asks the policies about every resource of every request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.session import AioSession

from mux.core.events import Event, ProviderNoticed
from mux.core.model import ShipId
from mux.preflight.ec2_checks import judged
from mux.preflight.ec2_facts import Ec2Wanted
from mux.preflight.ec2_gather import Ec2Gatherer
from mux.preflight.finding import Outcome
from mux.providers.ec2 import Ec2Api, Ec2Provider
from mux.providers.ec2.faults import Ec2Error, Kind
from mux.providers.user_data import user_data
from tests.deploy.grants import Grants, grants_of, without
from tests.deploy.stack import TEMPLATE, Stack
from tests.docker_engine import ROOT
from tests.fakes.ec2 import ACCOUNT, REGION, Catalog, Cloud, Principal, api_of, client, client_settings
from tests.fakes.ec2.api import Api
from tests.fakes.ec2.catalog import SecurityGroup, Subnet
from tests.fakes.ec2.policies import Policy, several
from tests.fakes.rig import IMAGE
from tests.providers.backends import order
from tests.providers.ec2_backends import POLL_S, QUICK, settings

MUX, WITHOUT_FLEETS, ANYBODY = "AKIAMUX", "AKIAWITHOUTFLEETS", "AKIAANYBODY"
ONE, TWO, THREE = (ShipId(f"ship-000{number}") for number in (1, 2, 3))
ELSEWHERE = "subnet-0fffffffffffffff0"
NOT_HERE = ("elasticloadbalancing:", "s3:", "sts:")
"""Services that this fake is not."""


@pytest.fixture(params=["text", pytest.param("stack", marks=pytest.mark.long)])
def grants(request: pytest.FixtureRequest) -> Grants:
    """What the template says, and what moto makes of it."""
    found = grants_of(TEMPLATE.read_text("utf-8"))
    if request.param == "text":
        return found
    stack: Stack = request.getfixturevalue("stack")
    of_ships = [each for each in found.statements if several(each["Action"]) == ["iam:PassRole"]]
    subnets = tuple(stack.outputs["Subnets"].split(","))
    return Grants(stack.role, stack.policies + of_ships, subnets, stack.outputs["SecurityGroup"])


class Account:
    """A cloud with the template's network, and muxes that have its role.

    Args:
        grants: the role.
        api: of the cloud.
    """

    def __init__(self, grants: Grants, api: Api) -> None:
        self.api, self.cloud = api, api.cloud
        self.policy = Policy(grants.statements)
        self.events: list[Event] = []
        self._grants = grants
        self._made: list[Ec2Provider] = []
        arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{grants.role}/i-0123456789abcdef0"
        fleetless = Policy(without(grants.statements, "ec2:CreateFleet"), self.policy.used)
        self.cloud.keys |= {
            MUX: Principal(arn, policy=self.policy),
            WITHOUT_FLEETS: Principal(arn, policy=fleetless),
            ANYBODY: Principal(f"arn:aws:iam::{ACCOUNT}:user/anybody"),
        }

    def provider(self, key: str = MUX, event: str = "camp", **changes: Any) -> Ec2Provider:
        """Another run of a mux."""
        where = {"subnets": self._grants.subnets, "security_groups": (self._grants.group,)}
        made = Ec2Provider(
            settings(event, **{**where, **changes}),
            user_data,
            self.events.append,
            api=Ec2Api(lambda: client("ec2", self.api, key=key)),
            poll_s=POLL_S,
        )
        self._made.append(made)
        return made

    async def close(self) -> None:
        """Let go."""
        for provider in self._made:
            await provider.close()


@asynccontextmanager
async def account(grants: Grants) -> AsyncIterator[Account]:
    """One in whose network ships of the template's event may be, and with a subnet that is not theirs."""
    subnets = [
        Subnet(name, Catalog.zones[number % 3], f"10.20.{16 * (number + 1)}.0/24")
        for number, name in enumerate((*grants.subnets, ELSEWHERE))
    ]
    catalog = Catalog(subnets=tuple(subnets), groups=(SecurityGroup(grants.group, "ships"),))
    async with api_of(Cloud(QUICK, catalog), follow=True) as api:
        made = Account(grants, api)
        try:
            yield made
        finally:
            await made.close()


def called() -> set[str]:
    """Every permission that the provider's code names."""
    text = "".join(path.read_text("utf-8") for path in (ROOT / "mux/providers/ec2").glob("*.py"))
    return {f"ec2:{action}" for action in re.findall(r'(?:call|pages)\(\s*"([A-Za-z]+)"', text)}


async def test_the_role_is_enough_for_all_that_mux_does_and_holds_no_more(grants: Grants) -> None:
    async with account(grants) as here:
        mux = here.provider(market="spot_first")
        await mux.launch(order(ONE))
        await here.provider(instance_profile="ships").launch(order(TWO))
        await here.provider(WITHOUT_FLEETS).launch(order(THREE))
        while len(await mux.list()) < 3:
            await asyncio.sleep(POLL_S)
        await mux.park(TWO)
        await mux.start(order(TWO))
        await mux.terminate(ONE)
        for volume in here.cloud.volumes.values():
            volume.delete_on_termination = False
        await mux.reap(foreign=False)
        assert (here.cloud.volumes, here.cloud.templates) == ({}, {})

        asked = Ec2Wanted(
            event="camp", region=REGION, image=IMAGE, instance_types=("m6i.2xlarge",), subnets=grants.subnets,
            security_groups=(grants.group,), markets=(True, False), disk_gib=50, ships=3, seats_per_ship=8,
            control_port=8002, workspace_ports=(20000, 29999), instance_profile="ships",
        )  # fmt: skip
        options = client_settings(here.api, key=MUX)
        facts = await Ec2Gatherer(asked, AioSession(), options).facts()
        found = {finding.check: finding for finding in judged(asked, facts)}
        assert {check: found[check].outcome for check in ("permissions", "spot role", "spot prices")} == {
            "permissions": Outcome.OK, "spot role": Outcome.OK, "spot prices": Outcome.OK,
        }, found  # fmt: skip
        assert facts.faults == {}

        told = [event.text for event in here.events if isinstance(event, ProviderNoticed)]
        assert [text for text in told if "may not call" in text and "CreateFleet" not in text] == []
        granted = {each for each in here.policy.permissions if not each.startswith(NOT_HERE)}
        assert here.policy.used == granted
        assert called() <= granted


async def test_the_role_touches_nothing_that_is_not_the_events(grants: Grants) -> None:
    async with account(grants) as here:
        await here.provider(ANYBODY, "another").launch(order(ONE, "another"))
        other = here.provider(event="another")
        while not await other.list():
            await asyncio.sleep(POLL_S)
        elsewhere = here.provider(subnets=(ELSEWHERE,))
        for doing in (
            lambda: other.launch(order(TWO, "another")),
            lambda: other.park(ONE),
            lambda: other.terminate(ONE),
            lambda: other.reap(foreign=True),
            lambda: elsewhere.launch(order(THREE)),
        ):
            with pytest.raises(Ec2Error, match="may not call") as refused:
                await doing()
            assert refused.value.kind is Kind.DENIED
            assert re.search(r"allow ec2:[A-Za-z]+ on resource arn:aws:ec2:\S+ in the policy", str(refused.value))
        assert [instance.tags["mux:event"] for instance in here.cloud.instances.values()] == ["another"]


def test_of_other_services_it_holds_what_their_pages_tell() -> None:
    granted = {
        action for each in grants_of(TEMPLATE.read_text("utf-8")).statements for action in several(each["Action"])
    }
    page = (ROOT / "docs/how-to/keep-files-in-s3.md").read_text("utf-8")
    assert {each for each in granted if each.startswith("s3:")} == set(re.findall(r"`(s3:[A-Za-z]+)`", page))
    assert {each for each in granted if each.startswith(NOT_HERE) and not each.startswith("s3:")} == {
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeLoadBalancerAttributes",
        "sts:AssumeRole",
    }
