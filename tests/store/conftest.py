"""Backends of the store's conformance suite: a test that asks for ``backend`` runs on each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mux.store.sql import SqlStore, sqlite_url


class Backend:
    """One database; every :meth:`store` is another program's view of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: list[SqlStore] = []

    async def store(self, clock: Callable[[], float] = lambda: 0.0) -> SqlStore:
        store = SqlStore(self.url, clock=clock)
        await store.open()
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


@pytest.fixture(params=["sqlite"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    backend = Backend(sqlite_url(tmp_path / "mux.db"))
    yield backend
    await backend.close()


@pytest.fixture
async def store(backend: Backend) -> SqlStore:
    return await backend.store()
