"""The tables, as SQLAlchemy sees them today.

Owns the shape that statements are written against. The migrations own how a database gets there; a test holds the two
together. Types are those that SQLite and PostgreSQL share: 64-bit integers, doubles, text.

Rules: a seat belongs to one attendee; a folded name or e-mail address belongs to one roster entry, and no entry's name
is another's address (`logins` holds both kinds); a generated code belongs to one entry. Nothing refers to a roster
entry by foreign key but what must end with it: the core's records outlive an entry until the core lets them go.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

ships = Table(
    "ships",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    # Set when the ship was first saved as terminated; seconds since the epoch.
    Column("terminated_at", Double),
    # The whole record as JSON (see records.py): it is read and written as a whole, never searched.
    Column("record", Text, nullable=False),
)

assignments = Table(
    "assignments",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("ship", Text, nullable=False),
    Column("seat", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    UniqueConstraint("ship", "seat", name="assignments_seat"),
)

epochs = Table(
    "epochs",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
)

waiting = Table(
    "waiting",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("turn", BigInteger, nullable=False),
    Column("since", Double, nullable=False),
)

seen = Table(
    "seen",
    metadata,
    # Everybody who ever had a session: whose slip of paper is no longer needed.
    Column("user_id", Text, primary_key=True),
)

controls = Table(
    "controls",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("doors", Text, nullable=False),
    Column("doors_opened", Boolean, nullable=False),
    Column("launching", Boolean, nullable=False),
    Column("ships_made", BigInteger, nullable=False),
    Column("turns", BigInteger, nullable=False),
)

# What belongs to the controls and has to do with how many seats are wanted.
warming = Table(
    "warming",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("paused", Boolean, nullable=False),
    Column("parked", Boolean, nullable=False),
    Column("target_seats", BigInteger),
    Column("target_at", Double, nullable=False),
    Column("target_by", Double, nullable=False),
    Column("begun_for", Double, nullable=False),
    Column("begun_at", Double, nullable=False),
    Column("boot_s", Double, nullable=False),
    Column("spend_allowed", Double),
)

# What belongs to the controls and is told to everybody.
broadcast = Table(
    "broadcast",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("broadcast", Text, nullable=False),
    Column("broadcast_at", Double, nullable=False),
)

spend = Table(
    "spend",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("spent", Double, nullable=False),
    Column("ship_seconds", Double, nullable=False),
    Column("ships", BigInteger, nullable=False),
    Column("rate_micros", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("project", Text, primary_key=True),
    # The whole record as JSON (see records.py).
    Column("record", Text, nullable=False),
)

# Wishes to start over of those who have no workspace to carry them out.
wishes = Table(
    "wishes",
    metadata,
    Column("user_id", Text, primary_key=True),
    # By project, as JSON (see records.py).
    Column("paths", Text, nullable=False),
)

# How old the files are that moved attendees came back to, as long as they are told.
behind = Table(
    "behind",
    metadata,
    Column("user_id", Text, primary_key=True),
    # By project, as JSON (see records.py).
    Column("ages", Text, nullable=False),
)

applied = Table(
    "applied",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("event_file", Text, nullable=False),
    Column("secrets", Text, nullable=False),
    Column("digests", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("credential_kind", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("self_registered", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
)
Index(
    "users_code",
    users.c.credential,
    unique=True,
    sqlite_where=text("credential_kind = 'code'"),
    postgresql_where=text("credential_kind = 'code'"),
)

logins = Table(
    "logins",
    metadata,
    Column("fold", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
)

organizer_sessions = Table(
    "organizer_sessions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", Double, nullable=False),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("name", Text, primary_key=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)
