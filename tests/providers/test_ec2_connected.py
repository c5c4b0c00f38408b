"""The client that production uses: over HTTP, with credentials as the AWS tools find them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from mux.core.model import ShipId
from mux.providers.base import ProviderError
from mux.providers.ec2 import Ec2Api, Ec2Provider, connected
from mux.providers.user_data import user_data
from tests.fakes.ec2 import KEY_ID, REGION, Cloud, api_of, client, served
from tests.fakes.ec2.api import Answer, Api
from tests.providers.backends import order
from tests.providers.ec2_backends import QUICK, settings

SHIP, OTHER = ShipId("ship-0001"), ShipId("ship-0002")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials of whoever runs the tests."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def provider(url: str) -> Ec2Provider:
    return Ec2Provider(settings(), user_data, lambda _event: None, api=Ec2Api(partial(connected, REGION, url)))


async def test_a_ship_is_launched_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a secret")
    async with api_of(Cloud(QUICK), follow=True) as api, served(api) as url:
        ours = provider(url)
        await ours.open()
        await ours.launch(order(SHIP))
        assert set(await ours.list()) == {SHIP}
        await ours.close()


class Stranger(Api):
    """Somebody else's answers, once EC2 has done what it was asked for."""

    stands_in: Answer | None = None

    async def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        answer = await super().answer(headers, body)
        return self.stands_in or answer


LOGIN_PAGE = b"<!doctype html><html><body>Log in to the hotel&nbsp;WiFi"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, LOGIN_PAGE, "text/html"),
        Answer(403, LOGIN_PAGE, "text/html"),
        Answer(200, b"<html><body>It works</body></html>", "text/html"),
        Answer(200, b"{}", "application/json"),
        Answer(200, b""),
        Answer(200, b"<DescribeInstancesResponse/>"),
        Answer(200, b"\xff\x00"),
    ],
)
async def test_an_answer_of_somebody_else_is_no_empty_account_and_makes_no_second_machine(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr("mux.providers.ec2.api.PAUSE_S", 0.0)
    cloud = Cloud(QUICK)
    api = Stranger(cloud)
    ours = Ec2Provider(settings(), user_data, lambda _event: None, api=Ec2Api(lambda: client("ec2", api)))
    async with api_of(cloud, follow=True):
        await ours.launch(order(SHIP))
        api.stands_in = answer
        for doing in (ours.list, lambda: ours.launch(order(OTHER)), lambda: ours.reap(foreign=False)):
            with pytest.raises(ProviderError, match=r"is not EC2; see what stands between|did not answer") as caught:
                await doing()
            assert not caught.value.fatal
        api.stands_in = None
        await ours.launch(order(OTHER))
        assert len(cloud.instances) == 2
        await ours.close()


async def test_without_credentials_the_start_says_so() -> None:
    ours = provider("http://127.0.0.1:9")
    with pytest.raises(ProviderError, match="finds no AWS credentials") as caught:
        await ours.open()
    assert caught.value.fatal
    await ours.close()


async def test_wrong_credentials_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a secret")
    async with api_of(Cloud(QUICK), follow=True) as api, served(api) as url:
        ours = provider(url)
        with pytest.raises(ProviderError, match="does not accept mux's credentials"):
            await ours.open()
        await ours.close()
