"""The metadata service: who may read it, and what it announces."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.fakes.ec2 import PROMPT, Cloud, Instance, api_of, client
from tests.fakes.ec2.imds import TOKEN, TOKEN_TTL, Imds, imds_served
from tests.fakes.rig import machine

SPOT = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}


@dataclass
class Inside:
    """What a program on the machine sees."""

    cloud: Cloud
    instance: Instance
    imds: Imds
    url: str
    http: ClientSession

    async def get(self, path: str, *, token: str | None = None) -> tuple[int, str]:
        headers = {TOKEN: token} if token is not None else {}
        async with self.http.get(f"{self.url}{path}", headers=headers) as answer:
            return answer.status, await answer.text()

    async def token(self, ttl: str = "60", **headers: str) -> tuple[int, str]:
        async with self.http.put(f"{self.url}/latest/api/token", headers={TOKEN_TTL: ttl, **headers}) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    """A spot machine that requires tokens."""
    cloud = Cloud(PROMPT)
    options: dict[str, Any] = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    async with api_of(cloud) as api, client("ec2", api) as ec2:
        made = await ec2.run_instances(
            **machine(UserData="#!/bin/sh\n", MetadataOptions=options, InstanceMarketOptions=SPOT)
        )
    instance = cloud.instances[made["Instances"][0]["InstanceId"]]
    imds = Imds(cloud, lambda _peer: instance)
    async with imds_served(imds) as url, ClientSession() as http:
        yield Inside(cloud, instance, imds, url, http)


async def test_nothing_is_told_without_a_token_where_one_is_required(inside: Inside) -> None:
    assert (await inside.get("/latest/meta-data/instance-id"))[0] == 401
    assert (await inside.get("/2009-04-04/user-data"))[0] == 401
    assert (await inside.get("/latest/user-data", token="made up"))[0] == 401


async def test_a_token_reads_until_its_time_is_over(inside: Inside) -> None:
    _, token = await inside.token("60")
    assert await inside.get("/latest/meta-data/instance-id", token=token) == (200, inside.instance.id)
    assert await inside.get("/latest/user-data", token=token) == (200, "#!/bin/sh\n")
    inside.cloud.advance(60)
    assert (await inside.get("/latest/meta-data/instance-id", token=token))[0] == 401


async def test_tokens_are_refused_without_a_good_lifetime_and_through_a_proxy(inside: Inside) -> None:
    assert [(await inside.token(ttl))[0] for ttl in ("0", "21601", "soon", "21600")] == [400, 400, 400, 200]
    assert (await inside.token("60", **{"X-Forwarded-For": "10.0.0.9"}))[0] == 403


async def test_the_oldest_version_answers_without_a_token_when_asked_for(inside: Inside) -> None:
    inside.imds.legacy_without_token = True
    assert await inside.get("/2009-04-04/meta-data/instance-id") == (200, inside.instance.id)
    assert (await inside.get("/latest/meta-data/instance-id"))[0] == 401


async def test_directories_list_what_they_hold(inside: Inside) -> None:
    _, token = await inside.token()
    _, names = await inside.get("/latest/meta-data/", token=token)
    assert {"instance-id", "placement/", "events/"} <= set(names.split("\n"))
    assert (await inside.get("/latest/meta-data/placement/region", token=token))[1] == "eu-central-1"
    assert (await inside.get("/latest/meta-data/nothing", token=token))[0] == 404


async def test_an_interruption_is_announced_and_then_happens(inside: Inside) -> None:
    _, token = await inside.token("21600")
    inside.cloud.advance(60)
    assert (await inside.get("/latest/meta-data/spot/instance-action", token=token))[0] == 404
    assert (await inside.get("/latest/meta-data/events/recommendations/rebalance", token=token))[0] == 404
    inside.cloud.recommend_rebalance(inside.instance.id)
    inside.cloud.interrupt(inside.instance.id)
    _, rebalance = await inside.get("/latest/meta-data/events/recommendations/rebalance", token=token)
    assert json.loads(rebalance) == {"noticeTime": "2026-11-02T08:01:00Z"}
    _, notice = await inside.get("/latest/meta-data/spot/instance-action", token=token)
    assert json.loads(notice) == {"action": "terminate", "time": "2026-11-02T08:03:00Z"}
    inside.cloud.advance(122)
    assert inside.instance.state.word == "terminated"
    assert inside.instance.reason is not None
    assert inside.instance.reason[0] == "Server.SpotInstanceTermination"


async def test_scheduled_maintenance_is_announced(inside: Inside) -> None:
    _, token = await inside.token()
    path = "/latest/meta-data/events/maintenance/scheduled"
    assert await inside.get(path, token=token) == (200, "[]")
    inside.cloud.schedule_retirement(inside.instance.id, in_s=3600)
    [event] = json.loads((await inside.get(path, token=token))[1])
    assert (event["Code"], event["NotBefore"]) == ("instance-retirement", "02 Nov 2026 09:00:00 GMT")
