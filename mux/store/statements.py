"""Statements that SQLite and PostgreSQL share the spelling of, but SQLAlchemy keeps in each dialect: upserts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

Upserting = sqlite.Insert | postgresql.Insert


def upserting(dialect: Dialect, table: Table) -> Upserting:
    """An INSERT that takes ON CONFLICT clauses, for the dialect of a connection."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)


def upsert(dialect: Dialect, table: Table, key: str) -> Upserting:
    """Insert rows, or replace all other columns of those whose ``key`` is there already."""
    statement = upserting(dialect, table)
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name != key}
    return statement.on_conflict_do_update(index_elements=[key], set_=others)


async def upsert_rows(connection: AsyncConnection, table: Table, key: str, rows: Sequence[dict[str, Any]]) -> None:
    """Carry out :func:`upsert` for many rows at once."""
    if rows:
        await connection.execute(upsert(connection.dialect, table, key), rows)
