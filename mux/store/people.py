"""The roster, organizers' sessions, admin tokens and the applied event file, on a SQL database.

Owns their statements. Knows no password, code or token: only hashes pass through.

Rule: a name or an address is taken by its fold, in one table for both kinds, so that nobody's name is somebody else's
address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mux.config.secrets import EVERYBODY
from mux.core.fold import fold
from mux.core.model import ProjectName, Role, SessionHash, UserId
from mux.store import tables as t
from mux.store.base import ApiToken, ConflictError, OrganizerSession, User
from mux.store.database import Database
from mux.store.statements import upsert_rows

CHUNK = 500
"""Keys in one IN (…): far below SQLite's 32,766 and PostgreSQL's 65,535 parameters."""


class People(Database):
    """The part of the store that is about who may enter."""

    # --- the event file ---------------------------------------------------------------------------------------------

    async def applied(self) -> str | None:
        """The event file's text as last applied, or None."""
        return await self._read(lambda connection: connection.scalar(select(t.applied.c.event_file)))

    async def save_applied(
        self,
        text: str,
        secrets: Mapping[ProjectName, Mapping[str, Mapping[str, str]]],
        digests: Mapping[ProjectName, str],
    ) -> None:
        """Keep an applied event file, its secrets and its images' digests, in place of the last ones."""
        plain = {
            project: {who: dict(values) for who, values in attendees.items()} for project, attendees in secrets.items()
        }
        row = {"id": 1, "event_file": text, "secrets": json.dumps(plain), "digests": json.dumps(dict(digests))}
        await self._write(lambda connection: upsert_rows(connection, t.applied, "id", [row]))

    async def secrets(self) -> Mapping[ProjectName, Mapping[str, Mapping[str, str]]]:
        """The secrets last applied: project → attendee's fold or ``*`` → variable → value."""
        text = await self._read(lambda connection: connection.scalar(select(t.applied.c.secrets)))
        secrets: dict[ProjectName, dict[str, dict[str, str]]] = json.loads(text) if text is not None else {}
        return secrets

    async def digests(self) -> Mapping[ProjectName, str]:
        """The image digests last applied, by project."""
        text = await self._read(lambda connection: connection.scalar(select(t.applied.c.digests)))
        digests: dict[ProjectName, str] = json.loads(text) if text is not None else {}
        return digests

    # --- the roster -------------------------------------------------------------------------------------------------

    async def users(self) -> list[User]:
        """The roster, by name."""
        users = await self._users(select(t.users))
        return sorted(users, key=lambda user: (fold(user.name), user.id))

    async def user(self, user: UserId) -> User | None:
        """One entry."""
        if not _storable(user):
            return None
        return _only(await self._users(select(t.users).where(t.users.c.id == user)))

    async def find_user(self, login: str) -> User | None:
        """The entry whose folded name or e-mail address is ``login``, folded the same way."""
        if not _storable(login):
            return None
        joined = select(t.users).join(t.logins, t.logins.c.user_id == t.users.c.id)
        return _only(await self._users(joined.where(t.logins.c.fold == fold(login))))

    async def find_credential(self, credential: str) -> User | None:
        """The entry with exactly this keyed hash of a generated code."""
        wanted = (t.users.c.credential_kind == "code") & (t.users.c.credential == credential)
        return _only(await self._users(select(t.users).where(wanted)))

    async def _users(self, statement: Select[Any]) -> list[User]:
        async def work(connection: AsyncConnection) -> list[User]:
            return [_user(row) for row in await connection.execute(statement)]

        return await self._read(work)

    async def save_users(self, users: Sequence[User]) -> None:
        """Insert or replace entries, all or none.

        Raises:
            ConflictError: ``key`` is the name or address that is taken, or ``code`` when two entries share one.
        """
        if not users:
            return
        _refuse_doubles(users)
        owners = {login: user.id for user in users for login in logins_of(user)}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                delete(t.logins).where(t.logins.c.user_id == bindparam("gone")), [{"gone": user.id} for user in users]
            )
            if taken := await _taken(connection, owners):
                raise ConflictError(f"{_as_written(users, taken)!r} is taken", key=_as_written(users, taken))
            await upsert_rows(connection, t.users, "id", [_user_row(user) for user in users])
            rows = [{"fold": login, "user_id": owner} for login, owner in owners.items()]
            await connection.execute(insert(t.logins), rows)

        try:
            await self._write(work)
        except ConflictError as error:
            if error.key:
                raise
            raise ConflictError("two entries of the roster have the same code", key="code") from error

    async def remove_users(self, users: Sequence[UserId]) -> None:
        """Delete entries, and with them the organizers' sessions of each; unknown ids are ignored."""
        if users:
            statement = delete(t.users).where(t.users.c.id == bindparam("gone"))
            rows = [{"gone": user} for user in users]
            await self._write(lambda connection: connection.execute(statement, rows))

    async def remove_everybody(self) -> list[UserId]:
        """Delete the whole roster, organizers' sessions and single attendees' secrets, and overwrite where they were.

        Raises StoreUnavailableError also when all is deleted, but not overwritten yet: call it again.
        """

        async def work(connection: AsyncConnection) -> list[UserId]:
            gone = [UserId(user) for user in await connection.scalars(select(t.users.c.id))]
            for table in (t.logins, t.organizer_sessions, t.users):
                await connection.execute(delete(table))
            if (secrets := await connection.scalar(select(t.applied.c.secrets))) is not None:
                await connection.execute(update(t.applied).values(secrets=json.dumps(_nobodys(json.loads(secrets)))))
            return gone

        gone = await self._write(work)
        await self._scrub()
        return gone

    async def count_users(self, *, self_registered: bool | None = None) -> int:
        """How many entries there are, all or of one origin."""
        statement = select(func.count()).select_from(t.users)
        if self_registered is not None:
            statement = statement.where(t.users.c.self_registered.is_(self_registered))
        return await self._read(lambda connection: connection.scalar(statement)) or 0

    async def swap_credential(self, user: UserId, was: str, credential: str) -> bool:
        """Replace a credential of the same kind, if it is still ``was``; False when it is not."""
        same = (t.users.c.id == user) & (t.users.c.credential == was)
        statement = update(t.users).where(same).values(credential=credential)
        result = await self._write(lambda connection: connection.execute(statement))
        return result.rowcount > 0

    async def seen_users(self) -> frozenset[UserId]:
        """Everybody who ever had a session."""

        async def work(connection: AsyncConnection) -> frozenset[UserId]:
            return frozenset(UserId(user) for user in await connection.scalars(select(t.seen.c.user_id)))

        return await self._read(work)

    # --- organizers' sessions ---------------------------------------------------------------------------------------

    async def organizer_session(self, session: SessionHash, now: float) -> tuple[OrganizerSession, User] | None:
        """The session and whose it is, as the roster says now; None when there is none or it has expired."""
        joined = select(
            t.users, t.organizer_sessions.c.hash.label("session"), t.organizer_sessions.c.expires_at.label("expires_at")
        ).join(t.organizer_sessions, t.organizer_sessions.c.user_id == t.users.c.id)
        valid = (t.organizer_sessions.c.hash == session) & (t.organizer_sessions.c.expires_at > now)

        async def work(connection: AsyncConnection) -> tuple[OrganizerSession, User] | None:
            row = (await connection.execute(joined.where(valid))).one_or_none()
            if row is None:
                return None
            return OrganizerSession(SessionHash(row.session), UserId(row.id), row.expires_at), _user(row)

        return await self._read(work)

    async def save_organizer_session(self, session: OrganizerSession) -> None:
        """Insert a session. Raises ConflictError when the roster has no such entry."""
        row = {"hash": session.hash, "user_id": session.user, "expires_at": session.expires_at}
        await self._write(lambda connection: upsert_rows(connection, t.organizer_sessions, "hash", [row]))

    async def remove_organizer_sessions(
        self, *, session: SessionHash | None = None, user: UserId | None = None, expired_at: float | None = None
    ) -> None:
        """Delete one session, all of one person's, or those that have expired; each argument adds to what goes."""
        table = t.organizer_sessions
        conditions = []
        if session is not None:
            conditions.append(table.c.hash == session)
        if user is not None:
            conditions.append(table.c.user_id == user)
        if expired_at is not None:
            conditions.append(table.c.expires_at <= expired_at)

        async def work(connection: AsyncConnection) -> None:
            for condition in conditions:
                await connection.execute(delete(table).where(condition))

        await self._write(work)

    # --- admin tokens -----------------------------------------------------------------------------------------------

    async def tokens(self) -> list[ApiToken]:
        """Admin API tokens, by name."""

        async def work(connection: AsyncConnection) -> list[ApiToken]:
            rows = await connection.execute(select(t.api_tokens).order_by(t.api_tokens.c.name))
            return [ApiToken(row.name, row.hash, tuple(json.loads(row.scopes)), row.created_at) for row in rows]

        return await self._read(work)

    async def save_token(self, token: ApiToken) -> None:
        """Insert a token. Raises ConflictError when the name is taken."""
        row = {
            "name": token.name,
            "hash": token.hash,
            "scopes": json.dumps(list(token.scopes)),
            "created_at": token.created_at,
        }
        try:
            await self._write(lambda connection: connection.execute(insert(t.api_tokens), [row]))
        except ConflictError as error:
            raise ConflictError(f"there is a token named {token.name!r}", key=token.name) from error

    async def remove_token(self, name: str) -> bool:
        """Delete a token; False when there was none."""
        statement = delete(t.api_tokens).where(t.api_tokens.c.name == name)
        result = await self._write(lambda connection: connection.execute(statement))
        return result.rowcount > 0


def logins_of(user: User) -> set[str]:
    """The folds under which an entry is found."""
    return {folded for text in (user.name, user.email) if (folded := fold(text))}


def _refuse_doubles(users: Iterable[User]) -> None:
    owners: dict[str, UserId] = {}
    for user in users:
        for text in (user.name, user.email):
            if (folded := fold(text)) and owners.setdefault(folded, user.id) != user.id:
                raise ConflictError(f"{text!r} is given twice", key=text)


async def _taken(connection: AsyncConnection, owners: Mapping[str, UserId]) -> str | None:
    """The first of these folds that somebody else has; run after the entries' own were deleted."""
    folds = list(owners)
    for start in range(0, len(folds), CHUNK):
        statement = select(t.logins.c.fold).where(t.logins.c.fold.in_(folds[start : start + CHUNK])).limit(1)
        if (taken := await connection.scalar(statement)) is not None:
            return str(taken)
    return None


def _as_written(users: Iterable[User], folded: str) -> str:
    return next(text for user in users for text in (user.name, user.email) if fold(text) == folded)


def _user_row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": user.role.value,
        "credential_kind": user.credential_kind,
        "credential": user.credential,
        "self_registered": user.self_registered,
        "created_at": user.created_at,
    }


def _user(row: Any) -> User:
    return User(
        id=UserId(row.id),
        name=row.name,
        email=row.email,
        role=Role(row.role),
        credential_kind=row.credential_kind,
        credential=row.credential,
        self_registered=row.self_registered,
        created_at=row.created_at,
    )


def _nobodys(secrets: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of applied secrets those that are everybody's: the others are by the names or addresses of attendees."""
    return {
        project: {who: values for who, values in attendees.items() if who == EVERYBODY}
        for project, attendees in secrets.items()
    }


def _storable(text: str) -> bool:
    """Whether a database can hold this at all: SQLite takes no lone surrogates, PostgreSQL no NUL either."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _only(users: Sequence[User]) -> User | None:
    return users[0] if users else None
