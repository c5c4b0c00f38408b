"""Sessions of attendees and organizers: two audiences that share nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mux.auth.roster import Roster
from mux.auth.sessions import (
    NotAnOrganizerError,
    OrganizerSessions,
    new_session,
    organizer_cookie,
    session_cookie,
    token_hash,
)
from mux.auth.settings import AuthSettings
from mux.core.commands import SaveSession
from mux.core.model import Role
from mux.keys import session_hash
from mux.store.base import User
from mux.store.sql import SqlStore
from tests.auth.conftest import person

SETTINGS = AuthSettings(session_hours=2.0, organizer_session_hours=0.5)


@pytest.fixture
async def organizer(store: SqlStore) -> User:
    user = person("1", "Grace", Role.ORGANIZER, password_hash="$argon2id$")
    await store.save_users([user])
    return user


@pytest.fixture
def sessions(store: SqlStore) -> OrganizerSessions:
    return OrganizerSessions(store, SETTINGS)


def test_an_attendees_session_is_kept_as_a_hash_and_ends_in_time() -> None:
    token, session = new_session(person("1", "Ada"), 100.0, SETTINGS)
    assert session.hash == session_hash(token) == token_hash(token)
    assert token not in session.hash and len(token) >= 43
    assert (session.user, session.expires_at) == ("1", 100.0 + 2 * 3600)
    assert new_session(person("1", "Ada"), 100.0, SETTINGS)[0] != token


def test_cookies_have_names_of_their_own_and_are_bound_to_the_host_on_tls() -> None:
    names = {cookie(secure) for cookie in (session_cookie, organizer_cookie) for secure in (True, False)}
    assert names == {"mux_session", "mux_organizer", "__Host-mux_session", "__Host-mux_organizer"}


@pytest.mark.parametrize("value", ["", "x" * 129, "x" * 100_000])
def test_what_cannot_be_a_token_is_not_hashed(value: str) -> None:
    assert token_hash(value) is None


async def test_an_organizer_is_known_until_the_session_ends(organizer: User, sessions: OrganizerSessions) -> None:
    token, kept = await sessions.start(organizer, 100.0)
    assert kept.hash == session_hash(token) and kept.expires_at == 100.0 + 1800
    assert await sessions.check(token, 1899.0) == organizer
    assert await sessions.check(token, 1900.0) is None


async def test_only_the_hash_is_in_the_database(
    organizer: User, sessions: OrganizerSessions, store: SqlStore, tmp_path: Path
) -> None:
    token, _ = await sessions.start(organizer, 0.0)
    files = b"".join(path.read_bytes() for path in tmp_path.glob("mux.db*"))
    assert token.encode() not in files and session_hash(token).encode() in files


@pytest.mark.parametrize("token", ["", "wrong", "x" * 200, "\ud800", "\x00"])
async def test_what_is_no_token_is_nobodys(organizer: User, sessions: OrganizerSessions, token: str) -> None:
    await sessions.start(organizer, 0.0)
    assert await sessions.check(token, 1.0) is None


async def test_an_attendee_gets_no_organizers_session(sessions: OrganizerSessions, store: SqlStore) -> None:
    ada = person("2", "Ada")
    await store.save_users([ada])
    with pytest.raises(NotAnOrganizerError):
        await sessions.start(ada, 0.0)


async def test_a_token_of_the_attendees_host_opens_nothing_on_the_organizers(
    organizer: User, sessions: OrganizerSessions, store: SqlStore
) -> None:
    token, session = new_session(organizer, 0.0, SETTINGS)
    await store.commit([SaveSession(session)])
    assert await sessions.check(token, 1.0) is None
    other, _ = await sessions.start(organizer, 0.0)
    assert session_hash(other) not in {kept.hash for kept in (await store.load(0.0)).sessions}


async def test_logging_out_ends_one_session_and_only_that(organizer: User, sessions: OrganizerSessions) -> None:
    first, _ = await sessions.start(organizer, 0.0)
    second, _ = await sessions.start(organizer, 0.0)
    await sessions.end(first)
    await sessions.end("x" * 500)
    assert await sessions.check(first, 1.0) is None
    assert await sessions.check(second, 1.0) == organizer
    await sessions.end_all(organizer)
    assert await sessions.check(second, 1.0) is None


async def test_who_loses_the_role_or_the_entry_or_is_reset_is_out_at_once(
    organizer: User, sessions: OrganizerSessions, store: SqlStore, roster: Roster
) -> None:
    token, _ = await sessions.start(organizer, 0.0)
    await store.save_users([replace(organizer, role=Role.ATTENDEE)])
    assert await sessions.check(token, 1.0) is None
    await store.save_users([replace(organizer, role=Role.HELPER)])
    helper = await sessions.check(token, 1.0)
    assert helper is not None and helper.role is Role.HELPER
    await roster.reset("Grace")
    assert await sessions.check(token, 1.0) is None
    again, _ = await sessions.start(organizer, 0.0)
    await roster.remove("Grace")
    assert await sessions.check(again, 1.0) is None


async def test_an_import_that_changes_a_password_ends_the_organizers_sessions(
    organizer: User, sessions: OrganizerSessions, roster: Roster
) -> None:
    token, _ = await sessions.start(organizer, 0.0)
    await roster.import_csv("name,email\nGrace,grace@example.org\n", 0.0)
    assert await sessions.check(token, 1.0) is not None
    await roster.import_csv("name,password\nGrace,another one\n", 0.0)
    assert await sessions.check(token, 1.0) is None


async def test_expired_sessions_do_not_pile_up(organizer: User, sessions: OrganizerSessions, store: SqlStore) -> None:
    old, kept = await sessions.start(organizer, 0.0)
    await sessions.start(organizer, 10_000.0)
    assert await store.organizer_session(kept.hash, 0.0) is None
    assert await sessions.check(old, 0.0) is None
