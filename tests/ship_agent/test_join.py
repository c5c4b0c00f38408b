"""Join information and the agent's key on disk."""

from __future__ import annotations

import errno
import json
import os
import stat
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ship_agent.join import JOIN_BYTES_MAX, Join, JoinError, agent_key, read_join, write_join

JOIN = Join(
    ship="ship-0001",
    event="Data Camp 2026",
    control_url="wss://mux.example:8443/control",
    ca_pem="-----BEGIN CERTIFICATE-----\n",
    join_token="the-join-token",
    runtime="process",
    boot="0c9e6f0e-1111-2222-3333-444455556666",
)


def written(tmp_path: Path, **changes: object) -> Path:
    """``join.json`` with some fields altered."""
    path = tmp_path / "join.json"
    write_join(path, JOIN)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_join(tmp_path / "join.json", JOIN)
    assert read_join(tmp_path / "join.json") == JOIN


def test_the_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_join(tmp_path / "join.json", JOIN)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "join.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["join.json"]


def test_the_join_token_does_not_show() -> None:
    assert "the-join-token" not in repr(JOIN)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "join.json"
    write_join(path, JOIN)
    path.chmod(mode)
    with pytest.raises(JoinError, match="chmod 600"):
        read_join(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_that_nobody_else_may_read_is_taken(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "join.json"
    write_join(path, JOIN)
    path.chmod(mode)
    assert read_join(path) == JOIN


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": 2}, "version 1"),
        ({"version": None}, "version 1"),
        ({"ship": ""}, "ship is missing"),
        ({"join_token": None}, "join_token is missing"),
        ({"boot": 5}, "boot is missing"),
        ({"ship": "../etc"}, "not a valid name"),
        ({"ship": "ship-0001\n"}, "not a valid name"),
        ({"runtime": "Docker!"}, "not a valid name"),
        ({"control_url": "http://mux.example/control"}, "control_url"),
        ({"control_url": "ws://mux.example/control"}, "control_url"),
        ({"control_url": "wss:///control"}, "control_url"),
        ({"control_url": "wss://user@mux.example/control"}, "control_url"),
        ({"control_url": "wss://mux.example:99999/control"}, "control_url"),
        ({"control_url": "wss://[::1/control"}, "control_url"),
    ],
)
def test_wrong_join_information_is_one_line_that_names_the_field(
    tmp_path: Path, changes: dict[str, object], text: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(JoinError, match=text) as caught:
        read_join(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "null", '{"join_token": "the-join-token"', "\ufffd", '{"version": 1}'])
def test_damaged_join_information_is_one_line_without_its_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "join.json"
    write_join(path, JOIN)
    path.write_text(content)
    with pytest.raises(JoinError) as caught:
        read_join(path)
    assert "the-join-token" not in "".join(traceback.format_exception(caught.value))


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, extra="x" * JOIN_BYTES_MAX)
    with pytest.raises(JoinError, match="more than"):
        read_join(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(JoinError, match=r"join\.json: No such file"):
        read_join(tmp_path / "join.json")


def test_writing_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "join.json"
    write_join(path, JOIN)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JoinError, match="No space left"):
        write_join(path, replace(JOIN, boot="another"))
    assert read_join(path) == JOIN
    assert [each.name for each in tmp_path.iterdir()] == ["join.json"]


def test_the_agents_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    first = agent_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert agent_key(path).private_bytes_raw() == first.private_bytes_raw()
    assert agent_key(tmp_path / "other.key").private_bytes_raw() != first.private_bytes_raw()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"x" * 10_000])
def test_a_damaged_key_is_one_line_and_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.key"
    agent_key(path)
    path.write_bytes(content)
    with pytest.raises(JoinError):
        agent_key(path)
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    agent_key(path)
    other = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(JoinError, match="not an Ed25519 key"):
        agent_key(path)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    agent_key(path)
    path.chmod(0o644)
    with pytest.raises(JoinError, match="chmod 600"):
        agent_key(path)
