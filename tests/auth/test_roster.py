"""The roster: import, add, reset, remove, and codes for slips."""

from __future__ import annotations

import asyncio

import pytest

from mux.auth.codes import code_hash, new_code, normalise
from mux.auth.login import Auth
from mux.auth.roster import Roster, RosterRefusedError
from mux.auth.roster_csv import RosterFaultsError
from mux.auth.slips import sheet
from mux.core.commands import SaveSession
from mux.core.model import Role, Session, SessionHash, UserId
from mux.keys import Keyring
from mux.store.base import User
from mux.store.sql import SqlStore
from tests.auth.conftest import CountingPasswords

ROOM = "192.0.2.1"


async def _user(store: SqlStore, login: str) -> User:
    user = await store.find_user(login)
    assert user is not None
    return user


async def test_an_import_makes_codes_and_keeps_only_their_hashes(
    roster: Roster, store: SqlStore, keys: Keyring
) -> None:
    result = await roster.import_csv("name,email,role\nAda,ada@example.org,organizer\nBob,,\n", 5.0)
    assert (result.created, result.updated, result.unchanged, result.revoked) == (2, 0, 0, ())
    assert [(issued.name, issued.role) for issued in result.codes] == [("Ada", Role.ORGANIZER), ("Bob", Role.ATTENDEE)]
    for issued in result.codes:
        user = await _user(store, issued.name)
        assert user.credential == code_hash(keys, issued.code)
        assert (normalise(issued.code) or "none") not in repr(user) + user.credential
        assert (user.created_at, user.self_registered) == (5.0, False)


async def test_importing_again_changes_nothing_and_makes_no_codes(roster: Roster, store: SqlStore) -> None:
    text = f"name,email,role,code,password\nAda,a@example.org,,,\nBob,,helper,,long enough\nCyd,,,{new_code()},\n"
    await roster.import_csv(text, 0.0)
    before = await store.users()
    result = await roster.import_csv(text, 9.0)
    assert (result.created, result.updated, result.unchanged, result.codes, result.revoked) == (0, 0, 3, (), ())
    assert await store.users() == before


async def test_a_row_changes_the_entry_with_its_address_or_name(roster: Roster, store: SqlStore) -> None:
    await roster.import_csv("name,email,role\nAda,ada@example.org,\nBob,,helper\nCyd,,\n", 0.0)
    ids = {user.name: user.id for user in await store.users()}
    result = await roster.import_csv("name,email,role\nAda King,ADA@example.org,\nBOB,bob@example.org,attendee\n", 0.0)
    assert (result.created, result.updated, result.unchanged, result.codes) == (0, 2, 0, ())
    ada, bob = await _user(store, "ada king"), await _user(store, "bob")
    assert (ada.id, ada.email) == (ids["Ada"], "ADA@example.org")
    assert (bob.id, bob.name, bob.email, bob.role) == (ids["Bob"], "BOB", "bob@example.org", Role.ATTENDEE)
    # Bob's rights changed, so his sessions have to end; Ada's name did, which ends nothing.
    assert result.revoked == (bob.id,)
    assert (await _user(store, "Cyd")).id == ids["Cyd"]


async def test_a_new_code_or_password_replaces_the_old_and_names_whose_sessions_end(
    roster: Roster, auth: Auth, store: SqlStore
) -> None:
    first = await roster.import_csv("name\nAda\nBob\nCyd\n", 0.0)
    code = new_code()
    text = f"name,code,password\nAda,{code.lower()},\nBob,,correct horse\nCyd,,\n"
    result = await roster.import_csv(text, 0.0)
    ada, bob = await _user(store, "Ada"), await _user(store, "Bob")
    assert (result.updated, result.unchanged, set(result.revoked)) == (2, 1, {ada.id, bob.id})
    assert await auth.login("Ada", code, ROOM, 0.0) == ada
    assert await auth.login("Bob", "correct horse", ROOM, 0.0) == bob
    assert (await auth.login("Cyd", first.codes[2].code, ROOM, 0.0)).name == "Cyd"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name,email\nBob,ada@example.org\n", "somebody else there"),
        ("name,email\nAda,other@example.org\n", "with another address"),
        ("name,email\nNew,ada@example.org\nAda,\n", "same entry of the roster as line 2"),
        ("name,role\nself made,organizer\n", "with the event passcode"),
        ("name,code\nNew 1,{code}\nNew 2,{code}\n", "share"),
        ("name\nada@example.org\n", "is taken"),
    ],
)
async def test_a_file_that_does_not_fit_the_roster_changes_nothing(
    roster: Roster, auth: Auth, store: SqlStore, text: str, part: str
) -> None:
    await roster.import_csv("name,email\nAda,ada@example.org\nBob,\n", 0.0)
    await auth.register("Self made", "open sesame", ROOM, seats_left=9, now=0.0)
    before = await store.users()
    with pytest.raises(RosterFaultsError, match=part):
        await roster.import_csv(text.format(code=new_code()) + "Someone new\n", 0.0)
    assert await store.users() == before


async def test_a_thousand_people_are_imported_without_hashing_a_password(
    roster: Roster, store: SqlStore, passwords: CountingPasswords
) -> None:
    rows = "".join(f"Person {n},p{n}@example.org\n" for n in range(1000))
    result = await roster.import_csv("name,email\n" + rows, 0.0)
    assert len({issued.code for issued in result.codes}) == 1000 == await store.count_users()
    assert passwords.checks == 0


async def test_one_person_is_added_with_a_code_or_a_password(roster: Roster, auth: Auth) -> None:
    ada, issued = await roster.add(" Ada  Lovelace ", "ada@example.org", Role.HELPER, now=3.0)
    assert issued is not None and (issued.name, issued.role) == ("Ada Lovelace", Role.HELPER)
    assert await auth.login("ada lovelace", issued.code, ROOM, 0.0) == ada
    bob, none = await roster.add("Bob", password="correct horse", now=3.0)
    assert none is None
    assert await auth.login("bob", "correct horse", ROOM, 0.0) == bob


@pytest.mark.parametrize(
    ("person", "code"),
    [
        ({"name": ""}, "invalid"),
        ({"name": "a\u200bb"}, "invalid"),
        ({"name": "New", "email": "no address"}, "invalid"),
        ({"name": "New", "password": "short"}, "invalid"),
        ({"name": "ADA"}, "taken"),
        ({"name": "New", "email": "Ada@Example.org"}, "taken"),
    ],
)
async def test_a_person_who_cannot_be_added_is_refused(
    roster: Roster, store: SqlStore, person: dict[str, str], code: str
) -> None:
    await roster.add("Ada", "ada@example.org", now=0.0)
    with pytest.raises(RosterRefusedError) as refused:
        await roster.add(**person, now=0.0)  # type: ignore[arg-type]
    assert refused.value.code == code and refused.value.text
    assert await store.count_users() == 1


async def test_somebody_is_found_for_reset_and_removal_by_name_address_or_id(roster: Roster, store: SqlStore) -> None:
    ada, _ = await roster.add("Ada", "ada@example.org", now=0.0)
    for login in ("ADA", "ada@example.org", ada.id):
        user, issued = await roster.reset(login)
        assert user.id == ada.id and issued.name == "Ada"
    assert (await roster.remove("ada@example.org")).id == ada.id
    assert await store.users() == []
    for change in (roster.reset, roster.remove):
        with pytest.raises(RosterRefusedError) as refused:
            await change("Ada")
        assert refused.value.code == "not_found"


async def test_resets_at_the_same_time_leave_the_last_code_alone_valid(roster: Roster, auth: Auth) -> None:
    await roster.add("Ada", now=0.0)
    results = await asyncio.gather(*(roster.reset("Ada") for _ in range(10)))
    valid = []
    for _, issued in results:
        try:
            valid.append(await auth.login("Ada", issued.code, ROOM, 0.0))
        except Exception:
            continue
    assert len(valid) == 1


async def test_slips_are_reissued_only_to_attendees_with_a_code_who_never_came(
    roster: Roster, auth: Auth, store: SqlStore
) -> None:
    text = "name,role,password\nCame,,\nNot yet,,\nHelper,helper,\nWith password,,long enough\n"
    first = {issued.name: issued.code for issued in (await roster.import_csv(text, 0.0)).codes}
    _, own = await auth.register("Self made", "open sesame", ROOM, seats_left=9, now=0.0)
    came = await _user(store, "Came")
    await store.commit([SaveSession(Session(SessionHash("s"), came.id, 1.0))])
    result = await roster.reissue()
    assert [issued.name for issued in result.codes] == ["Not yet"]
    assert result.revoked == ((await _user(store, "Not yet")).id,)
    for name in ("Came", "Helper"):
        assert (await auth.login(name, first[name], ROOM, 0.0)).name == name
    assert (await auth.login("Self made", own, ROOM, 0.0)).self_registered
    assert (await auth.login("Not yet", result.codes[0].code, ROOM, 0.0)).name == "Not yet"
    assert await store.find_credential(code_hash(Keyring(b"k" * 32), first["Not yet"]) or "") is None


async def test_reissuing_on_an_empty_roster_is_fine(roster: Roster) -> None:
    assert (await roster.reissue()).codes == ()


async def test_a_sheet_has_a_slip_each_and_nothing_from_outside(roster: Roster) -> None:
    text = 'name,role\n<script>alert(1)</script> Ada,\n"Bob & ""Co""",organizer\n'
    result = await roster.import_csv(text, 0.0)
    html = sheet(
        result.codes,
        event="Camp <2026>",
        address="https://camp.example.org",
        organizer_address="https://admin.example.org",
    )
    assert html.count("https://camp.example.org") == html.count("https://admin.example.org") == 1
    assert html.count('class="slip"') == 2
    for issued in result.codes:
        assert issued.code in html
    assert "<script" not in html and "&lt;script&gt;" in html and "Bob &amp; &quot;Co&quot;" in html
    assert "Camp &lt;2026&gt;" in html and "organizer" in html
    for outside in ("src=", "href=", "url(", "@import"):
        assert outside not in html


async def test_an_id_is_opaque_and_differs(roster: Roster) -> None:
    users = [(await roster.add(f"Person {n}", now=0.0))[0] for n in range(20)]
    assert len({user.id for user in users}) == 20
    assert all(len(user.id) == 16 and user.id.isalnum() for user in users)
    assert isinstance(UserId(users[0].id), str)
