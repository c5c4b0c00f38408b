"""Bringing a database to today's schema.

Owns the run of the packaged alembic revisions, without alembic's configuration file: it works from an installed wheel.
The caller holds the transaction, and with it the write lock, so that of two processes that open a new database one
migrates and the other finds it done.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from mux.store.faults import StoreNewerError

SCRIPTS = Path(__file__).parent / "migrations"


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
