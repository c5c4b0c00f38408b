"""Logging in with a code or a password."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from argon2 import PasswordHasher
from structlog.testing import capture_logs

from mux.auth import limiter as bounds
from mux.auth.codes import code_hash
from mux.auth.login import LIMITED_LOG_S, Auth, LoginRefused, wait_text
from mux.auth.passwords import PASSWORD_CHARS_MAX, Passwords
from mux.auth.roster import Roster
from mux.auth.settings import AuthSettings
from mux.core.model import Role
from mux.keys import Keyring
from mux.store.base import StoreUnavailableError, User
from mux.store.sql import SqlStore
from tests.auth.conftest import CHEAP, CountingPasswords, Gate, Naps, person

ROOM = "192.0.2.1"


async def _refusal(auth: Auth, login: str, secret: str, peer: str = ROOM, now: float = 0.0) -> LoginRefused:
    with pytest.raises(LoginRefused) as refused:
        await auth.login(login, secret, peer, now)
    return refused.value


async def test_a_code_enters_by_name_address_or_alone(auth: Auth, roster: Roster) -> None:
    user, issued = await roster.add("Ada Lovelace", "ada@example.org", now=0.0)
    assert issued is not None
    for login in ("Ada Lovelace", "ada  LOVELACE", "ADA@example.org", "", "  "):
        for typed in (issued.code, issued.code.lower(), issued.code.replace("-", " "), f" {issued.code} "):
            assert await auth.login(login, typed, ROOM, 0.0) == user


async def test_a_code_does_not_enter_under_somebody_elses_name(auth: Auth, roster: Roster) -> None:
    _, issued = await roster.add("Ada", now=0.0)
    await roster.add("Bob", now=0.0)
    assert issued is not None
    for login in ("Bob", "Nobody"):
        assert (await _refusal(auth, login, issued.code)).code == "wrong"


async def test_a_password_enters_by_name_or_address_but_not_alone(auth: Auth, roster: Roster) -> None:
    user, issued = await roster.add("Ada", "ada@example.org", Role.ORGANIZER, password="correct horse", now=0.0)
    assert issued is None
    for login in ("Ada", "ADA@EXAMPLE.ORG"):
        assert await auth.login(login, "correct horse", ROOM, 0.0) == user
    for login, secret in (("", "correct horse"), ("Ada", "Correct horse"), ("Ada", ""), ("Ada", user.credential)):
        assert (await _refusal(auth, login, secret)).code == "wrong"


async def test_a_code_hash_is_no_secret_to_enter_with(auth: Auth, roster: Roster) -> None:
    user, _ = await roster.add("Ada", now=0.0)
    assert (await _refusal(auth, "Ada", user.credential)).code == "wrong"


async def test_an_entry_without_credential_cannot_enter(auth: Auth, store: SqlStore) -> None:
    await store.save_users([person("1", "Ada")])
    for secret in ("", "none"):
        assert (await _refusal(auth, "Ada", secret)).code == "wrong"


async def test_a_wrong_secret_and_an_unknown_name_look_alike_and_cost_alike(
    auth: Auth, roster: Roster, passwords: CountingPasswords
) -> None:
    await roster.add("With password", password="correct horse", now=0.0)
    await roster.add("With code", now=0.0)
    answers = []
    for login in ("With password", "With code", "Unknown"):
        for secret in ("wrong", "0000-0000-0000-00"):
            passwords.checks = 0
            refused = await _refusal(auth, login, secret)
            answers.append((refused.code, refused.text, refused.retry_after_s, passwords.checks))
    assert set(answers) == {("wrong", answers[0][1], None, 1)}


async def test_the_limit_says_nothing_about_who_exists(auth: Auth, roster: Roster) -> None:
    await roster.add("Ada", "ada@example.org", password="correct horse", now=0.0)

    async def refusals(login: str) -> list[tuple[str, str]]:
        answers = [await _refusal(auth, login, "wrong", peer=f"10.0.0.{len(login)}") for _ in range(15)]
        return [(refused.code, refused.text) for refused in answers]

    known, unknown = await refusals("Ada"), await refusals("Eve")
    assert known == unknown
    # Nor does the address of the same person share a limit with the name, which would show that they belong together.
    by_address = [await _refusal(auth, "ada@example.org", "wrong", peer="10.0.0.3") for _ in range(3)]
    assert [refused.code for refused in by_address] == ["wrong"] * 3


async def test_guessing_is_stopped_and_says_when_to_come_back(auth: Auth, roster: Roster) -> None:
    user, _ = await roster.add("Ada", password="correct horse", now=0.0)
    for _ in range(bounds.PAIR_FAILURES):
        assert (await _refusal(auth, "Ada", "wrong")).code == "wrong"
    refused = await _refusal(auth, "Ada", "correct horse")
    assert refused.code == "limited" and refused.retry_after_s is not None
    assert wait_text(refused.retry_after_s) in refused.text
    later = refused.retry_after_s + 0.001
    assert await auth.login("Ada", "correct horse", ROOM, later) == user


async def test_the_owner_enters_from_elsewhere_while_an_address_guesses(auth: Auth, roster: Roster) -> None:
    user, _ = await roster.add("Ada", password="correct horse", now=0.0)
    for _ in range(bounds.PAIR_FAILURES + 5):
        await _refusal(auth, "Ada", "wrong", peer="203.0.113.9")
    assert await auth.login("Ada", "correct horse", ROOM, 0.0) == user


async def test_the_owner_is_slowed_down_at_most_while_many_addresses_guess(
    auth: Auth, roster: Roster, naps: Naps
) -> None:
    user, _ = await roster.add("Ada", password="correct horse", now=0.0)
    assert await auth.login("Ada", "correct horse", ROOM, 0.0) == user
    for n in range(bounds.ACCOUNT_FAILURES + 10):
        await _refusal(auth, "Ada", "wrong", peer=f"203.0.113.{n}")
    assert naps.taken == [bounds.ACCOUNT_DELAY_S] * 10
    naps.taken.clear()
    assert await auth.login("Ada", "correct horse", ROOM, 0.0) == user
    assert naps.taken == []
    assert await auth.login("Ada", "correct horse", "198.51.100.1", 0.0) == user
    assert naps.taken == [bounds.ACCOUNT_DELAY_S]


async def test_codes_are_checked_whatever_others_behind_the_same_address_did(auth: Auth, roster: Roster) -> None:
    user, issued = await roster.add("Ada", now=0.0)
    assert issued is not None
    for n in range(bounds.ADDRESS_FAILURES + 1):
        await _refusal(auth, f"guess {n // 5}", "wrong")
    assert (await _refusal(auth, "Ada", "wrong")).code == "limited"
    assert await auth.login("Ada", issued.code, ROOM, 0.0) == user


async def test_300_logins_with_codes_at_once_are_cheap_and_all_succeed(
    auth: Auth, roster: Roster, passwords: CountingPasswords
) -> None:
    rows = "\n".join(f"Person {n},p{n}@example.org" for n in range(300))
    result = await roster.import_csv(f"name,email\n{rows}\n", 0.0)
    users = await asyncio.gather(
        *(
            auth.login(issued.name if n % 2 else issued.email, issued.code, ROOM, 0.0)
            for n, issued in enumerate(result.codes)
        )
    )
    assert [user.name for user in users] == [issued.name for issued in result.codes]
    # No password was hashed: that is what would cost 0.1 CPU-seconds each.
    assert passwords.checks == 0


async def test_many_passwords_at_once_wait_in_line_and_all_enter(auth: Auth, roster: Roster) -> None:
    rows = "\n".join(f"Person {n},secret number {n}" for n in range(60))
    await roster.import_csv(f"name,password\n{rows}\n", 0.0)
    users = await asyncio.gather(*(auth.login(f"person {n}", f"secret number {n}", ROOM, 0.0) for n in range(60)))
    assert [user.name for user in users] == [f"Person {n}" for n in range(60)]


async def test_a_full_line_is_busy_and_does_not_count_as_a_failure(store: SqlStore, keys: Keyring) -> None:
    gate = Gate()
    passwords = Passwords(gate, threads=1, queue_max=0)
    auth = Auth(store, keys, AuthSettings(), passwords=passwords)
    await store.save_users([person("1", "Ada", password_hash=CHEAP.hash("correct horse"))])
    first = asyncio.create_task(auth.login("Ada", "correct horse", ROOM, 0.0))
    while gate.inside == 0:
        await asyncio.sleep(0)
    for _ in range(2 * bounds.PAIR_FAILURES):
        refused = await _refusal(auth, "Ada", "wrong")
        assert refused.code == "busy" and refused.retry_after_s
    gate.open.set()
    assert (await first).name == "Ada"
    assert (await _refusal(auth, "Ada", "wrong")).code == "wrong"
    passwords.close()


async def test_one_who_guesses_from_elsewhere_keeps_nobody_out(store: SqlStore, keys: Keyring) -> None:
    gate = Gate()
    passwords = Passwords(gate, threads=1, queue_max=2)
    auth = Auth(store, keys, AuthSettings(), passwords=passwords)
    await store.save_users([person("1", "Ada", password_hash=CHEAP.hash("correct horse"))])
    guesses = [asyncio.create_task(auth.login(f"guess {n}", "wrong", "203.0.113.9", 0.0)) for n in range(5)]
    while sum(guess.done() for guess in guesses) < 2:
        await asyncio.sleep(0)
    owner = asyncio.create_task(auth.login("Ada", "correct horse", ROOM, 0.0))
    while sum(guess.done() for guess in guesses) < 3:
        await asyncio.sleep(0)
    gate.open.set()
    assert (await owner).name == "Ada"
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    codes = [answer.code for answer in answers if isinstance(answer, LoginRefused)]
    assert sorted(codes) == ["busy", "busy", "busy", "wrong", "wrong"]
    passwords.close()


async def test_one_who_hangs_up_has_still_guessed(
    auth: Auth, roster: Roster, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await roster.add("Ada", password="correct horse", now=0.0)
    admitted = asyncio.Event()

    async def never(login: str) -> None:
        admitted.set()
        await asyncio.get_running_loop().create_future()

    with monkeypatch.context() as patch:
        patch.setattr(store, "find_user", never)
        for _ in range(bounds.PAIR_FAILURES):
            guess = asyncio.create_task(auth.login("Ada", "wrong", ROOM, 0.0))
            await admitted.wait()
            admitted.clear()
            guess.cancel()
            await asyncio.gather(guess, return_exceptions=True)
    assert (await _refusal(auth, "Ada", "wrong")).code == "limited"


async def test_what_is_too_long_is_wrong_and_never_hashed(auth: Auth, passwords: CountingPasswords) -> None:
    for login, secret in (("x" * 300, "y"), ("x", "y" * (PASSWORD_CHARS_MAX + 1))):
        assert (await _refusal(auth, login, secret)).code == "wrong"
    assert passwords.checks == 0


async def test_odd_text_is_just_wrong(auth: Auth) -> None:
    for odd in ("\x00", "\ud800", "💥", "' OR 1=1 --", "\u202e"):
        assert (await _refusal(auth, odd, odd, peer=odd)).code == "wrong"


async def test_a_password_of_old_parameters_is_hashed_anew_at_login(auth: Auth, store: SqlStore) -> None:
    old = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash("correct horse")
    await store.save_users([person("1", "Ada", password_hash=old)])
    user = await auth.login("Ada", "correct horse", ROOM, 0.0)
    renewed = await store.user(user.id)
    assert renewed is not None and renewed.credential != old
    assert not auth.passwords.outdated(renewed.credential)
    await auth.login("Ada", "correct horse", ROOM, 0.0)


async def test_a_store_that_is_away_is_no_wrong_password(
    auth: Auth, roster: Roster, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await roster.add("Ada", password="correct horse", now=0.0)

    async def away(login: str) -> User | None:
        raise StoreUnavailableError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "find_user", away)
        for _ in range(2 * bounds.PAIR_FAILURES):
            with pytest.raises(StoreUnavailableError):
                await auth.login("Ada", "correct horse", ROOM, 0.0)
    await auth.login("Ada", "correct horse", ROOM, 0.0)


async def test_a_reset_voids_the_old_code(auth: Auth, roster: Roster) -> None:
    _, old = await roster.add("Ada", now=0.0)
    _, new = await roster.reset("ada")
    assert old is not None
    assert (await _refusal(auth, "Ada", old.code)).code == "wrong"
    assert (await auth.login("Ada", new.code, ROOM, 0.0)).name == "Ada"


async def test_nothing_that_was_typed_is_logged(auth: Auth, roster: Roster) -> None:
    _, issued = await roster.add("Ada", password=None, now=0.0)
    assert issued is not None
    with capture_logs() as logs:
        await auth.login("Ada", issued.code, ROOM, 0.0)
        for _ in range(bounds.PAIR_FAILURES + 1):
            await _refusal(auth, "my-secret-in-the-wrong-field", "hunter2-typed")
        await auth.register("New name", "open sesame", ROOM, seats_left=1, now=0.0)
    text = str(logs)
    for secret in (issued.code, "my-secret", "hunter2", "open sesame", "New name"):
        assert secret not in text
    assert {"login refused", "login limited", "name registered"} <= {entry["event"] for entry in logs}


async def test_who_is_limited_cannot_fill_the_log(auth: Auth) -> None:
    for _ in range(bounds.PAIR_FAILURES):
        await _refusal(auth, "Ada", "a guess")
    with capture_logs() as logs:
        for now in (0.0, 0.0, LIMITED_LOG_S - 1, LIMITED_LOG_S):
            with pytest.raises(LoginRefused):
                await auth.login("Ada", "a guess", ROOM, now)
    assert [(entry["event"], entry["unlogged"]) for entry in logs] == [("login limited", 0), ("login limited", 2)]


def test_no_secret_shows_in_a_repr(keys: Keyring) -> None:
    settings = AuthSettings(passcode="open sesame", passcode_hash="$argon2id$secret")
    user = replace(person("1", "Ada"), credential=code_hash(keys, "7K3MQ9XD2FHTWB") or "")
    assert "sesame" not in repr(settings) and "argon2id" not in repr(settings)
    assert user.credential not in repr(user)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 second"), (1.0, "1 second"), (29.1, "30 seconds"), (99.5, "2 minutes"), (600.0, "10 minutes")],
)
def test_a_wait_is_said_in_words(seconds: float, text: str) -> None:
    assert wait_text(seconds) == text
