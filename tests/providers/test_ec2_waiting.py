"""Whoever waits for EC2 in company is told, whatever goes wrong and whenever the provider is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from mux.providers.ec2.api import Ec2Api
from mux.providers.ec2.together import Together
from mux.providers.ec2.waiting import Waiting


async def test_a_call_that_has_not_begun_when_the_provider_closes_is_cancelled() -> None:
    async def act(machines: list[str]) -> None:
        raise AssertionError(f"{machines} are acted on")

    together = Together(act)
    asking = asyncio.create_task(together("i-1"))
    await asyncio.sleep(0)
    await together.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, 60)


async def test_a_defect_in_a_look_reaches_whoever_waits_for_it() -> None:
    class Api:
        async def pages(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
            raise LookupError("a defect")
            yield

    waiting = Waiting(cast(Ec2Api, Api()), poll_s=0.0)
    with pytest.raises(LookupError, match="a defect"):
        await asyncio.wait_for(waiting.until("i-1", lambda _: True), 60)
    await waiting.close()
