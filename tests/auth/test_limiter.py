"""Failures are limited; time is handed in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mux.auth import limiter as bounds
from mux.auth.limiter import Buckets, Limited, Limiter
from mux.core.forwarded import address_key


def _fail(limiter: Limiter, account: str, address: str, now: float = 0.0) -> float:
    """One failed attempt; returns how long it was held back."""
    attempt = limiter.admit(account, address, now)
    limiter.failed(attempt)
    return attempt.delay_s


def _drain(limiter: Limiter, account: str, address: str, now: float = 0.0) -> int:
    """Fail until refused; returns how many attempts were let through."""
    for count in range(100_000):
        try:
            _fail(limiter, account, address, now)
        except Limited:
            return count
    raise AssertionError("never refused")


# --- buckets --------------------------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_then_says_how_long_to_wait() -> None:
    buckets = Buckets(3, 0.5)
    assert [buckets.take("k", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]
    assert buckets.take("k", 11.0) == pytest.approx(1.0)
    assert buckets.take("k", 12.0) == 0.0
    assert buckets.take("other", 10.0) == 0.0


def test_a_bucket_never_holds_more_than_its_size() -> None:
    buckets = Buckets(2, 1.0)
    buckets.take("k", 0.0)
    assert [buckets.take("k", 1e9) for _ in range(3)] == [0.0, 0.0, 1.0]
    for _ in range(9):
        buckets.give_back("k", 1e9)
    assert [buckets.take("k", 1e9) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_a_debt_is_paid_in_order() -> None:
    buckets = Buckets(1, 2.0)
    assert [buckets.draw("k", 0.0) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    buckets.give_back("k", 0.0)
    assert buckets.draw("k", 0.0) == 1.5


def test_the_keys_are_bounded_and_the_least_recent_one_goes_first() -> None:
    buckets = Buckets(1, 0.001, keys_max=3)
    for key in "abc":
        buckets.take(key, 0.0)
    buckets.take("a", 0.0)
    buckets.take("d", 0.0)
    assert len(buckets) == 3
    assert buckets.take("a", 0.0) > 0
    assert buckets.take("b", 0.0) == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans()), max_size=60))
def test_no_clock_gives_more_than_the_burst_and_the_refill(steps: list[tuple[float, bool]]) -> None:
    buckets = Buckets(5, 0.1)
    given_, latest = 0, 0.0
    for now, _ in steps:
        latest = max(latest, now)
        given_ += buckets.take("k", now) == 0.0
    assert given_ <= 5 + latest * 0.1 + 1e-6


def test_full_buckets_are_not_remembered() -> None:
    buckets = Buckets(2, 1.0)
    buckets.take("k", 0.0)
    buckets.give_back("k", 0.0)
    assert len(buckets) == 0


# --- attempts -------------------------------------------------------------------------------------------------------


def test_guessing_at_one_account_from_one_address_stops_and_goes_on_slowly() -> None:
    limiter = Limiter()
    assert _drain(limiter, "ada", "10.0.0.1") == bounds.PAIR_FAILURES
    assert _drain(limiter, "ada", "10.0.0.1", now=3600.0) <= 3600 * bounds.PAIR_REFILL_PER_S
    with pytest.raises(Limited) as limited:
        limiter.admit("ada", "10.0.0.1", 3600.0)
    assert 0 < limited.value.retry_after_s <= 1 / bounds.PAIR_REFILL_PER_S


def test_the_owner_elsewhere_is_not_locked_out() -> None:
    limiter = Limiter()
    _drain(limiter, "ada", "10.0.0.1")
    attempt = limiter.admit("ada", "10.0.0.2", 0.0)
    assert attempt.delay_s == 0.0


def test_many_addresses_that_guess_at_one_account_are_slowed_down_and_its_owner_never_stopped() -> None:
    limiter = Limiter()
    home = limiter.admit("ada", "192.0.2.1", 0.0)
    limiter.succeeded(home, 0.0)
    delays = [_fail(limiter, "ada", f"10.0.0.{n}") for n in range(bounds.ACCOUNT_FAILURES + 20)]
    assert delays == [0.0] * bounds.ACCOUNT_FAILURES + [bounds.ACCOUNT_DELAY_S] * 20
    assert limiter.admit("ada", "192.0.2.1", 0.0).delay_s == 0.0
    assert limiter.admit("ada", "192.0.2.2", 0.0).delay_s == bounds.ACCOUNT_DELAY_S
    assert limiter.admit("bob", "10.0.0.1", 0.0).delay_s == 0.0


def test_a_room_behind_one_address_may_mistype_but_not_without_end() -> None:
    limiter = Limiter()
    for name in range(300):
        for _ in range(2):
            _fail(limiter, f"user-{name}", "192.0.2.1")
    with pytest.raises(Limited) as limited:
        limiter.admit("another", "192.0.2.1", 0.0)
    assert limited.value.retry_after_s <= 1 / bounds.ADDRESS_REFILL_PER_S
    assert limiter.admit("another", "192.0.2.2", 0.0).delay_s == 0.0


def test_what_succeeds_costs_nothing() -> None:
    limiter = Limiter()
    for _ in range(5 * bounds.ADDRESS_FAILURES):
        limiter.succeeded(limiter.admit("ada", "192.0.2.1", 0.0), 0.0)
    assert _drain(limiter, "ada", "192.0.2.1") == bounds.PAIR_FAILURES


def test_what_was_not_looked_at_costs_nothing() -> None:
    limiter = Limiter()
    for _ in range(100):
        limiter.undone(limiter.admit("ada", "192.0.2.1", 0.0), 0.0)
    assert _drain(limiter, "ada", "192.0.2.1") == bounds.PAIR_FAILURES


def test_attempts_under_way_count_as_failures_until_they_succeed() -> None:
    limiter = Limiter()
    attempts = [limiter.admit("ada", "192.0.2.1", 0.0) for _ in range(bounds.PAIR_FAILURES)]
    with pytest.raises(Limited):
        limiter.admit("ada", "192.0.2.1", 0.0)
    limiter.succeeded(attempts[0], 0.0)
    limiter.admit("ada", "192.0.2.1", 0.0)


def test_the_number_of_attempts_that_are_slowed_down_is_bounded_and_comes_back() -> None:
    limiter = Limiter()
    for n in range(bounds.ACCOUNT_FAILURES):
        _fail(limiter, "ada", f"a{n}")
    slow = [limiter.admit("ada", f"b{n}", 0.0) for n in range(bounds.DELAYED_MAX)]
    with pytest.raises(Limited):
        limiter.admit("ada", "c", 0.0)
    assert limiter.admit("bob", "c", 0.0).delay_s == 0.0
    limiter.failed(slow[0])
    limiter.failed(slow[0])
    limiter.admit("ada", "c", 0.0)
    with pytest.raises(Limited):
        limiter.admit("ada", "d", 0.0)


def test_state_is_bounded_whatever_names_are_tried() -> None:
    limiter = Limiter(keys_max=100)
    for n in range(1000):
        limiter.succeeded(limiter.admit(f"user-{n}", f"10.0.{n}", 0.0), 0.0)
        _fail(limiter, f"nobody-{n}", f"10.1.{n}")
    parts = (limiter._pairs, limiter._addresses, limiter._accounts, limiter._known)
    assert max(len(part) for part in parts) <= 100


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("", "unknown", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


def test_an_odd_address_is_bounded() -> None:
    assert len(address_key("x" * 10_000)) <= 64
