"""Work that is done one piece after the other, in the order in which it was given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

_P = ParamSpec("_P")


class InTurn:
    """Does it by itself, as soon as what was given before is done, well or not.

    Args:
        name: of its tasks.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, work: Callable[_P, Coroutine[Any, Any, None]], *arguments: _P.args, **named: _P.kwargs) -> None:
        """Give the next piece."""
        before = self._tasks[-1:]

        async def after() -> None:
            if before:
                await asyncio.wait(before)
            await work(*arguments, **named)

        self._tasks.append(asyncio.create_task(after(), name=self._name))

    async def settled(self) -> None:
        """Wait until everything that was given is done. Raises what went wrong."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Begin nothing more, and wait until nothing is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
