"""The schema's history, for alembic: one file a revision under ``versions``, the same for SQLite and PostgreSQL."""
