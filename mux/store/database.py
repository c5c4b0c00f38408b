"""A database's connections and transactions, and how it is opened.

Owns the engine. Knows no table; `sql.py` and `people.py` say what is read and written.

Rules:
- A write is one transaction that takes the write lock at its start (BEGIN IMMEDIATE): it never fails halfway because
  somebody else wrote in between. Writes of one process wait for each other here, first come, first served, those of
  another process in SQLite's busy handler.
- A write that has begun is finished, even if its caller is cancelled.
- However many reads there are, the writer finds a connection: the engine persists with it, and must not wait for pages.
- A confirmed write survives the loss of power: WAL with synchronous=FULL, which costs one fsync for each transaction
  (0.1–10 ms, by disk). That is why the engine commits in batches.
- The database file is 0600; SQLite gives its WAL and shared-memory files the same mode.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mux.store.base import StoreError, StoreUnavailableError
from mux.store.faults import DAMAGED_TEXT, StoreDamagedError, StoreUnwritableError, translate
from mux.store.migrate import migrate

log = structlog.get_logger(__name__)

BUSY_TIMEOUT_MS = 10_000
"""How long a write waits for another process's: far longer than any of ours takes, shorter than a person's patience."""
READERS_MAX = 3
"""Reads at once, beside the one write; what comes on top waits in the order in which it came. Each is a thread."""
READ_WAIT_S = 10.0
"""How long a read waits for its turn: thousands are over by then, and whoever waits for a page is told to come back."""

DRIVER_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError, UnicodeError, OverflowError)
"""What comes out of SQLAlchemy and the drivers; the last two for values that no database can hold."""

_T = TypeVar("_T")


class Database:
    """Transactions on one database.

    Args:
        url: of the database, as SQLAlchemy writes it.
        clock: seconds since the epoch.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._url = make_url(url)
        self._place = self._url.database or self._url.render_as_string(hide_password=True)
        self._clock = clock
        self._engine: AsyncEngine | None = None
        self._turn = asyncio.Lock()
        self._reading = asyncio.Semaphore(READERS_MAX)
        self._writes: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Create or migrate the schema, and check that the database is whole.

        Raises:
            StoreError: its code says whether the database is newer than mux, damaged, or cannot be written.
        """
        if self._url.get_backend_name() == "sqlite":
            _make_private(Path(self._place))
        self._engine = _engine(self._url)
        try:
            await self._write(lambda connection: connection.run_sync(self._prepare))
        except BaseException:
            await self.close()
            raise

    def _prepare(self, connection: Connection) -> None:
        if connection.dialect.name == "sqlite":
            problem = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
            if problem != "ok":
                raise StoreDamagedError(f"{self._place}: {DAMAGED_TEXT} ({problem})")
        found, reached = migrate(connection, self._place)
        if found != reached:
            log.info("store migrated", place=self._place, found=found, reached=reached)

    async def close(self) -> None:
        """Finish the writes that have begun, and let go."""
        if self._writes:
            await asyncio.wait(self._writes)
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    async def _read(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        try:
            async with asyncio.timeout(READ_WAIT_S):
                await self._reading.acquire()
        except TimeoutError:
            raise StoreUnavailableError(f"{self._place}: too much is asked of it at once; try again") from None
        try:
            async with self._opened().connect() as connection:
                return await work(connection)
        except DRIVER_ERRORS as error:
            raise translate(error, self._place) from error
        finally:
            self._reading.release()

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        task = asyncio.create_task(self._transaction(work), name="store-write")
        self._writes.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    def _written(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            # Fetched here so that a failed write whose caller was cancelled does not end in asyncio's warning.
            task.exception()

    async def _transaction(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        async with self._turn:
            try:
                async with self._opened().execution_options(mux_write=True).begin() as connection:
                    return await work(connection)
            except DRIVER_ERRORS as error:
                raise translate(error, self._place) from error

    async def _scrub(self) -> None:
        """Leave nothing in SQLite's files of what was deleted: they are written anew, and the log is emptied.

        A PostgreSQL server writes over it by itself, in its own time. Raises StoreUnavailableError while a reader
        needs the log.
        """
        if self._url.get_backend_name() != "sqlite":
            return
        async with self._turn:
            try:
                async with self._opened().connect() as connection:
                    # Neither may stand in a transaction, which SQLAlchemy would begin.
                    driver: Any = (await connection.get_raw_connection()).driver_connection
                    await driver.execute("VACUUM")
                    async with driver.execute("PRAGMA wal_checkpoint(TRUNCATE)") as cursor:
                        (busy, *_) = await cursor.fetchone()
            except DRIVER_ERRORS as error:
                raise translate(error, self._place) from error
        if busy:
            raise StoreUnavailableError(f"{self._place}: the log is in use and still has what was deleted; try again")

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise StoreError(f"{self._place}: the store is not open")
        return self._engine


def _engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=READERS_MAX + 1, max_overflow=0, pool_timeout=BUSY_TIMEOUT_MS / 1000)
    if url.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", _sqlite_connected)
        event.listen(engine.sync_engine, "begin", _sqlite_begin)
    return engine


def _sqlite_connected(connection: Any, _record: Any) -> None:
    # No implicit BEGIN of the driver's: transactions begin in _sqlite_begin, around DDL as well.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("mux_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _make_private(path: Path) -> None:
    """Make the file (0600) and its directory (0700) when there are none: SQLite's own would be readable by others."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StoreUnwritableError(
            f"{path}: {error.strerror}; mux must be able to write this file and make files in its directory"
        ) from error
