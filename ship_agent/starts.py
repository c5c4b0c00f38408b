"""What logs say of workspaces' starts: the tail of one that failed, and the hook that one is at which does not answer.

Owns both, by workspace id. Reads a log through the runtime; decides nothing. Rules: a log is read of what has failed,
and of what has been starting for a while, never of what answers. A hook is known as long as its beginning is among the
last lines of the log; what says too much afterwards hides it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ship_agent.memory import START_MAX_S, Memory
from ship_agent.runtimes.base import Runtime, RuntimeFailure
from ship_agent.runtimes.hooks import hook_at
from ship_agent.step import View

LOG_TAIL_LINES = 50
"""What a failure is reported with: enough for a Python traceback."""
HOOK_LINES = 500
"""What is looked through for the hook that has begun last."""
LOOK_S = 5.0
"""How often logs are looked at of what does not answer. Most starts are over before the first time."""


class Starts:
    """The logs of one ship's starts.

    Args:
        runtime: has the logs.
        changed: called when a start is at another hook.
    """

    def __init__(self, runtime: Runtime, changed: Callable[[], None]) -> None:
        self._runtime = runtime
        self._changed = changed
        self._waiting: frozenset[tuple[str, int]] = frozenset()
        self.tails: dict[str, str] = {}
        """Redacted log tails of failures."""
        self.hooks: Mapping[str, str] = {}
        """The hook that a start is at; replaced, never changed."""

    def watch(self, view: View) -> None:
        """Note which starts have not come to an answer yet."""
        self._waiting = frozenset(
            (identity, here.starts)
            for identity, here in view.workspaces.items()
            if here.state == "running" and not view.memory.get(identity, Memory()).answered
        )

    async def run(self) -> None:
        """Look again and again at those that have been starting since the last time."""
        before: frozenset[tuple[str, int]] = frozenset()
        while True:
            await asyncio.sleep(LOOK_S)
            late, before = sorted(before & self._waiting), self._waiting
            hooks = {identity: hook for identity, _ in late if (hook := await self._hook(identity))}
            if hooks != self.hooks:
                self.hooks = hooks
                self._changed()

    async def fetch(self, identity: str) -> None:
        """Read the tail of a start that has failed."""
        self.tails[identity] = await self._log(identity, LOG_TAIL_LINES)

    async def never_answered(self, identity: str) -> str:
        """Read the tail of a start that is about to be ended for want of an answer, and say for people what it did."""
        await self.fetch(identity)
        if hook := await self._hook(identity):
            return f"the hook {hook} has not ended within {START_MAX_S:.0f} s of the start; see its log"
        return f"it did not answer its health path within {START_MAX_S:.0f} s of its start; see its log"

    async def _hook(self, identity: str) -> str:
        return hook_at(self._runtime.name, await self._log(identity, HOOK_LINES))

    async def _log(self, identity: str, lines: int) -> str:
        try:
            return await self._runtime.log_tail(identity, lines)
        except (RuntimeFailure, OSError):
            return ""
