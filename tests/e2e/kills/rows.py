"""One row of the table: something happens to the mux, and what follows is written down.

Knows how to watch; what happens is `faults`' or a kill, and the table on disk is `table`'s.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.e2e.kills.attendee import Attendee
from tests.e2e.kills.house import LOOK_S, House

QUIET_S = 0.5
"""What is watched before the kill, so that the first answers are there."""


@dataclass(frozen=True)
class Row:
    """What an attendee saw.

    Args:
        runtime: ``process`` or ``docker``.
        what: the parts that were killed, or what else happened.
        page_gap_s: the longest time without a good answer to a page load; quiet is some hundredths.
        page_errors: page loads that brought something else, by how; texts: what was to be read then.
        kernel_gap_s: the longest time without an answer of the kernel over the WebSocket.
        websocket_closed: how often it ended.
        kernel_kept: whether the kernel's memory is what it was.
        saves_lost: saves that were confirmed and are missing.
        saves_refused: saves that were not confirmed.
        repaired_s: until every process was there again and everything worked.
    """

    runtime: str
    what: tuple[str, ...]
    page_gap_s: float
    kernel_gap_s: float
    websocket_closed: int
    kernel_kept: bool
    saves_lost: int
    saves_refused: int
    repaired_s: float
    page_errors: dict[str, int] = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        """One row for each."""
        return self.runtime, self.what


def alone_and_in_pairs(parts: Sequence[str]) -> list[tuple[str, ...]]:
    """Each alone, then each pair."""
    return [(part,) for part in parts] + list(itertools.combinations(parts, 2))


async def killed(house: House, attendee: Attendee, parts: tuple[str, ...]) -> Row:
    """Kill parts, all at once."""
    before = {part: house.pids(part) for part in parts}
    assert all(before.values()), before

    async def kill() -> None:
        house.kill(parts)

    return await happened(house, attendee, parts, kill, before)


async def happened(
    house: House,
    attendee: Attendee,
    what: tuple[str, ...],
    act: Callable[[], Awaitable[None]],
    gone: dict[str, set[int]] | None = None,
) -> Row:
    """Let something happen, wait until everything is well, and say what was seen.

    Asserts what must be so whatever happens: it converges, who may enter and on which seat is kept, every process is
    there once and no other, and no save that Jupyter confirmed is lost.

    Args:
        house, attendee: who it happens to.
        what: the row's name.
        act: does it.
        gone: pids that must be gone afterwards, by part.
    """
    if not await attendee.kernel_is_the_same():
        await attendee.open_kernel()
    seats = await seat(house)
    async with attendee.watching() as seen:
        await asyncio.sleep(QUIET_S)
        began = time.monotonic()
        await act()
        await house.converged(attendee, gone or {})
        repaired_s = time.monotonic() - began
        # The kernel has answered since, so that its longest silence is known.
        while seen.kernel.last <= began + repaired_s:
            await asyncio.sleep(LOOK_S)
    content = await attendee.content()
    row = Row(
        runtime=house.runtime,
        what=what,
        page_gap_s=round(seen.page.longest, 2),
        kernel_gap_s=round(seen.kernel.longest, 2),
        websocket_closed=seen.closed,
        kernel_kept=await attendee.kernel_is_the_same(),
        saves_lost=max(0, seen.saved - content),
        saves_refused=seen.refused,
        repaired_s=round(repaired_s, 1),
        page_errors=dict(sorted(seen.errors.items())),
        texts=tuple(seen.texts),
    )
    assert row.saves_lost == 0, row
    assert await attendee.is_logged_in(), row
    assert await seat(house) == seats, row
    return row


async def seat(house: House) -> list[tuple[str, int, str | None]]:
    """Who sits where."""
    status = await house.quick_status()
    assert status is not None
    return [(ship["id"], each["index"], each["user"]) for ship in status["ships"] for each in ship["seats"]]
