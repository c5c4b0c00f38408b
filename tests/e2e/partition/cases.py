"""Three ways of being cut off, one after another in one house: what the attendee saw, and what followed.

Workspaces are processes or containers. What must hold is the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.docker_engine import Engine
from tests.e2e.partition.attendee import Attendee, Seen
from tests.e2e.partition.house import CHANGE_S_MAX, FIRST, SECOND, House, opened
from tests.e2e.partition.network import Cut

KEEPS = "keeps work of 1 attendee"


@dataclass(frozen=True)
class Row:
    """One way of being cut off.

    Args:
        runtime: ``process`` or ``docker``.
        cut: what was: ``link``, ``path`` or ``both``.
        cut_s: for how long, in seconds.
        lost_after_s: of the event file.
        gap_s: the attendee's longest time without an answer of the workspace.
        errors: answers that were not the workspace's, by status or kind.
        texts: what was to be read instead.
        moved: whether the attendee sits on another ship afterwards.
        healed_s: from the end of the cut until the ship was linked again.
    """

    runtime: str
    cut: str
    cut_s: float
    lost_after_s: float
    gap_s: float
    errors: dict[str, int]
    texts: list[str]
    moved: bool
    healed_s: float


async def cases(lost_after_s: float, cuts: Sequence[Cut], engine: Engine | None = None) -> AsyncIterator[Row]:
    """Each row when it is there. What must hold is asserted on the way; after ``both`` the attendee sits elsewhere.

    Args:
        lost_after_s: of the event file.
        cuts: one after another.
        engine: the tests' own, for workspaces in containers; None for processes.
    """
    async with opened(lost_after_s, engine) as (house, attendee):
        for cut in cuts:
            yield await CASES[cut](house, attendee)


async def link_cut(house: House, attendee: Attendee) -> Row:
    """The ship's link is cut, attendees reach it: nothing happens to them, however long it takes."""
    async with attendee.watching() as seen:
        await attendee.until(lambda seen: seen.good > 0, CHANGE_S_MAX)
        began = time.monotonic()
        house.network.cut("link")
        await house.until("unreachable", lambda ship: "unreachable" in ship["conditions"])
        # It would be lost by now, if silence alone were enough.
        await asyncio.sleep(house.lost_after_s)
        before = seen.good
        await attendee.until(lambda seen: seen.good > before, CHANGE_S_MAX)
        row = await _healed(house, attendee, seen, "link", began)
    assert not seen.errors, seen
    assert not row.moved
    return row


async def path_cut(house: House, attendee: Attendee) -> Row:
    """Attendees do not reach the ship, its link is up: nobody is moved, and they go on when it heals."""
    async with attendee.watching() as seen:
        await attendee.until(lambda seen: seen.good > 0, CHANGE_S_MAX)
        began = time.monotonic()
        house.network.cut("path")
        await attendee.until(lambda seen: bool(seen.errors), CHANGE_S_MAX)
        await asyncio.sleep(house.lost_after_s)
        row = await _healed(house, attendee, seen, "path", began)
        before = seen.good
        await attendee.until(lambda seen: seen.good > before, CHANGE_S_MAX)
    assert not row.moved
    # A save that was under way at the end may have been made.
    assert await attendee.content() >= attendee.saved
    return _with_gap(row, seen)


async def both_cut(house: House, attendee: Attendee) -> Row:
    """Nothing passes: the ship is lost, the attendee moves; the ship comes back, keeps the work, and is released."""
    async with attendee.watching() as seen:
        await attendee.until(lambda seen: seen.good > 0, CHANGE_S_MAX)
        began = time.monotonic()
        house.network.cut("both")
        await house.until("lost", lambda ship: KEEPS in ship["conditions"])
        before = seen.good
        await attendee.until(lambda seen: seen.good > before, CHANGE_S_MAX)
        row = await _healed(house, attendee, seen, "both", began)
    assert await house.seat() == SECOND
    (kept,) = house.edits()
    ship = await house.until("told what to keep", lambda ship: ship["generation_reached"] == ship["generation"])
    assert {"cordoned", KEEPS} <= set(ship["conditions"])
    assert kept.read_text().isdigit()
    assert house.running_on(kept.parent) == [], "what is kept still runs"
    await house.run("ship", "release", FIRST, "--yes")
    ship = await house.until("one of the fleet again", lambda ship: ship["seats"][0]["ready"])
    assert ship["conditions"] == []
    assert not kept.exists()
    # A save that was under way at the end may have been made.
    assert await attendee.content() >= attendee.saved
    return _with_gap(row, seen)


async def _healed(house: House, attendee: Attendee, seen: Seen, cut: str, began: float) -> Row:
    cut_s = time.monotonic() - began
    house.network.heal()
    healing = time.monotonic()
    await house.until("linked again", lambda ship: ship["linked"] and "unreachable" not in ship["conditions"])
    return Row(
        runtime="docker" if house.away else "process",
        cut=cut,
        cut_s=round(cut_s, 1),
        lost_after_s=house.lost_after_s,
        gap_s=round(seen.gap_s, 1),
        errors=dict(seen.errors),
        texts=list(seen.texts),
        moved=await house.seat() != FIRST,
        healed_s=round(time.monotonic() - healing, 1),
    )


def _with_gap(row: Row, seen: Seen) -> Row:
    """The row with what was seen to its end."""
    return Row(
        **{**row.__dict__, "gap_s": round(seen.gap_s, 1), "errors": dict(seen.errors), "texts": list(seen.texts)}
    )


CASES: Mapping[Cut, Callable[[House, Attendee], Awaitable[Row]]] = {
    "link": link_cut,
    "path": path_cut,
    "both": both_cut,
}
"""In the order in which one house goes through them."""
