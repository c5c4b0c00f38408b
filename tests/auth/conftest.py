"""Auth on a real store, with a cheap hasher and time handed in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from mux.auth.limiter import Limiter
from mux.auth.login import Auth
from mux.auth.passwords import Passwords
from mux.auth.roster import Roster
from mux.auth.settings import AuthSettings
from mux.core.model import Role, UserId
from mux.keys import Keyring
from mux.store.base import User
from mux.store.sql import SqlStore, sqlite_url

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class CountingPasswords(Passwords):
    """The real hasher, which also says how many checks it was asked for."""

    def __init__(self) -> None:
        super().__init__(CHEAP)
        self.checks = 0

    async def verify(self, hashed: str | None, password: str) -> bool:
        self.checks += 1
        return await super().verify(hashed, password)


class Naps:
    """Stands in for sleeping: keeps how long, and goes on at once."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = SqlStore(sqlite_url(tmp_path / "mux.db"), clock=lambda: 0.0)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def keys() -> Keyring:
    return Keyring(b"k" * 32)


@pytest.fixture
def passwords() -> Iterator[CountingPasswords]:
    passwords = CountingPasswords()
    yield passwords
    passwords.close()


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def limiter() -> Limiter:
    return Limiter()


@pytest.fixture
def auth(store: SqlStore, keys: Keyring, passwords: CountingPasswords, limiter: Limiter, naps: Naps) -> Auth:
    settings = AuthSettings(passcode="open sesame", new_names_per_minute=60)
    return Auth(store, keys, settings, passwords=passwords, limiter=limiter, sleep=naps)


@pytest.fixture
def roster(store: SqlStore, keys: Keyring, passwords: CountingPasswords) -> Roster:
    return Roster(store, keys, passwords)


def person(user: str, name: str, role: Role = Role.ATTENDEE, password_hash: str = "") -> User:
    return User(UserId(user), name, "", role, "password" if password_hash else "none", password_hash)
