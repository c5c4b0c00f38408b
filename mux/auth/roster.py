"""The roster: who may enter, kept by organizers.

Owns import, adding, resetting, removing, and the making of codes. What is in a file is `roster_csv.py`'s, printing
`slips.py`'s. Only hashes are kept, so a code can be shown at the moment when it is made and never again.

Rules:
- Everything or nothing: an import that has a fault changes nothing.
- A row that says nothing about the credential leaves an existing one as it is.
- A name that an attendee chose with the event passcode is never taken over by a file: whoever chose it would
  inherit the row's role.
- Attendees' sessions are the core's and are not ended here. Each result names whose have to be: the caller sends
  `UserRevoked` for each. Organizers' sessions end here, with the change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from mux.auth.codes import code_hash, new_code
from mux.auth.login import new_user_id
from mux.auth.names import clean, email_fault, name_fault
from mux.auth.passwords import Passwords
from mux.auth.roster_csv import (
    IssuedCode,
    RosterFault,
    RosterFaultsError,
    RosterRow,
    parse,
    password_fault,
)
from mux.core.fold import fold
from mux.core.model import Role, UserId
from mux.keys import Keyring
from mux.store.base import ConflictError, CredentialKind, Store, User

log = structlog.get_logger(__name__)

HASHES_AT_ONCE = 4
"""Passwords of an import that stand in the hashers' queue at once: logins of the same minute go on in between."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Args:
        created: entries that are new.
        updated: entries that changed.
        unchanged: entries that were so already.
        codes: those that were made now, in the order of the file.
        revoked: whose credential or role changed: their sessions have to end.
    """

    created: int
    updated: int
    unchanged: int
    codes: tuple[IssuedCode, ...] = ()
    revoked: tuple[UserId, ...] = ()


class RosterRefusedError(Exception):
    """A change of the roster was refused. ``code``: ``not_found``, ``taken``, ``invalid``."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Roster:
    """The roster of one event.

    Args:
        store: keeps it.
        keys: for the keyed hashes of codes.
        passwords: shared with the logins, since its queue is the bound.
    """

    def __init__(self, store: Store, keys: Keyring, passwords: Passwords) -> None:
        self._store = store
        self._keys = keys
        self._passwords = passwords
        self._changing = asyncio.Lock()

    async def users(self) -> Sequence[User]:
        """Everybody, by name."""
        return await self._store.users()

    async def import_csv(self, text: str, now: float) -> ImportResult:
        """Take a roster file in.

        Args:
            text: CSV, see `roster_csv.py`; of bytes, :func:`mux.auth.roster_csv.decode` makes it.
            now: seconds since the epoch.

        Raises:
            RosterFaultsError: with everything that is wrong; nothing was changed.
            Busy: too many passwords are being checked elsewhere; nothing was changed.
        """
        rows = parse(text)
        async with self._changing:
            matches = _match(rows, await self._store.users())
            issued: list[IssuedCode] = []
            entries = await self._entries(rows, matches, issued, now)
            changed = [entry for entry, old in zip(entries, matches, strict=True) if entry != old]
            try:
                await self._store.save_users(changed)
            except ConflictError as error:
                fault = RosterFault(0, f"{error}; two people cannot share a name, an address or a code")
                raise RosterFaultsError([fault]) from error
        created = sum(old is None for old in matches)
        revoked = tuple(
            old.id
            for entry, old in zip(entries, matches, strict=True)
            if old is not None and (entry.credential, entry.role) != (old.credential, old.role)
        )
        for user in revoked:
            await self._store.remove_organizer_sessions(user=user)
        result = ImportResult(created, len(changed) - created, len(rows) - len(changed), tuple(issued), revoked)
        log.info("roster imported", created=result.created, updated=result.updated, unchanged=result.unchanged)
        return result

    async def _entries(
        self, rows: Sequence[RosterRow], matches: Sequence[User | None], issued: list[IssuedCode], now: float
    ) -> Sequence[User]:
        entries: list[User] = []
        for start in range(0, len(rows), HASHES_AT_ONCE):
            pairs = zip(rows[start : start + HASHES_AT_ONCE], matches[start : start + HASHES_AT_ONCE], strict=True)
            entries.extend(await asyncio.gather(*(self._entry(row, old, now) for row, old in pairs)))
        for position, made in enumerate(entries):
            if made.credential_kind == "none":
                code = new_code()
                entries[position] = replace(made, credential_kind="code", credential=self._hash(code))
                issued.append(IssuedCode(made.name, made.email, made.role, code))
        return entries

    async def _entry(self, row: RosterRow, old: User | None, now: float) -> User:
        """What a row makes of an entry; with no credential where a code must be made."""
        if old is None:
            blank = User(new_user_id(), row.name, row.email, Role.ATTENDEE, "none", "", created_at=now)
        else:
            blank = replace(old, name=row.name, email=row.email or old.email)
        kind, credential = await self._credential(row, old)
        return replace(blank, role=row.role or blank.role, credential_kind=kind, credential=credential)

    async def _credential(self, row: RosterRow, old: User | None) -> tuple[CredentialKind, str]:
        if row.code:
            return "code", self._hash(row.code)
        if not row.password:
            return ("none", "") if old is None else (old.credential_kind, old.credential)
        kept = old.credential if old is not None and old.credential_kind == "password" else None
        if kept is not None and await self._passwords.verify(kept, row.password):
            return "password", kept
        return "password", await self._passwords.hash(row.password)

    async def add(
        self, name: str, email: str = "", role: Role = Role.ATTENDEE, *, password: str | None = None, now: float
    ) -> tuple[User, IssuedCode | None]:
        """Take one person in, with a password or, without one, a code that is made now.

        Raises:
            RosterRefusedError: ``invalid`` or ``taken``.
            Busy: too many passwords are being checked.
        """
        name, email = clean(name), email.strip()
        fault = name_fault(name) or (email_fault(email) if email else "")
        if fault or (password is not None and (fault := password_fault(password))):
            raise RosterRefusedError("invalid", fault)
        user = User(new_user_id(), name, email, role, "none", "", created_at=now)
        async with self._changing:
            issued = None
            if password is None:
                user, issued = self._with_code(user)
            else:
                hashed = await self._passwords.hash(password)
                user = replace(user, credential_kind="password", credential=hashed)
            try:
                await self._store.save_users([user])
            except ConflictError as error:
                raise RosterRefusedError("taken", f"{error}; choose another, or reset the entry that has it") from error
        log.info("roster entry added", user=user.id, role=role.value)
        return user, issued

    async def reset(self, login: str) -> tuple[User, IssuedCode]:
        """Give somebody a new code; the old code or password is void. The caller ends the sessions.

        Args:
            login: name, e-mail address or id.

        Raises:
            RosterRefusedError: ``not_found``.
        """
        async with self._changing:
            user, issued = self._with_code(await self._one(login))
            await self._store.save_users([user])
        await self._store.remove_organizer_sessions(user=user.id)
        log.info("roster entry reset", user=user.id)
        return user, issued

    async def remove(self, login: str) -> User:
        """Take somebody out. The caller ends the sessions.

        Args:
            login: name, e-mail address or id.

        Raises:
            RosterRefusedError: ``not_found``.
        """
        async with self._changing:
            user = await self._one(login)
            await self._store.remove_users([user.id])
        log.info("roster entry removed", user=user.id)
        return user

    async def remove_all(self) -> Sequence[UserId]:
        """Take everybody out, organizers too: names and addresses are gone. The caller ends the sessions."""
        async with self._changing:
            gone = await self._store.remove_everybody()
        log.info("roster emptied", count=len(gone))
        return gone

    async def reissue(self) -> ImportResult:
        """New codes for every attendee who has never logged in and has a code: for printing slips a second time.

        Codes printed before are void for these people; nobody else is touched, nor are passwords.
        """
        async with self._changing:
            seen = await self._store.seen_users()
            renewed = [
                self._with_code(user)
                for user in await self._store.users()
                if user.role is Role.ATTENDEE
                and user.credential_kind == "code"
                and not user.self_registered
                and user.id not in seen
            ]
            await self._store.save_users([user for user, _ in renewed])
        log.info("codes reissued", count=len(renewed))
        return ImportResult(0, len(renewed), 0, tuple(issued for _, issued in renewed), tuple(u.id for u, _ in renewed))

    async def _one(self, login: str) -> User:
        user = await self._store.find_user(login) or await self._store.user(UserId(login))
        if user is None:
            raise RosterRefusedError("not_found", f"the roster has no {login[:80]!r}; see: mux roster list")
        return user

    def _with_code(self, user: User) -> tuple[User, IssuedCode]:
        code = new_code()
        changed = replace(user, credential_kind="code", credential=self._hash(code))
        return changed, IssuedCode(user.name, user.email, user.role, code)

    def _hash(self, code: str) -> str:
        hashed = code_hash(self._keys, code)
        if hashed is None:
            raise RosterRefusedError("invalid", "this cannot be one of mux's codes")
        return hashed


def _match(rows: Sequence[RosterRow], users: Sequence[User]) -> Sequence[User | None]:
    """The entry that each row is about: the one with its address, else the one with its name, else None.

    Raises:
        RosterFaultsError: a row does not fit the roster.
    """
    names = {fold(user.name): user for user in users}
    emails = {fold(user.email): user for user in users if user.email}
    faults: list[RosterFault] = []
    matches: list[User | None] = []
    taken: dict[UserId, int] = {}
    for row in rows:
        by_email, by_name = emails.get(fold(row.email)), names.get(fold(row.name))
        old = by_email or by_name
        if old is not None:
            if text := _misfit(row, by_email, by_name):
                faults.append(RosterFault(row.line, text))
            elif (line := taken.setdefault(old.id, row.line)) != row.line:
                faults.append(RosterFault(row.line, f"this is the same entry of the roster as line {line}"))
        matches.append(old)
    if faults:
        raise RosterFaultsError(faults)
    return matches


def _misfit(row: RosterRow, by_email: User | None, by_name: User | None) -> str:
    if any(user is not None and user.self_registered for user in (by_email, by_name)):
        return f"{row.name!r} was chosen by somebody with the event passcode; remove that entry, or write another name"
    if by_email is not None and by_name is not None and by_email.id != by_name.id:
        return f"the address is in the roster already, but {row.name!r} is somebody else there"
    if by_email is None and by_name is not None and row.email and by_name.email:
        return (
            f"the roster has a {row.name!r} with another address; add something to the name if this is somebody else, "
            "or remove the old entry first if it is not"
        )
    return ""
