"""The provider `ec2` for the conformance suite: on the strict fake in this process, and on moto's server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from mux.core.events import Event
from mux.providers.ec2 import Ec2Api, Ec2Provider, Ec2Settings
from mux.providers.user_data import user_data
from tests.fakes.ec2 import REGION, SHIPS_GROUP, Cloud, Settings, api_of, client
from tests.fakes.ec2.api import Api
from tests.fakes.rig import IMAGE, SUBNET_A, SUBNET_B
from tests.providers.backends import Backend

MOTO_IMAGE = "amzn-ami-hvm-2017.09.1.20171103-x86_64-gp2"
POLL_S = 0.02
QUICK = Settings(boot_s=(0.02, 0.06), stop_s=(0.02, 0.06), end_s=(0.02, 0.06), unlisted_s=(0, 0.06), lag_s=(0, 0.03))
"""A cloud whose time follows the event loop, in a hurry."""


def settings(event: str = "camp", **changes: Any) -> Ec2Settings:
    """Machines of a test's event."""
    return Ec2Settings(
        **{
            "event": event,
            "store": "0123456789abcdef",
            "region": REGION,
            "image": IMAGE,
            "instance_types": ("m6i.2xlarge", "m6i.xlarge"),
            "subnets": (SUBNET_A, SUBNET_B),
            "security_groups": (SHIPS_GROUP,),
            "port_first": 20_000,
            "port_count": 64,
            **changes,
        }
    )


class FakeBackend(Backend):
    """The strict fake, inside this process."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.events: list[Event] = []
        self._made: list[Ec2Provider] = []

    def provider(self, event: str = "camp", **changes: Any) -> Ec2Provider:
        made = Ec2Provider(
            settings(event, **changes),
            user_data,
            self.events.append,
            api=Ec2Api(lambda: client("ec2", self.api)),
            poll_s=POLL_S,
        )
        self._made.append(made)
        return made

    async def clean_up(self) -> None:
        for provider in self._made:
            await provider.close()


@asynccontextmanager
async def fake_backend() -> AsyncIterator[FakeBackend]:
    """A cloud of its own."""
    async with api_of(Cloud(QUICK), follow=True) as api:
        backend = FakeBackend(api)
        yield backend
        await backend.clean_up()


@asynccontextmanager
async def _moto_client(url: str) -> AsyncIterator[Any]:
    made = get_session().create_client(
        "ec2",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=AioConfig(retries={"total_max_attempts": 1}),
    )
    async with made as ec2:
        yield ec2


class MotoBackend(Backend):
    """Moto's server: the wire, and no more."""

    def __init__(self, url: str, made_of: dict[str, Any]) -> None:
        self.url = url
        self._made_of = made_of
        self._made: list[Ec2Provider] = []

    def provider(self, event: str = "camp") -> Ec2Provider:
        connect = partial(_moto_client, self.url)
        made = Ec2Provider(
            settings(event, **self._made_of), user_data, lambda _event: None, api=Ec2Api(connect), poll_s=POLL_S
        )
        self._made.append(made)
        return made

    async def clean_up(self) -> None:
        for provider in self._made:
            await provider.close()


@asynccontextmanager
async def moto_backend(url: str) -> AsyncIterator[MotoBackend]:
    """An account of its own on moto's server; what machines are made of is there."""
    async with aiohttp.ClientSession() as http, http.post(f"{url}/moto-api/reset") as reset:
        assert reset.status == 200
    async with _moto_client(url) as ec2:
        [subnet, *_] = (await ec2.describe_subnets())["Subnets"]
        group = await ec2.create_security_group(GroupName="ships", Description="ships", VpcId=subnet["VpcId"])
        [image] = (await ec2.describe_images(Filters=[{"Name": "name", "Values": [MOTO_IMAGE]}]))["Images"]
    made_of = {
        "image": image["ImageId"],
        "subnets": (subnet["SubnetId"],),
        "security_groups": (group["GroupId"],),
    }
    backend = MotoBackend(url, made_of)
    yield backend
    await backend.clean_up()
