"""Load balancers in front of mux: whether they cut connections that are merely silent.

A kernel that computes says nothing for minutes, and mux sends nothing of its own into a WebSocket. AWS's application
load balancers cut after 60 s unless told otherwise, and TCP keepalive does not reset that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from mux.preflight.finding import Finding, failure, ok, warning

CHECK = "load balancer"
IDLE_S_MIN = 300.0
"""Silence that should pass unharmed."""
ANSWER_S = 30.0
BALANCERS_MAX = 400
"""Of one region; the API's own page."""
IDLE_ATTRIBUTE = "idle_timeout.timeout_seconds"

Resolve = Callable[[str], Awaitable[Collection[str]]]
"""Addresses of a host name."""


@dataclass(frozen=True, slots=True)
class BalancerFacts:
    """One load balancer that a public name leads to. ``idle_s``: None for one that never cuts by that rule."""

    name: str
    idle_s: float | None


async def resolved(host: str) -> Collection[str]:
    """Addresses of a host name; none if it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return {str(entry[4][0]) for entry in found}


async def gathered(
    region: str, addresses: Collection[str], session: AioSession | None = None, resolve: Resolve = resolved, **more: Any
) -> tuple[BalancerFacts, ...] | str:
    """Load balancers of a region that have one of these addresses; or the code of what went wrong.

    Args:
        region: where.
        addresses: what the public names lead to.
        session: of aiobotocore.
        resolve: asks DNS.
        more: for the client; tests name an endpoint and keys.
    """
    config = AioConfig(connect_timeout=ANSWER_S, read_timeout=ANSWER_S)
    made = (session or get_session()).create_client("elbv2", region_name=region, config=config, **more)
    found = []
    try:
        async with made as client:
            answer = await client.describe_load_balancers(PageSize=BALANCERS_MAX)
            for each in answer["LoadBalancers"]:
                if set(addresses).isdisjoint(await resolve(each["DNSName"])):
                    continue
                told = await client.describe_load_balancer_attributes(LoadBalancerArn=each["LoadBalancerArn"])
                values = {attribute["Key"]: attribute["Value"] for attribute in told["Attributes"]}
                idle = values.get(IDLE_ATTRIBUTE)
                found.append(BalancerFacts(each["LoadBalancerName"], None if idle is None else float(idle)))
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except (BotoCoreError, ResponseParserError, OSError, TimeoutError) as error:
        return type(error).__name__
    return tuple(found)


def judged(facts: tuple[BalancerFacts, ...] | str) -> list[Finding]:
    """What they mean; nothing where there are none."""
    if isinstance(facts, str):
        text = f"cannot be found out: elasticloadbalancing:DescribeLoadBalancers was answered with {facts}"
        return [warning(CHECK, text, f"see that its idle timeout is {IDLE_S_MIN:.0f} s or more")]
    return [_judged(each) for each in facts]


def _judged(facts: BalancerFacts) -> Finding:
    if facts.idle_s is None:
        return ok(CHECK, f"{facts.name} has no idle timeout that could be set")
    said = f"{facts.name} cuts connections that are silent for {facts.idle_s:.0f} of at least {IDLE_S_MIN:.0f} s"
    numbers: dict[str, Any] = {"number": facts.idle_s, "limit": IDLE_S_MIN, "unit": "s"}
    if facts.idle_s >= IDLE_S_MIN:
        return ok(CHECK, said, **numbers)
    remedy = f"set its {IDLE_ATTRIBUTE} to {IDLE_S_MIN:.0f} or more: kernels that compute would lose their browsers"
    return failure(CHECK, said, remedy, **numbers)
