"""Tokens of the admin API."""

from __future__ import annotations

import asyncio

import pytest

from mux.auth import tokens as module
from mux.auth.tokens import ApiTokens, TokenRefusedError
from mux.keys import Keyring
from mux.store.sql import SqlStore


@pytest.fixture
def tokens(store: SqlStore, keys: Keyring) -> ApiTokens:
    return ApiTokens(store, keys)


async def test_a_token_has_the_scopes_that_it_was_made_with(tokens: ApiTokens) -> None:
    token = await tokens.mint("grafana", ["roster", "read"], 5.0)
    found = await tokens.check(token)
    assert found is not None
    assert (found.name, found.scopes, found.created_at) == ("grafana", ("read", "roster"), 5.0)


async def test_only_the_hash_is_kept(tokens: ApiTokens, keys: Keyring, store: SqlStore) -> None:
    token = await tokens.mint("ci", ["read"], 0.0)
    kept = (await tokens.all())[0]
    assert token not in kept.hash and token not in repr(kept) and kept.hash not in repr(kept)
    assert await ApiTokens(store, Keyring(b"o" * 32)).check(token) is None
    assert await ApiTokens(store, keys).check(token) == kept


async def test_the_right_one_of_many_is_found(tokens: ApiTokens) -> None:
    minted = {name: await tokens.mint(name, ["read"], 0.0) for name in ("a", "b", "c")}
    assert len(set(minted.values())) == 3
    for name, token in minted.items():
        found = await tokens.check(token)
        assert found is not None and found.name == name


@pytest.mark.parametrize("token", ["", "mux_", "mux_wrong", "wrong", "mux_" + "x" * 200, "mux_ü", "mux_\udc80"])
async def test_what_is_no_token_is_refused(tokens: ApiTokens, token: str) -> None:
    await tokens.mint("ci", ["read"], 0.0)
    assert await tokens.check(token) is None


async def test_a_revoked_token_is_gone(tokens: ApiTokens) -> None:
    token = await tokens.mint("ci", ["read"], 0.0)
    assert await tokens.revoke("ci")
    assert not await tokens.revoke("ci")
    assert await tokens.check(token) is None
    assert await tokens.all() == []


@pytest.mark.parametrize(
    ("name", "scopes", "code"),
    [
        ("", ["read"], "name_invalid"),
        ("a b", ["read"], "name_invalid"),
        ("x" * 41, ["read"], "name_invalid"),
        ("-x", ["read"], "name_invalid"),
        ("new", [], "scope_unknown"),
        ("new", ["read", "admin"], "scope_unknown"),
        ("ci", ["read"], "name_taken"),
    ],
)
async def test_a_token_that_cannot_be_is_refused(tokens: ApiTokens, name: str, scopes: list[str], code: str) -> None:
    await tokens.mint("ci", ["read"], 0.0)
    with pytest.raises(TokenRefusedError) as refused:
        await tokens.mint(name, scopes, 0.0)
    assert refused.value.code == code and refused.value.text
    assert len(await tokens.all()) == 1


async def test_of_two_that_want_one_name_at_once_one_is_minted(tokens: ApiTokens) -> None:
    results = await asyncio.gather(*(tokens.mint("ci", ["read"], 0.0) for _ in range(5)), return_exceptions=True)
    minted = [result for result in results if isinstance(result, str)]
    assert len(minted) == 1
    assert (await tokens.check(minted[0])) is not None


async def test_tokens_are_bounded(tokens: ApiTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENS_MAX", 2)
    for name in ("a", "b"):
        await tokens.mint(name, ["read"], 0.0)
    with pytest.raises(TokenRefusedError) as refused:
        await tokens.mint("c", ["read"], 0.0)
    assert refused.value.code == "too_many"
