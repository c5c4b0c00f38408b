"""Chosen passwords: argon2id behind a bounded line."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest
from argon2 import PasswordHasher

from mux.auth.passwords import HOUSE, Busy, Passwords
from tests.auth.conftest import CHEAP, Gate

NICEST = 19
"""Nothing is nicer than that: sched(7)."""


async def test_a_password_is_right_or_wrong(passwords: Passwords) -> None:
    hashed = await passwords.hash("päss word")
    assert hashed.startswith("$argon2id$")
    assert await passwords.verify(hashed, "päss word")
    assert not await passwords.verify(hashed, "pass word")
    assert not await passwords.verify(hashed, "")


async def test_nobodys_password_is_never_right(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "anything")
    assert not await passwords.verify("not a hash", "anything")


async def test_nobodys_password_is_checked_with_the_same_parameters() -> None:
    hasher = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    passwords = Passwords(hasher)
    await passwords.verify(None, "anything")
    assert passwords._dummy is not None and not hasher.check_needs_rehash(passwords._dummy)
    passwords.close()


async def test_a_hash_of_other_parameters_is_outdated() -> None:
    passwords = Passwords(CHEAP)
    assert not passwords.outdated(CHEAP.hash("x"))
    assert passwords.outdated(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash("x"))
    assert passwords.outdated("not a hash")
    passwords.close()


async def test_checks_wait_in_line_and_beyond_the_line_it_is_busy() -> None:
    gate = Gate()
    passwords = Passwords(gate, threads=2, queue_max=3)
    running = [asyncio.create_task(passwords.hash(f"{n}")) for n in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Busy) as busy:
        await passwords.hash("one more")
    assert busy.value.retry_after_s >= 1
    gate.open.set()
    assert len(set(await asyncio.gather(*running))) == 5
    assert gate.inside_max <= 2
    assert await passwords.hash("there is room again")
    passwords.close()


async def test_a_cancelled_check_keeps_its_place_until_its_thread_is_done() -> None:
    gate = Gate()
    passwords = Passwords(gate, threads=1, queue_max=1)
    first = asyncio.create_task(passwords.hash("first"))
    while gate.inside == 0:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    waiting = asyncio.create_task(passwords.hash("second"))
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await passwords.hash("third")
    gate.open.set()
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    assert await waiting
    assert gate.inside_max == 1
    passwords.close()


async def test_one_who_gives_up_waiting_leaves_the_line() -> None:
    gate = Gate()
    passwords = Passwords(gate, threads=1, queue_max=1)
    first = asyncio.create_task(passwords.hash("first"))
    second = asyncio.create_task(passwords.hash("second"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = asyncio.create_task(passwords.hash("third"))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, third)
    passwords.close()


async def test_who_waits_is_sent_away_when_it_ends() -> None:
    gate = Gate()
    passwords = Passwords(gate, threads=1)
    first = asyncio.create_task(passwords.hash("first"))
    second = asyncio.create_task(passwords.hash("second"))
    await asyncio.sleep(0)
    gate.open.set()
    passwords.close()
    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(answers[0], str) and isinstance(answers[1], asyncio.CancelledError)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a niceness of their own on Linux alone")
async def test_checks_stand_back_behind_everything_else(passwords: Passwords) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    assert await passwords._run(niceness, HOUSE) > before or before == NICEST
    assert niceness() == before
