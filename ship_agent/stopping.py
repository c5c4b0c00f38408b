"""The end of a ship: its workspaces are stopped, and their files stay. Knows neither the link nor what is wanted."""

from __future__ import annotations

import asyncio

from ship_agent.runtimes.base import Runtime
from ship_agent.step import STOP_GRACE_S


async def stop_all(runtime: Runtime) -> list[str]:
    """Stop every workspace at once, keeping the files. Returns a line for each that could not be stopped."""
    workspaces = list(await runtime.inspect())
    results = await asyncio.gather(
        *(runtime.stop(workspace, STOP_GRACE_S) for workspace in workspaces), return_exceptions=True
    )
    return [
        f"{workspace}: {result}"
        for workspace, result in zip(workspaces, results, strict=True)
        if isinstance(result, BaseException)
    ]
