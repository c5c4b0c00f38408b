"""What organizers tell everybody.

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Make the table; a database without its row is one where nothing was told."""
    op.create_table(
        "broadcast",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("broadcast", sa.Text, nullable=False),
        sa.Column("broadcast_at", sa.Double, nullable=False),
    )
