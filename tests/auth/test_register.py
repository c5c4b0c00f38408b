"""Entering with the event passcode and a self-chosen name."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from mux.auth import limiter as bounds
from mux.auth.login import NEW_NAME_WAIT_MAX_S, Auth, LoginRefused
from mux.auth.passwords import Passwords
from mux.auth.roster import Roster
from mux.auth.settings import AuthSettings
from mux.core.model import Role
from mux.keys import Keyring
from mux.store.base import User
from mux.store.sql import SqlStore
from tests.auth.conftest import CountingPasswords, Naps

ROOM = "192.0.2.1"
PASSCODE = "open sesame"


async def _register(auth: Auth, name: str, passcode: str = PASSCODE, now: float = 0.0) -> tuple[User, str]:
    return await auth.register(name, passcode, ROOM, seats_left=1000, now=now)


async def _refusal(auth: Auth, name: str, passcode: str = PASSCODE, *, seats_left: int = 100) -> LoginRefused:
    with pytest.raises(LoginRefused) as refused:
        await auth.register(name, passcode, ROOM, seats_left=seats_left, now=0.0)
    return refused.value


async def test_a_newcomer_gets_a_return_code_and_comes_back_with_it(auth: Auth) -> None:
    user, code = await _register(auth, "  Ada   Lovelace ")
    assert (user.name, user.role, user.self_registered) == ("Ada Lovelace", Role.ATTENDEE, True)
    assert await auth.login("ada lovelace", code, ROOM, 0.0) == user


@pytest.mark.parametrize("passcode", ["open sesame", "  open   sesame "])
async def test_spaces_around_the_passcode_do_not_matter(auth: Auth, passcode: str) -> None:
    assert (await _register(auth, "Ada", passcode))[0].name == "Ada"


@pytest.mark.parametrize("passcode", ["", "Open Sesame", "opensesame", "open sesame!", "x" * 10_000, "\ud800"])
async def test_a_wrong_passcode_makes_nobody(auth: Auth, store: SqlStore, passcode: str) -> None:
    assert (await _refusal(auth, "Ada", passcode)).code == "passcode_wrong"
    assert await store.count_users() == 0


async def test_without_a_passcode_only_the_roster_enters(store: SqlStore, keys: Keyring, passwords: Passwords) -> None:
    auth = Auth(store, keys, AuthSettings(), passwords=passwords)
    assert (await _refusal(auth, "Ada", "")).code == "closed"


@pytest.mark.parametrize("name", ["Ada", "ADA", "ａｄａ", " ada ", "a\u0064a"])
async def test_nobody_enters_as_somebody_else(auth: Auth, store: SqlStore, name: str) -> None:
    await _register(auth, "Ada")
    refused = await _refusal(auth, name)
    assert refused.code == "name_taken" and "return code" in refused.text
    assert (await _login_refusal(auth, name, PASSCODE)).code == "wrong"
    assert await store.count_users() == 1


async def _login_refusal(auth: Auth, login: str, secret: str) -> LoginRefused:
    with pytest.raises(LoginRefused) as refused:
        await auth.login(login, secret, ROOM, 0.0)
    return refused.value


async def test_a_roster_entrys_name_or_address_cannot_be_chosen(auth: Auth, roster: Roster) -> None:
    await roster.add("Grace Hopper", "grace@example.org", Role.ORGANIZER, now=0.0)
    assert (await _refusal(auth, "grace hopper")).code == "name_taken"
    assert (await _refusal(auth, "grace@example.org")).code == "name_invalid"


async def test_who_exists_is_told_only_to_those_with_the_passcode(auth: Auth) -> None:
    await _register(auth, "Ada")
    assert (await _refusal(auth, "Ada", "wrong")).code == "passcode_wrong"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "x" * 65,
        "a\x00b",
        "\u202eada",
        "ada\u200b",
        "a\u0300\u0300\u0300\u0300\u0300",
        "---",
        "💥",
    ],
)
async def test_an_unprintable_or_overlong_name_is_refused(auth: Auth, store: SqlStore, name: str) -> None:
    refused = await _refusal(auth, name)
    assert refused.code == "name_invalid" and refused.text
    assert await store.count_users() == 0


@pytest.mark.parametrize("name", ["Zoë", "Łukasz Żółw", "李小龍", "محمد", "Nguyễn Văn A", "O'Brien-Smith 2", "7"])
async def test_names_of_all_languages_are_names(auth: Auth, name: str) -> None:
    assert (await _register(auth, name))[0].name == name


async def test_of_two_who_choose_one_name_at_once_exactly_one_wins(
    auth: Auth, store: SqlStore, keys: Keyring, passwords: Passwords
) -> None:
    # The second Auth has its own lock: only the store's uniqueness stands between them.
    other = Auth(store, keys, auth.settings, passwords=passwords)
    for round_ in range(10):
        results = await asyncio.gather(
            _register(auth, f"name {round_}"), _register(other, f"NAME {round_}"), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, LoginRefused)]
        assert [each.code for each in refused] == ["name_taken"]
    assert await store.count_users() == 10


async def test_names_are_capped_exactly_however_many_come_at_once(
    store: SqlStore, keys: Keyring, passwords: Passwords
) -> None:
    auth = Auth(store, keys, AuthSettings(passcode=PASSCODE, self_registration_max=7), passwords=passwords)
    results = await asyncio.gather(*(_register(auth, f"name {n}") for n in range(30)), return_exceptions=True)
    outcomes = Counter(result.code if isinstance(result, LoginRefused) else "in" for result in results)
    assert outcomes == {"in": 7, "full": 23}
    assert await store.count_users(self_registered=True) == 7


async def test_of_many_who_come_at_once_only_as_many_enter_as_there_are_seats(auth: Auth, store: SqlStore) -> None:
    arrivals = (auth.register(f"name {n}", PASSCODE, ROOM, seats_left=7, now=0.0) for n in range(30))
    results = await asyncio.gather(*arrivals, return_exceptions=True)
    outcomes = Counter(result.code if isinstance(result, LoginRefused) else "in" for result in results)
    assert outcomes == {"in": 7, "full": 23}
    assert await store.count_users() == 7


async def test_without_seats_nobody_new_enters_and_it_says_so(auth: Auth, store: SqlStore) -> None:
    refused = await _refusal(auth, "Ada", seats_left=0)
    assert refused.code == "full" and refused.retry_after_s
    assert await store.count_users() == 0


async def test_new_names_are_paced_by_waiting_then_by_asking_to_come_back(auth: Auth, naps: Naps) -> None:
    # 60 a minute: a minute's worth at once, then one a second.
    for n in range(60 + int(NEW_NAME_WAIT_MAX_S)):
        await _register(auth, f"name {n}")
    assert naps.taken == pytest.approx([float(n) for n in range(1, int(NEW_NAME_WAIT_MAX_S) + 1)])
    refused = await _refusal(auth, "one more")
    assert refused.code == "paced"
    assert refused.retry_after_s == pytest.approx(NEW_NAME_WAIT_MAX_S + 1)
    await _register(auth, "one more", now=2.0)


async def test_a_room_of_300_registers_at_once_at_the_default_pace(
    store: SqlStore, keys: Keyring, passwords: Passwords, naps: Naps
) -> None:
    auth = Auth(store, keys, AuthSettings(passcode=PASSCODE), passwords=passwords, sleep=naps)
    results = await asyncio.gather(*(_register(auth, f"name {n}") for n in range(300)))
    assert len({code for _, code in results}) == 300
    assert naps.taken == []


async def test_guessing_the_passcode_is_limited_by_address_and_right_ones_cost_nothing(auth: Auth) -> None:
    for n in range(20):
        await _register(auth, f"name {n}")
    for _ in range(bounds.ADDRESS_FAILURES):
        assert (await _refusal(auth, "Ada", "wrong")).code == "passcode_wrong"
    refused = await _refusal(auth, "Ada")
    assert refused.code == "limited" and refused.retry_after_s
    user, _ = await auth.register("Ada", PASSCODE, "198.51.100.1", seats_left=1, now=0.0)
    assert user.name == "Ada"


async def test_a_hashed_passcode_is_slow_until_it_was_right_once(
    store: SqlStore, keys: Keyring, passwords: CountingPasswords
) -> None:
    hashed = await passwords.hash(PASSCODE)
    auth = Auth(store, keys, AuthSettings(passcode_hash=hashed), passwords=passwords)
    assert (await _refusal(auth, "Ada", "wrong")).code == "passcode_wrong"
    assert passwords.checks == 1
    await _register(auth, "Ada")
    assert passwords.checks == 2
    await asyncio.gather(*(_register(auth, f"name {n}") for n in range(50)))
    assert (await _refusal(auth, "Bob", "wrong")).code == "passcode_wrong"
    assert passwords.checks == 2


async def test_an_applied_passcode_replaces_the_old_one(auth: Auth) -> None:
    await _register(auth, "Ada")
    auth.configure(AuthSettings(passcode="another"))
    assert (await _refusal(auth, "Bob")).code == "passcode_wrong"
    await _register(auth, "Bob", "another")
    auth.configure(AuthSettings())
    assert (await _refusal(auth, "Cyd", "another")).code == "closed"
