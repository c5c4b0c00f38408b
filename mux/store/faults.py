"""What a database driver's errors mean to the store's callers.

Owns the translation, and the kinds of StoreError beyond the protocol's. Knows SQLite's result codes
(https://www.sqlite.org/rescode.html) and PostgreSQL's SQLSTATEs (PostgreSQL manual, appendix A).

Rule: whether trying again can help is decided here, once, and is a property of the error.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from mux.store.base import ConflictError, StoreError, StoreUnavailableError


class StoreDamagedError(StoreError):
    """The database is not one, or parts of it cannot be read. Restore it from a backup."""

    code = "store_damaged"


class StoreNewerError(StoreError):
    """The database was migrated by a later version of mux."""

    code = "store_newer"


class StoreUnwritableError(StoreUnavailableError):
    """The database's file or directory cannot be read, written or made. A mux that runs waits until it can be again."""

    code = "store_unwritable"


_SQLITE_PASSING = {
    sqlite3.SQLITE_BUSY: "another process holds the database's lock; try again",
    sqlite3.SQLITE_LOCKED: "the database is locked; try again",
    sqlite3.SQLITE_FULL: "the disk is full, nothing was written; make room, mux goes on by itself",
    sqlite3.SQLITE_IOERR: "the disk could not be read or written, nothing was written; look at the system's log",
    sqlite3.SQLITE_NOMEM: "out of memory, nothing was written",
}
_SQLITE_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}

# Connection trouble, too many connections or disk full, lock and serialisation trouble, shutdown.
_SQLSTATE_PASSING = ("08", "53", "40", "55P03", "57P")

DAMAGED_TEXT = "the database is damaged; stop mux, keep the file for examination, and restore the last backup"


def translate(error: BaseException, place: str) -> StoreError:
    """The StoreError that a driver's error amounts to.

    Args:
        error: of SQLAlchemy or of the driver.
        place: the database, as shown to people; holds no password.
    """
    if isinstance(error, StoreError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(error, IntegrityError) or isinstance(cause, sqlite3.IntegrityError):
        return ConflictError(f"{place}: {cause}", key="")
    number = getattr(cause, "sqlite_errorcode", None)
    if isinstance(number, int):
        return _from_sqlite(number & 0xFF, cause, place)
    sqlstate = getattr(cause, "sqlstate", None)
    if isinstance(sqlstate, str) and sqlstate.startswith(_SQLSTATE_PASSING):
        return StoreUnavailableError(f"{place}: {cause}; try again")
    if isinstance(cause, OSError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return StoreUnavailableError(f"{place}: {cause}; try again")
    if isinstance(error, NoConnectionError):
        return StoreUnavailableError(f"{place}: every connection to it is in use; try again")
    if isinstance(error, UnicodeError | OverflowError):
        return StoreError(f"{place}: a value cannot be stored ({type(error).__name__})")
    return StoreError(f"{place}: {cause}")


def _from_sqlite(number: int, cause: BaseException, place: str) -> StoreError:
    if text := _SQLITE_PASSING.get(number):
        return StoreUnavailableError(f"{place}: {text}")
    if number in _SQLITE_DAMAGED:
        return StoreDamagedError(f"{place}: {DAMAGED_TEXT} ({cause})")
    if number in _SQLITE_UNWRITABLE:
        return StoreUnwritableError(
            f"{place}: {cause}; mux must be able to write this file and make files in its directory"
        )
    return StoreError(f"{place}: {cause}")
