"""Ships may keep work of attendees who were moved away.

The tables stay as they are: that stands in the ships' records, which are JSON. The revision is there to stop an older
mux from opening the database: it would not know of the work, and would have the ships destroy it.

Revision: 0002
"""

from __future__ import annotations

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Change nothing."""
