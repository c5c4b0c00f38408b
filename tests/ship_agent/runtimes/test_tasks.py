"""Work that must not be cut in the middle is not, however often whoever wants it is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from ship_agent.runtimes.tasks import finish


@pytest.mark.parametrize("fails", [False, True])
async def test_work_comes_to_its_end_though_its_caller_is_cancelled_twice(fails: bool) -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await may_end.wait()
        ended.set()
        if fails:
            raise ValueError("told to nobody")

    caller = asyncio.create_task(finish(work()))
    await begun.wait()
    for _ in range(2):
        caller.cancel()
        await asyncio.wait([caller], timeout=0.01)
        assert not caller.done()
    may_end.set()
    await asyncio.wait([caller])
    assert caller.cancelled()
    assert ended.is_set()


async def test_what_work_says_reaches_its_caller() -> None:
    async def work() -> int:
        return 3

    async def fail() -> None:
        raise ValueError("no")

    assert await finish(work()) == 3
    with pytest.raises(ValueError, match="no"):
        await finish(fail())
