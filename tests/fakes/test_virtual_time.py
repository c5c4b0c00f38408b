"""In virtual time a fleet of hundreds takes seconds, and the account's limits still hold."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError

from tests.fakes.ec2 import Cloud, Fault, Faults, Settings, State, api_of, client
from tests.fakes.rig import SUBNET_A, SUBNET_B, machine
from tests.fakes.virtual import run_virtually

SHIPS = 60


def test_time_passes_only_where_somebody_waits() -> None:
    async def wait() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(7200))
        return loop.time()

    assert run_virtually(wait()) == 7200


def test_what_is_due_happens_by_itself_and_in_order() -> None:
    async def one_life() -> list[tuple[str, int]]:
        cloud, heard = Cloud(Settings()), []
        cloud.behind.on_running = lambda one: heard.append(("running", one.boots))
        cloud.behind.on_stopped = lambda one: heard.append(("stopped", one.boots))
        cloud.behind.on_terminated = lambda one: heard.append(("terminated", one.boots))
        async with api_of(cloud, follow=True) as api, client("ec2", api) as ec2:
            made = await ec2.run_instances(**machine())
            ship = made["Instances"][0]["InstanceId"]
            await asyncio.sleep(60)
            for change in (ec2.stop_instances, ec2.start_instances, ec2.terminate_instances):
                await change(InstanceIds=[ship])
                await asyncio.sleep(60)
        return heard

    assert run_virtually(one_life()) == [("running", 1), ("stopped", 1), ("running", 2), ("terminated", 2)]


def test_a_client_that_paces_itself_badly_is_throttled_and_still_gets_its_fleet() -> None:
    cloud, faults = Cloud(Settings()), Faults(7, {Fault.LOST: 0.1, Fault.ERROR_AFTER: 0.05, Fault.RESET: 0.05})

    async def one(ec2: Any, number: int) -> None:
        for attempt in itertools.count():
            try:
                await ec2.run_instances(
                    **machine(SubnetId=(SUBNET_A, SUBNET_B)[number % 2], ClientToken=f"ship-{number}")
                )
            except (ClientError, HTTPClientError):
                await asyncio.sleep(2**attempt)
            else:
                return

    async def warm() -> float:
        async with api_of(cloud, faults, follow=True) as api, client("ec2", api) as ec2:
            await asyncio.gather(*(one(ec2, number) for number in range(SHIPS)))
            await asyncio.sleep(60)
            return asyncio.get_running_loop().time()

    took_s = run_virtually(warm())
    assert took_s >= (SHIPS - 5) / 2  # two requests a second after the first five
    assert [one.state for one in cloud.instances.values()] == [State.RUNNING] * SHIPS
    codes = Counter(call.code for call in cloud.calls)
    assert codes["RequestLimitExceeded"] > 0
    assert faults.injected[Fault.LOST] > 0
