"""How many seats are wanted, and what has been spent.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Make the tables; a database without their rows is one where nobody has said anything and nothing was spent."""
    op.create_table(
        "warming",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("parked", sa.Boolean, nullable=False),
        sa.Column("target_seats", sa.BigInteger),
        sa.Column("target_at", sa.Double, nullable=False),
        sa.Column("target_by", sa.Double, nullable=False),
        sa.Column("begun_for", sa.Double, nullable=False),
        sa.Column("begun_at", sa.Double, nullable=False),
        sa.Column("boot_s", sa.Double, nullable=False),
        sa.Column("spend_allowed", sa.Double),
    )
    op.create_table(
        "spend",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("spent", sa.Double, nullable=False),
        sa.Column("ship_seconds", sa.Double, nullable=False),
        sa.Column("ships", sa.BigInteger, nullable=False),
        sa.Column("rate_micros", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
