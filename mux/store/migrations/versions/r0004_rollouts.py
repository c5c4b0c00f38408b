"""Rollouts, and workspaces that have an image to go back to.

The latter stands in the ships' records, which are JSON.

Revision: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Make the table; a database without its rows is one where nothing was ever pushed."""
    op.create_table(
        "rollouts",
        sa.Column("project", sa.Text, primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
    )
