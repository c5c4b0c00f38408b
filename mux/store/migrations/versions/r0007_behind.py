"""How old the files are that moved attendees came back to.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Make the table; a database without its rows is one where nobody is to be told anything."""
    op.create_table(
        "behind",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("ages", sa.Text, nullable=False),
    )
