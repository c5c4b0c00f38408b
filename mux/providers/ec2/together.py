"""Calls for many machines in one: what several ships ask within a moment goes out as one request.

A request that names a machine which EC2 does not know (yet, or any more) fails for all that it names; it is then made
for each one alone, so that no ship answers for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mux.providers.ec2.faults import Ec2Error, Kind

LINGER_S = 0.2
"""How long the first one waits for company: little beside what a machine takes to stop."""
TOGETHER_MAX = 50
"""Machines in one request; the API recommends small ones, of at most 1,000."""


class Together:
    """Gathers machines for one kind of call.

    Args:
        act: makes the call for some machines; raises Ec2Error.
    """

    def __init__(self, act: Callable[[list[str]], Awaitable[object]]) -> None:
        self._act = act
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Task[None] | None = None

    async def __call__(self, *instances: str) -> None:
        """Have the call made for these machines. Raises Ec2Error for them alone."""
        loop = asyncio.get_running_loop()
        futures = [self._waiting.setdefault(instance, loop.create_future()) for instance in instances]
        if self._timer is None or self._timer.done():
            self._timer = self._spawn(self._after_a_moment())
        # Shielded: somebody else may be waiting for the same machine.
        results = await asyncio.gather(*map(asyncio.shield, futures), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def close(self) -> None:
        """Cancel what is under way; whoever asked is cancelled too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in self._waiting.values():  # those whose request had not begun
            future.cancel()

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)  # noqa: S101 - ensure_future of a coroutine
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _after_a_moment(self) -> None:
        await asyncio.sleep(LINGER_S)
        waiting, self._waiting = list(self._waiting.items()), {}
        for first in range(0, len(waiting), TOGETHER_MAX):
            self._spawn(self._request(dict(waiting[first : first + TOGETHER_MAX])))

    async def _request(self, waiting: dict[str, asyncio.Future[None]]) -> None:
        try:
            await self._act(list(waiting))
        except Ec2Error as fault:
            if len(waiting) > 1 and fault.kind in (Kind.MISSING, Kind.BUSY, Kind.UNSUPPORTED, Kind.WRONG):
                await asyncio.gather(*(self._request({one: future}) for one, future in waiting.items()))
                return
            _settle(waiting, fault)
        except asyncio.CancelledError:
            for future in waiting.values():
                future.cancel()
            raise
        except BaseException as error:
            _settle(waiting, error)
            raise
        else:
            _settle(waiting, None)


def _settle(waiting: dict[str, asyncio.Future[None]], error: BaseException | None) -> None:
    for future in waiting.values():
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # whoever asked may have gone
