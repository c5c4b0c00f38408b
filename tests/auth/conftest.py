"""Auth on a real store, with a cheap hasher and time handed in."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import pytest
from argon2 import PasswordHasher

from mux.auth.limiter import Limiter
from mux.auth.line import Asker
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

    async def verify(self, hashed: str | None, password: str, asker: Asker | None = None) -> bool:
        self.checks += 1
        return await super().verify(hashed, password, asker)


class Gate(PasswordHasher):
    """A hasher that stands still until it is let go, and counts how many stand at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.open = threading.Event()
        self.inside = 0
        self.inside_max = 0
        self._lock = threading.Lock()

    def _pass(self) -> None:
        with self._lock:
            self.inside += 1
            self.inside_max = max(self.inside_max, self.inside)
        self.open.wait(30)
        with self._lock:
            self.inside -= 1

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self._pass()
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - argon2-cffi's name
        self._pass()
        return super().verify(hash, password)


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
