"""What is derived from the root key: stable, separate, and not forgeable."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mux.core.model import ShipId, UserId, WorkspaceId
from mux.keys import KeyFileError, Keyring, new_session_token, session_hash

KEYS = Keyring(b"k" * 32)


def test_the_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "root.key"
    first = Keyring.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keyring.open(path).join_token(ShipId("ship-0001")) == first.join_token(ShipId("ship-0001"))


def test_a_key_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(KeyFileError, match="mux needs to read and write it"):
        Keyring.open(tmp_path / "keys" / "root.key")


def test_a_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(KeyFileError, match="5 bytes"):
        Keyring(b"short")


@given(st.lists(st.text(max_size=5), max_size=3), st.lists(st.text(max_size=5), max_size=3))
def test_two_lists_of_parts_never_have_one_mac(first: list[str], second: list[str]) -> None:
    assert (KEYS.mac("label", *first) == KEYS.mac("label", *second)) == (first == second)


def test_a_token_for_one_purpose_is_none_for_another() -> None:
    assert KEYS.workspace_token(WorkspaceId("x")) != KEYS.join_token(ShipId("x"))
    assert not KEYS.join_token_ok(ShipId("ship-0001"), KEYS.join_token(ShipId("ship-0002")))
    assert KEYS.join_token_ok(ShipId("ship-0001"), KEYS.join_token(ShipId("ship-0001")))


@given(st.text(max_size=40), st.text(max_size=10), st.integers(0, 99), st.integers(0, 99))
def test_a_receipt_says_what_it_is_of_and_nobody_else_writes_it(event: str, user: str, seat: int, epoch: int) -> None:
    said = (event, UserId(user), ShipId("ship-0001"), seat, epoch)
    receipt = KEYS.receipt(*said)
    payload, _, mac = receipt.rpartition("|")
    assert payload.split("|")[-1] == str(epoch)
    other = Keyring(b"o" * 32).receipt(*said)
    assert other.rpartition("|")[0] == payload
    assert other.rpartition("|")[2] != mac
    assert KEYS.receipt(*said[:4], epoch + 1).rpartition("|")[2] != mac


def test_form_tokens_belong_to_one_browser_and_one_purpose() -> None:
    token = KEYS.form_token("browser", "login")
    assert KEYS.form_token_ok("browser", token, "login")
    assert not KEYS.form_token_ok("another", token, "login")
    assert not KEYS.form_token_ok("browser", token, "logout")


def test_session_tokens_have_256_bits_and_only_their_hash_is_kept() -> None:
    token = new_session_token()
    assert len(token) >= 43
    assert token != new_session_token()
    assert len(session_hash(token)) == 64
    assert token not in session_hash(token)
