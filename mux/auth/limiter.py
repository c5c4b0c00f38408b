"""How many failed guesses are let through: token buckets by account and by address.

Owns the buckets and their bounds. Time is handed in; nothing sleeps here. Knows no user: an account is whatever was
typed as login name, whether it exists or not, so that a limit tells nothing about who exists.

Rules:
- Only failures count: an attempt takes its tokens first and gets them back when it succeeds.
- Who guesses at an account from one address is stopped at that address. The owner elsewhere is not.
- Many addresses that guess at one account are slowed down together, never stopped, and an address from which the owner
  has entered before is not even slowed down.
- State is bounded: the least recently used key is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

KEYS_MAX = 50_000
"""Keys of one kind that are remembered: about 10 MB at most, and far more than a conference has addresses."""
PAIR_FAILURES = 10
PAIR_REFILL_PER_S = 1 / 30
"""Of one account from one address: ten at once, then one in 30 s."""
ADDRESS_FAILURES = 600
ADDRESS_REFILL_PER_S = 0.5
"""Of one address: a room of 300 behind one NAT may mistype twice each, then one in 2 s."""
ACCOUNT_FAILURES = 50
ACCOUNT_REFILL_PER_S = 0.1
"""Of one account from everywhere, before further attempts from new addresses are slowed down."""
ACCOUNT_DELAY_S = 5.0
DELAYED_MAX = 500
"""Attempts that are being slowed down at once; each is an open request."""


class Limited(Exception):  # noqa: N818 - a condition that passes, not a defect
    """Too many failures. ``retry_after_s``: when the next attempt is let through, in seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many failures; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class Buckets:
    """Token buckets by key, all of one size.

    Args:
        capacity: tokens of a full bucket; a key that was never seen has one.
        refill_per_s: tokens a second.
        keys_max: keys that are remembered.
    """

    def __init__(self, capacity: float, refill_per_s: float, keys_max: int = KEYS_MAX) -> None:
        self._capacity = capacity
        self._refill_per_s = refill_per_s
        self._keys_max = keys_max
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: Hashable, now: float) -> float:
        """Take a token. Returns 0 when there was one, else the seconds until there is (and takes none)."""
        level = self._level(key, now)
        if level < 1.0:
            self._set(key, level, now)
            return (1.0 - level) / self._refill_per_s
        self._set(key, level - 1.0, now)
        return 0.0

    def draw(self, key: Hashable, now: float) -> float:
        """Take a token even when there is none yet, going into debt. Returns the seconds until the debt is paid."""
        level = self._level(key, now) - 1.0
        self._set(key, level, now)
        return max(0.0, -level / self._refill_per_s)

    def give_back(self, key: Hashable, now: float) -> None:
        """Undo one :meth:`take` or :meth:`draw`."""
        self._set(key, self._level(key, now) + 1.0, now)

    def _level(self, key: Hashable, now: float) -> float:
        level, at = self._levels.get(key, (self._capacity, now))
        return min(self._capacity, level + max(0.0, now - at) * self._refill_per_s)

    def _set(self, key: Hashable, level: float, now: float) -> None:
        if level >= self._capacity:
            self._levels.pop(key, None)
            return
        _, at = self._levels.get(key, (0.0, now))
        # A clock that is set back must not freeze a bucket, nor fill it twice.
        self._levels[key] = (level, now if now >= at else at)
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys_max:
            self._levels.popitem(last=False)


@dataclass(slots=True)
class Attempt:
    """One attempt that was let through; its tokens are taken until it succeeds.

    Args:
        account: fold of what was typed as login name.
        address: see `mux.core.forwarded.address_key`.
        delay_s: how long to wait before the secret is looked at.
    """

    account: str
    address: str
    delay_s: float = 0.0
    _under_way: bool = True
    _counted: bool = False


class Limiter:
    """Decides which attempts are let through."""

    def __init__(self, *, keys_max: int = KEYS_MAX) -> None:
        self._pairs = Buckets(PAIR_FAILURES, PAIR_REFILL_PER_S, keys_max)
        self._addresses = Buckets(ADDRESS_FAILURES, ADDRESS_REFILL_PER_S, keys_max)
        self._accounts = Buckets(ACCOUNT_FAILURES, ACCOUNT_REFILL_PER_S, keys_max)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._keys_max = keys_max
        self._delayed = 0

    def admit(self, account: str, address: str, now: float) -> Attempt:
        """Let an attempt through, or not.

        The caller ends it with :meth:`succeeded`, :meth:`failed` or :meth:`undone`.

        Raises:
            Limited: too many failures of this address, or of this account from this address.
        """
        attempt = Attempt(account, address)
        self._take_address(attempt, now)
        if (account, address) in self._known:
            return attempt
        if self._accounts.take(account, now) == 0:
            attempt._counted = True
        elif self._delayed < DELAYED_MAX:
            self._delayed += 1
            attempt.delay_s = ACCOUNT_DELAY_S
        else:
            self._give_back(attempt, now)
            raise Limited(ACCOUNT_DELAY_S)
        return attempt

    def _take_address(self, attempt: Attempt, now: float) -> None:
        pair = (attempt.account, attempt.address)
        if (wait_s := self._pairs.take(pair, now)) > 0:
            raise Limited(wait_s)
        if (wait_s := self._addresses.take(attempt.address, now)) > 0:
            self._pairs.give_back(pair, now)
            raise Limited(wait_s)

    def _give_back(self, attempt: Attempt, now: float) -> None:
        self._pairs.give_back((attempt.account, attempt.address), now)
        self._addresses.give_back(attempt.address, now)
        if attempt._counted:
            self._accounts.give_back(attempt.account, now)

    def failed(self, attempt: Attempt) -> None:
        """The secret was wrong: the tokens stay taken."""
        self._end(attempt)

    def undone(self, attempt: Attempt, now: float) -> None:
        """The secret was not looked at: the tokens go back."""
        self._give_back(attempt, now)
        self._end(attempt)

    def succeeded(self, attempt: Attempt, now: float) -> None:
        """The secret was right: the tokens go back, and the owner is known at this address from now on."""
        self._give_back(attempt, now)
        self._end(attempt)
        pair = (attempt.account, attempt.address)
        self._known[pair] = None
        self._known.move_to_end(pair)
        if len(self._known) > self._keys_max:
            self._known.popitem(last=False)

    def _end(self, attempt: Attempt) -> None:
        if attempt.delay_s > 0 and attempt._under_way:
            self._delayed -= 1
        attempt._under_way = False
