"""Logins of Amazon ECR, from a role: against moto's STS and ECR."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from structlog.testing import capture_logs

from mux.config import ConfigError, EventFile, parse
from mux.config.ecr_logins import ecr_region
from mux.config.registry_logins import RegistryLogin, registry_logins
from mux.daemon.registry_logins import LoginsInForce
from tests.config.test_registry_logins import auth
from tests.files.conftest import moto_server

__all__ = ["moto_server"]  # a fixture

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
ROLE = "arn:aws:iam::210987654321:role/mux-pull"
LOGIN = RegistryLogin(HOST, "AWS", "210987654321-auth-token")
"""Of the role's account, and not of the mux's own: moto names it in the login."""


def event(tmp_path: Path, more: str = "") -> EventFile:
    text = (
        '[event]\nname = "camp"\npublic_address = "http://localhost:8000"\nadmin_address = "http://127.0.0.1:8001"\n'
        f'[[project]]\nname = "intro"\nimage = "{HOST}/camp/intro"\n[[project]]\nname = "two"\nimage = "debian"\n'
        '[fleet]\nruntime = "docker"\nattendees = 1\nseats_per_ship = 1\n'
        f'[auth]\nmode = "roster"\n[registry]\necr_role = "{ROLE}"\n{more}'
    )
    return parse(text, base=tmp_path, environ={}, files=False)


@pytest.fixture
def account(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mux's credentials, and AWS at moto's address."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)


def test_which_registries_are_ecrs() -> None:
    assert ecr_region(HOST) == "eu-central-1"
    assert ecr_region("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com") == "us-gov-west-1"
    assert ecr_region("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn") == "cn-north-1"
    for other in ("docker.io", f"{HOST}.example.org", f"x.{HOST}", "public.ecr.aws", f"{HOST}:443"):
        assert ecr_region(other) is None


@pytest.mark.usefixtures("account")
async def test_ships_get_the_roles_login_and_other_registries_none(tmp_path: Path) -> None:
    assert await registry_logins(event(tmp_path), tmp_path, {}) == (LOGIN,)


@pytest.mark.usefixtures("account")
async def test_a_login_that_is_written_down_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text(json.dumps({"auths": {HOST: {"auth": auth("puller:own")}}}))
    file = event(tmp_path, 'config = "registry.json"\n')
    assert await registry_logins(file, tmp_path, {}) == (RegistryLogin(HOST, "puller", "own"),)


@pytest.mark.usefixtures("account")
async def test_it_is_kept_fresh_and_in_no_log(tmp_path: Path) -> None:
    changes: list[int] = []
    logins = LoginsInForce(lambda: event(tmp_path), {}, lambda: changes.append(1))
    with capture_logs() as logs:
        assert await logins.fetch()
        assert await logins.fetch()
    assert logins.logins == (LOGIN,)
    assert len(changes) == 1, "the same login is no change"
    assert HOST in str(logs)
    assert LOGIN.password not in str(logs) + repr(logins.logins)


async def test_a_refusal_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("mux.config.ecr_logins.ATTEMPTS_MAX", 1)
    with pytest.raises(ConfigError, match=r"registry\.ecr_role.*no answer of AWS") as caught:
        await registry_logins(event(tmp_path), tmp_path, {})
    assert "mux may assume" in str(caught.value)


async def test_what_aws_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto refuses nobody."""

    async def refused(*_arguments: object, **_parameters: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "arn:… may not"}}, "AssumeRole")

    monkeypatch.setattr("mux.config.ecr_logins._call", refused)
    with pytest.raises(ConfigError, match="AssumeRole was answered with AccessDenied"):
        await registry_logins(event(tmp_path), tmp_path, {})
