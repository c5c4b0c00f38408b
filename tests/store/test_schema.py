"""The migrations and the tables agree, and both are SQL that PostgreSQL takes too."""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from mux.store import tables
from mux.store.migrate import HEAD, SCRIPTS
from mux.store.sql import SqlStore, sqlite_url
from mux.store.statements import upsert

REVISIONS = sorted(path.stem for path in (SCRIPTS / "versions").glob("r*.py"))


def test_revisions_follow_each_other_as_their_files_names_do() -> None:
    modules = [import_module(f"mux.store.migrations.versions.{name}") for name in REVISIONS]
    assert [module.revision for module in modules] == [name[1:5] for name in REVISIONS]
    assert [module.down_revision for module in modules] == [None, *(module.revision for module in modules[:-1])]
    assert modules[-1].revision == HEAD


async def test_a_migrated_database_has_exactly_the_tables(tmp_path: Path) -> None:
    store = SqlStore(sqlite_url(tmp_path / "mux.db"))
    await store.open()
    await store.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'mux.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        seats = inspect(connection).get_unique_constraints("assignments")
        assert [constraint["column_names"] for constraint in seats] == [["ship", "seat"]]
        codes = inspect(connection).get_indexes("users")
        assert [(index["name"], bool(index["unique"])) for index in codes] == [("users_code", True)]
    engine.dispose()


def _revision_sql(dialect: str) -> str:
    out = io.StringIO()
    context = MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True, "output_buffer": out})
    with Operations.context(context):
        for name in REVISIONS:
            import_module(f"mux.store.migrations.versions.{name}").upgrade()
    return out.getvalue()


def _words(sql: str) -> set[str]:
    return {" ".join(statement.split()) for statement in sql.split(";") if statement.strip()}


def test_the_revision_is_the_same_schema_on_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    wanted = [str(CreateTable(table).compile(dialect=dialect)) for table in tables.metadata.sorted_tables]
    wanted += [
        str(CreateIndex(index).compile(dialect=dialect))
        for table in tables.metadata.sorted_tables
        for index in table.indexes
    ]
    assert _words(_revision_sql("postgresql")) == _words(";".join(wanted))


def test_the_revision_names_no_type_of_one_database_alone() -> None:
    sql = _revision_sql("postgresql")
    assert "DOUBLE PRECISION" in sql and "BIGINT" in sql
    assert not any(word in sql for word in ("SERIAL", "JSON", "DATETIME", "BLOB"))


def test_upserts_are_spelled_for_each_database() -> None:
    for dialect in (postgresql.dialect(), sqlite.dialect()):  # type: ignore[no-untyped-call]
        sql = str(upsert(dialect, tables.waiting, "user_id").compile(dialect=dialect))
        assert "ON CONFLICT (user_id) DO UPDATE SET turn = excluded.turn, since = excluded.since" in sql


def test_the_revisions_lie_inside_the_package() -> None:
    assert REVISIONS[0] == "r0001_first"
    assert [name[:5] for name in REVISIONS] == [f"r{number:04d}" for number in range(1, len(REVISIONS) + 1)]
    assert (SCRIPTS / "env.py").is_file()
