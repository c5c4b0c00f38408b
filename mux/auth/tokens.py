"""Tokens of the admin API.

Owns their form, scopes and check. A token is shown once, when it is minted; its keyed hash is kept.

Rule: default deny. A token may do what its scopes name, and no scope includes another.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable

from mux.keys import Keyring
from mux.store.base import ApiToken, ConflictError, Store

SCOPES = ("read", "fleet", "roster", "apply", "files")
PREFIX = "mux_"
"""Lets people, and scanners for leaked secrets, see what it is."""
TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 128
TOKENS_MAX = 100
"""All are compared at each check. Nobody looks after more."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class TokenRefusedError(Exception):
    """No such token. ``code`` says why: ``name_invalid``, ``name_taken``, ``scope_unknown``, ``too_many``."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class ApiTokens:
    """Mints, checks and revokes.

    Args:
        store: keeps the hashes.
        keys: for the keyed hash.
    """

    def __init__(self, store: Store, keys: Keyring) -> None:
        self._store = store
        self._keys = keys

    async def mint(self, name: str, scopes: Iterable[str], now: float) -> str:
        """A fresh token, shown once.

        Args:
            name: what it is for, e.g. ``grafana``; unique.
            scopes: out of :data:`SCOPES`, at least one.
            now: seconds since the epoch.

        Raises:
            TokenRefusedError: its code says why.
        """
        wanted = set(scopes)
        if _NAME.fullmatch(name) is None:
            text = "A token's name has 1 to 40 letters, digits, dots, dashes or underscores."
            raise TokenRefusedError("name_invalid", text)
        if not wanted or (unknown := sorted(wanted - set(SCOPES))):
            found = ", ".join(unknown)[:80] if wanted else "none"
            raise TokenRefusedError("scope_unknown", f"Scopes are {', '.join(SCOPES)}; found {found}.")
        if len(await self._store.tokens()) >= TOKENS_MAX:
            raise TokenRefusedError("too_many", f"There are {TOKENS_MAX} tokens already; revoke some first.")
        token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        kept = tuple(scope for scope in SCOPES if scope in wanted)
        try:
            await self._store.save_token(ApiToken(name, self._hash(token), kept, now))
        except ConflictError as error:
            raise TokenRefusedError("name_taken", f"There is a token named {name} already; revoke it first.") from error
        return token

    async def check(self, token: str) -> ApiToken | None:
        """Which token this is, or None. Every kept hash is compared, each in constant time."""
        if len(token) > TOKEN_CHARS_MAX or not token.isascii() or not token.startswith(PREFIX):
            return None
        hashed = self._hash(token)
        found: ApiToken | None = None
        for kept in await self._store.tokens():
            if hmac.compare_digest(kept.hash, hashed):
                found = kept
        return found

    async def all(self) -> list[ApiToken]:
        """All tokens, by name; without their secrets, which nobody has."""
        return await self._store.tokens()

    async def revoke(self, name: str) -> bool:
        """Delete a token; False when there was none."""
        return await self._store.remove_token(name)

    def _hash(self, token: str) -> str:
        return self._keys.mac("api-token", token).hex()
