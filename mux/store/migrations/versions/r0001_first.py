"""The first schema.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Make every table."""
    _core_tables()
    _people_tables()


def _core_tables() -> None:
    op.create_table(
        "ships",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("terminated_at", sa.Double),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "assignments",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("ship", sa.Text, nullable=False),
        sa.Column("seat", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("ship", "seat", name="assignments_seat"),
    )
    op.create_table(
        "epochs",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_table(
        "waiting",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
    )
    op.create_table("seen", sa.Column("user_id", sa.Text, primary_key=True))
    op.create_table(
        "controls",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("doors", sa.Text, nullable=False),
        sa.Column("doors_opened", sa.Boolean, nullable=False),
        sa.Column("launching", sa.Boolean, nullable=False),
        sa.Column("ships_made", sa.BigInteger, nullable=False),
        sa.Column("turns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "applied",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_file", sa.Text, nullable=False),
        sa.Column("secrets", sa.Text, nullable=False),
        sa.Column("digests", sa.Text, nullable=False),
    )


def _people_tables() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("credential_kind", sa.Text, nullable=False),
        sa.Column("credential", sa.Text, nullable=False),
        sa.Column("self_registered", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index(
        "users_code",
        "users",
        ["credential"],
        unique=True,
        sqlite_where=sa.text("credential_kind = 'code'"),
        postgresql_where=sa.text("credential_kind = 'code'"),
    )
    op.create_table(
        "logins",
        sa.Column("fold", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    )
    op.create_table(
        "organizer_sessions",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_table(
        "api_tokens",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
