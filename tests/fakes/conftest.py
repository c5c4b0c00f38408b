"""A cloud of one's own for each test, over HTTP, with time that the test advances."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.ec2 import PROMPT, Cloud, Faults, Settings, api_of, client, served
from tests.fakes.rig import Rig


@pytest.fixture
def settings() -> Settings:
    """Everything at once and nothing late; tests that want it otherwise override this by a parameter."""
    return PROMPT


@pytest.fixture
def cloud(settings: Settings) -> Cloud:
    """The account."""
    return Cloud(settings)


@pytest.fixture
async def rig(cloud: Cloud) -> AsyncIterator[Rig]:
    """The cloud, served."""
    faults = Faults()
    async with api_of(cloud, faults) as api, served(api) as url, client("ec2", url) as ec2:
        yield Rig(cloud, faults, url, ec2)
