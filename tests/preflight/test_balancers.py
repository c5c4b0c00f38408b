"""Load balancers that cut silent connections are found: asked of moto, and judged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import boto3
import pytest
from aiobotocore.session import AioSession
from moto.server import ThreadedMotoServer

from mux.preflight.balancers import BalancerFacts, gathered, judged
from mux.preflight.finding import Outcome

REGION = "eu-central-1"
KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.long
async def test_a_load_balancer_in_front_is_found_by_its_addresses(url: str) -> None:
    def client(service: str) -> Any:
        return boto3.client(service, region_name=REGION, endpoint_url=url, **KEYS)

    subnets = [each["SubnetId"] for each in client("ec2").describe_subnets()["Subnets"][:2]]
    elb = client("elbv2")
    made = {}
    for name, idle in (("camp", "60"), ("other", "3600")):
        [found] = elb.create_load_balancer(Name=name, Subnets=subnets)["LoadBalancers"]
        attributes = [{"Key": "idle_timeout.timeout_seconds", "Value": idle}]
        elb.modify_load_balancer_attributes(LoadBalancerArn=found["LoadBalancerArn"], Attributes=attributes)
        made[found["DNSName"]] = "192.0.2.1" if name == "camp" else "192.0.2.2"

    async def resolve(host: str) -> Collection[str]:
        return [made[host]]

    facts = await gathered(REGION, ["192.0.2.1"], AioSession(), resolve, endpoint_url=url, **KEYS)
    assert facts == (BalancerFacts("camp", 60.0),)
    [finding] = judged(facts)
    assert (finding.outcome, finding.number, finding.limit) == (Outcome.FAILURE, 60.0, 300.0)
    assert "idle_timeout.timeout_seconds" in finding.remedy
    assert await gathered(REGION, ["192.0.2.9"], AioSession(), resolve, endpoint_url=url, **KEYS) == ()


@pytest.mark.parametrize(
    ("facts", "outcomes"),
    [
        ((), []),
        ((BalancerFacts("camp", 300.0),), [Outcome.OK]),
        ((BalancerFacts("network", None),), [Outcome.OK]),
        ("AccessDenied", [Outcome.WARNING]),
    ],
)
def test_what_is_found_is_judged(facts: tuple[BalancerFacts, ...] | str, outcomes: list[Outcome]) -> None:
    assert [finding.outcome for finding in judged(facts)] == outcomes
