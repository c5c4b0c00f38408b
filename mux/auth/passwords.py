"""Chosen passwords: argon2id, in threads of its own, behind a bounded line.

Owns the cost parameters and the threads. One check takes about 0.1 CPU-seconds, so a login storm with passwords must
wait its turn, without holding up the event loop; whose turn it is, `line.py` says.

Rules: at most ``threads`` checks at once and ``queue_max`` behind them; beyond that :class:`Busy`, for the newest of
the longest line, who may have waited already. What does not exist is checked against a dummy hash, at the same cost.
Checks take the processor that nobody else wants: whoever guesses at passwords must not slow down those who work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mux.auth.line import Asker, Line

THREADS = 2
"""Checks at once. Each takes a core and 64 MB for its time; more would only take turns."""
QUEUE_MAX = 600
"""Checks that wait: a room of 600 that logs in at once, about 30 s of work. Others are told when to return."""
CHECK_S = 0.1
"""About what one check takes; only for estimates of how long to wait."""
NICER = 5
"""How far below the rest of the mux they stand, by nice(1): of a core that both want they get a quarter."""
PASSWORD_CHARS_MAX = 256
"""Nobody types more; what is longer is refused before it costs anything."""
HOUSE = Asker("house", "")
"""The organizers' own, such as an import of a roster: an address among the others, and no address is called so."""

_T = TypeVar("_T")


class Busy(Exception):  # noqa: N818 - a condition that passes, not a defect
    """The line is full. ``retry_after_s``: about when there is room again, in seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many passwords are being checked; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, eq=False, slots=True)
class _Check:
    """Work for a thread, and where its result is awaited."""

    work: Callable[[], Any]
    answer: asyncio.Future[Any]


class Passwords:
    """Hashes and checks passwords off the event loop.

    Args:
        hasher: argon2-cffi's, with its cost parameters; None for its defaults (RFC 9106, low memory profile).
        threads: checks at once.
        queue_max: checks that wait behind them, see `line.py`.
    """

    def __init__(
        self, hasher: PasswordHasher | None = None, *, threads: int = THREADS, queue_max: int = QUEUE_MAX
    ) -> None:
        self._hasher = hasher or PasswordHasher()
        self._threads = threads
        self._queue_max = queue_max
        self._executor = ThreadPoolExecutor(threads, "password", initializer=_stand_back)
        self._line: Line[_Check] = Line(queue_max)
        self._running = 0
        self._dummy: str | None = None

    def close(self) -> None:
        """Let the threads end; what is being checked is finished, and who waits is sent away."""
        while (waiting := self._line.next()) is not None:
            waiting.item.answer.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str, asker: Asker | None = None) -> str:
        """argon2id of ``password``, in the usual ``$argon2id$…`` form. Raises Busy."""
        return await self._run(lambda: self._hasher.hash(_encoded(password)), asker or HOUSE)

    async def verify(self, hashed: str | None, password: str, asker: Asker | None = None) -> bool:
        """Whether ``password`` is the one behind ``hashed``.

        Args:
            hashed: as :meth:`hash` made it, or None for somebody who has none: False, at the same cost.
            password: as typed.
            asker: whose line it waits in, and whose record the result enters; None for HOUSE, which has none.

        Raises:
            Busy: the line is full.
        """
        if asker is None:
            return await self._run(lambda: self._verify(hashed, password), HOUSE)
        try:
            right = await self._run(lambda: self._verify(hashed, password), asker)
        except asyncio.CancelledError:
            # The browser went away: as in `login.py`, that must not make guesses free.
            self._line.was_wrong(asker)
            raise
        if right:
            self._line.was_right(asker)
        else:
            self._line.was_wrong(asker)
        return right

    def outdated(self, hashed: str) -> bool:
        """Whether ``hashed`` was made with other cost parameters and should be made anew at the next login."""
        try:
            return self._hasher.check_needs_rehash(hashed)
        except InvalidHashError:
            return True

    def _verify(self, hashed: str | None, password: str) -> bool:
        known = hashed is not None
        try:
            return (
                self._hasher.verify(hashed if hashed is not None else self._dummy_hash(), _encoded(password)) and known
            )
        except (VerificationError, InvalidHashError):
            return False

    def _dummy_hash(self) -> str:
        # Made at the first need and in the thread: it costs as much as a check.
        if self._dummy is None:
            self._dummy = self._hasher.hash(secrets.token_bytes(16))
        return self._dummy

    async def _run(self, work: Callable[[], _T], asker: Asker) -> _T:
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        check = _Check(work, answer)
        if self._running < self._threads:
            self._begin(check)
            return await answer
        waiting, refused = self._line.join(asker, check)
        if refused is not None and not refused.item.answer.done():
            refused.item.answer.set_exception(Busy(max(1.0, self._queue_max * CHECK_S / self._threads)))
        try:
            return await answer
        finally:
            self._line.leave(waiting)

    def _begin(self, check: _Check) -> None:
        # A thread cannot be stopped: its place stays taken until it is done, also when nobody awaits the answer.
        job = asyncio.get_running_loop().run_in_executor(self._executor, check.work)
        self._running += 1
        job.add_done_callback(partial(self._done, check))

    def _done(self, check: _Check, job: asyncio.Future[Any]) -> None:
        self._running -= 1
        error = None if job.cancelled() else job.exception()
        if check.answer.done():
            pass
        elif job.cancelled():
            check.answer.cancel()
        elif error is not None:
            check.answer.set_exception(error)
        else:
            check.answer.set_result(job.result())
        if (waiting := self._line.next()) is not None:
            self._begin(waiting.item)


def _stand_back() -> None:
    """Of Linux each thread has a niceness of its own, which argon2's threads take over (sched(7)); others have none."""
    if sys.platform == "linux":
        me = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + NICER)


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
