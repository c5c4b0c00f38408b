"""Logins of image registries, from Docker client configurations."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mux.config import ConfigError, EventFile, parse
from mux.config.registry_logins import RegistryLogin, registry_host, registry_logins
from tests.config.files import VALID

HOST = "hub.example.org:5000"
LOGIN = RegistryLogin(HOST, "puller", "pass:word")


def event(tmp_path: Path, *images: str) -> EventFile:
    """Projects of these images, on containers."""
    projects = "".join(
        f'[[project]]\nname = "p{number}"\nimage = "{image}"\n'
        for number, image in enumerate(images or (f"{HOST}/intro",))
    )
    text = (
        '[event]\nname = "camp"\npublic_address = "http://localhost:8000"\nadmin_address = "http://127.0.0.1:8001"\n'
        f'{projects}[fleet]\nruntime = "docker"\nattendees = 1\nseats_per_ship = 1\n'
        '[auth]\nmode = "roster"\n[registry]\nconfig = "registry.json"\n'
    )
    return parse(text, base=tmp_path, environ={}, files=False)


def configured(tmp_path: Path, content: Any) -> None:
    (tmp_path / "registry.json").write_text(content if isinstance(content, str) else json.dumps(content))


def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str = "test") -> None:
    """A credential helper on PATH."""
    program = tmp_path / "bin" / f"docker-credential-{name}"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("entry", [{"auth": auth("puller:pass:word")}, {"username": "puller", "password": "pass:word"}])
@pytest.mark.parametrize("key", [HOST, f"https://{HOST}"])
async def test_a_login_of_docker_login(tmp_path: Path, entry: dict[str, str], key: str) -> None:
    configured(tmp_path, {"auths": {key: entry, "other.example.org": {"auth": auth("nobody:nothing")}}})
    assert await registry_logins(event(tmp_path), tmp_path, {}) == (LOGIN,)


async def test_only_registries_that_images_come_from_are_handed_out(tmp_path: Path) -> None:
    configured(
        tmp_path, {"auths": {name: {"auth": auth("u:p")} for name in ("https://index.docker.io/v1/", HOST, "x.org")}}
    )
    found = await registry_logins(
        event(tmp_path, "jupyter/base", "camp", "localhost/mine", f"{HOST}/a@sha256:{'0' * 64}"), tmp_path, {}
    )
    assert [login.host for login in found] == ["docker.io", HOST]


async def test_the_variable_goes_before_the_file(tmp_path: Path) -> None:
    configured(tmp_path, "no JSON at all")
    given = {"MUX_REGISTRY_AUTH": json.dumps({"auths": {HOST: {"auth": auth("puller:pass:word")}}})}
    assert await registry_logins(event(tmp_path), tmp_path, given) == (LOGIN,)


async def test_nothing_is_taken_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {HOST: {"auth": auth("me:may-push")}}}))
    monkeypatch.setenv("HOME", str(tmp_path))
    file = parse(VALID, base=tmp_path, environ={}, files=False)
    assert await registry_logins(file, tmp_path, dict(os.environ)) == ()


@pytest.mark.parametrize("way", [{"credHelpers": {HOST: "test"}}, {"credsStore": "test", "auths": {HOST: {}}}])
async def test_a_credential_helper_is_asked_for_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]
) -> None:
    answer = json.dumps({"ServerURL": HOST, "Username": "puller", "Secret": "pass:word"})
    helper(tmp_path, monkeypatch, f'[ "$1" = get ] && read host && [ "$host" = {HOST} ] && echo \'{answer}\'')
    configured(tmp_path, way)
    assert await registry_logins(event(tmp_path), tmp_path, {}) == (LOGIN,)


@pytest.mark.parametrize(
    ("script", "why"),
    [("echo a-secret; exit 1", "exit code 1"), ("echo a-secret", "cannot be read"), ("echo '[]'", "cannot be read")],
)
async def test_a_helper_that_fails_is_told_without_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    helper(tmp_path, monkeypatch, script)
    configured(tmp_path, {"credHelpers": {HOST: "test"}})
    with pytest.raises(ConfigError, match=why) as refused:
        await registry_logins(event(tmp_path), tmp_path, {})
    assert "a-secret" not in str(refused.value)


async def test_a_helper_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mux.config.registry_logins.HELPER_S_MAX", 0.2)
    helper(tmp_path, monkeypatch, "exec sleep 600")
    configured(tmp_path, {"credHelpers": {HOST: "test"}})
    with pytest.raises(ConfigError, match="no answer within"):
        await registry_logins(event(tmp_path), tmp_path, {})


@pytest.mark.parametrize(
    "content",
    [
        "a-secret",
        "[]",
        {"auths": {HOST: {"auth": "a-secret"}}},
        {"auths": {HOST: {"auth": auth("a-secret")}}},
        {"credHelpers": {HOST: "../a-secret"}},
        {"credHelpers": {HOST: "not-installed-anywhere"}},
    ],
)
async def test_what_cannot_be_read_is_a_fault_that_quotes_nothing(tmp_path: Path, content: Any) -> None:
    configured(tmp_path, content)
    with pytest.raises(ConfigError, match=r"registry\.config") as refused:
        await registry_logins(event(tmp_path), tmp_path, {})
    assert "a-secret" not in str(refused.value)


def test_the_password_does_not_show() -> None:
    assert "pass:word" not in repr(LOGIN)


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("ubuntu", "docker.io"),
        ("jupyter/base-notebook:2024", "docker.io"),
        ("localhost/mine", "localhost"),
        ("localhost:5000/mine@sha256:00", "localhost:5000"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b:1", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"),
    ],
)
def test_whose_registry_an_image_is_in(reference: str, host: str) -> None:
    assert registry_host(reference) == host
