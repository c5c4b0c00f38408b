"""Wishes to start files over of attendees who have no seat to carry them out on.

How the wish of a workspace ended stands in the ships' records, which are JSON.

Revision: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Make the table; a database without its rows is one where no wish waits."""
    op.create_table(
        "wishes",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("paths", sa.Text, nullable=False),
    )
