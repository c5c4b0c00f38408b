"""Bringing a database to today's schema.

Owns the run of the packaged alembic revisions, without alembic's configuration file: it works from an installed wheel.
The caller holds the transaction, and with it the write lock, so that of two processes that open a new database one
migrates and the other finds it done. A database that is up to date costs one look: alembic takes a quarter of a second
to load, which at the restart of a mux somebody waits for.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from mux.store.faults import StoreNewerError

SCRIPTS = Path(__file__).parent / "migrations"
HEAD = max(path.name[1:5] for path in SCRIPTS.glob("versions/r[0-9]*.py"))
"""The newest revision: files are named by theirs."""


def migrate(connection: Connection, place: str) -> tuple[str | None, str]:
    """Run the revisions that are missing (alembic, "Sharing a Connection across programmatic migration commands").

    Args:
        connection: inside a write transaction.
        place: the database, as shown to people.

    Returns:
        The revision found (None in a new database) and the revision reached.

    Raises:
        StoreNewerError: the database's revision is not one of ours.
    """
    if _revision(connection) == HEAD:
        return HEAD, HEAD
    return _upgraded(connection, place)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgraded(connection: Connection, place: str) -> tuple[str | None, str]:
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    known = [script.revision for script in scripts.walk_revisions()]
    head = known[0]
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in known:
        raise StoreNewerError(
            f"{place}: the database is of a newer mux (schema {found}; this one knows up to {head}); "
            "start that version again, or restore a backup made by this one"
        )
    if found != head:
        command.upgrade(config, "head")
    return found, head
