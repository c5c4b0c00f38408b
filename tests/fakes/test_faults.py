"""Faults between client and service: what has happened, what has not, and that chance can be repeated."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError

from tests.fakes.ec2 import PROMPT, Cloud, Fault, Faults, api_of, client
from tests.fakes.rig import Rig, machine
from tests.fakes.virtual import run_virtually

AFTER = {Fault.LOST: 1, Fault.ERROR_AFTER: 1, Fault.RESET: 0, Fault.ERROR_BEFORE: 0, Fault.THROTTLED: 0}


@pytest.mark.parametrize("fault", AFTER, ids=lambda fault: fault.name)
async def test_a_fault_comes_before_or_after_the_launch(rig: Rig, fault: Fault) -> None:
    rig.faults.script("RunInstances", fault)
    with pytest.raises((ConnectionClosedError, ClientError)):
        await rig.run(ClientToken="once")
    assert len(rig.cloud.instances) == AFTER[fault]
    await rig.run(ClientToken="once")
    assert len(rig.cloud.instances) == 1
    assert [call.fault for call in rig.cloud.calls] == [fault.name, ""]


async def test_a_lost_connection_looks_the_same_over_http_and_inside(rig: Rig) -> None:
    rig.faults.script("DescribeSubnets", Fault.LOST, Fault.LOST)
    with pytest.raises(ConnectionClosedError):
        await rig.ec2.describe_subnets(MaxResults=5)
    async with api_of(rig.cloud, rig.faults) as api, client("ec2", api) as inside:
        with pytest.raises(ConnectionClosedError):
            await inside.describe_subnets(MaxResults=5)
        over_http = await rig.ec2.describe_subnets(MaxResults=5)
        assert (await inside.describe_subnets(MaxResults=5))["Subnets"] == over_http["Subnets"]


def test_a_slow_answer_is_a_timeout_to_the_impatient_although_it_has_happened() -> None:
    cloud, faults = Cloud(PROMPT), Faults()

    async def launch() -> None:
        async with api_of(cloud, faults, follow=True) as api, client("ec2", api, read_timeout=4) as ec2:
            faults.script("RunInstances", Fault.SLOW)
            with pytest.raises(ReadTimeoutError):
                await ec2.run_instances(**machine())

    run_virtually(launch())
    assert len(cloud.instances) == 1


async def test_a_zone_may_be_empty_for_a_while(rig: Rig) -> None:
    rig.faults.script("DescribeSubnets", *[Fault.ZONE_EMPTY] * 40)
    for _ in range(40):
        await rig.ec2.describe_subnets(MaxResults=5)
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        await rig.run()
    rig.cloud.advance(300)
    await rig.run()


def test_the_same_seed_has_the_same_luck() -> None:
    rates = {Fault.LOST: 0.2, Fault.THROTTLED: 0.2, Fault.SLOW: 0.1}

    def history(seed: int) -> list[tuple[str, str]]:
        cloud = Cloud(seed=seed)

        async def calls() -> None:
            async with api_of(cloud, Faults(seed, rates, most=8), follow=True) as api, client("ec2", api) as ec2:
                for number in range(40):
                    try:
                        await ec2.run_instances(**machine(ClientToken=str(number)))
                    except (ClientError, BotoCoreError):
                        continue

        run_virtually(calls())
        return [(call.code, call.fault) for call in cloud.calls] + [(one, "") for one in cloud.instances]

    first: Any = history(1)
    assert first == history(1)
    assert first != history(2)
    assert sum(bool(fault) for _, fault in first) == 8
