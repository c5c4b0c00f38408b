"""One row of the table: an image is pushed, something may go wrong, and what came of it is written down.

Knows how to watch; what is pushed and what goes wrong is `cases`', and the table on disk is `table`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.e2e.pushes.house import House


@dataclass(frozen=True)
class Row:
    """What came of a push.

    Args:
        kind: what images are made of.
        what: was pushed, or went wrong.
        came: how the rollout ended; ``refused`` if it never began.
        said: what the organizer reads; empty where all is well.
        attendees: who were at work.
        replaced: of those, whose workspace was stopped.
        back: of those, how many have the image before again.
        polls: of all attendees.
        gap_s: the longest that somebody waited for a good answer.
        took_s: from the push to its end.
        failed: polls that brought anything but a good answer, by how.
    """

    kind: str
    what: str
    came: str
    said: str
    attendees: int
    replaced: int
    back: int
    polls: int
    gap_s: float
    took_s: float
    failed: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """One row for each."""
        return self.kind, self.what


@dataclass
class Watch:
    """What was seen while something went on.

    Args:
        began: monotonic seconds.
        before: containers of attendees, by workspace.
        after: the same, at the end.
        unproved: workspaces that were stopped when not every ship had judged the image, or where it was refused.
        took_s: how long it went on, in seconds.
    """

    began: float
    before: dict[str, str]
    after: dict[str, str] = field(default_factory=dict)
    unproved: set[str] = field(default_factory=set)
    took_s: float = 0.0

    @property
    def replaced(self) -> set[str]:
        """Workspaces whose container is another one."""
        return {name for name, identity in self.before.items() if self.after.get(name) != identity}


@contextlib.asynccontextmanager
async def watching(house: House) -> AsyncIterator[Watch]:
    """Polls of all attendees, and a look at their containers beside one at the rollout, again and again."""
    rollout = await house.rollout()
    number = rollout["number"] + 1 if rollout else 1
    watch = Watch(time.monotonic(), await house.bound())
    assert len(watch.before) == len(house.guests), watch
    comparing = asyncio.create_task(_compare(house, watch, number), name="compare")
    try:
        async with contextlib.AsyncExitStack() as polls:
            for guest in house.guests:
                await polls.enter_async_context(guest.polling())
            yield watch
            watch.after = await house.bound()
            watch.took_s = time.monotonic() - watch.began
            assert not comparing.done(), "watching broke off"
    finally:
        comparing.cancel()
        (ended,) = await asyncio.gather(comparing, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), ended


async def _compare(house: House, watch: Watch, number: int) -> None:
    """Nobody's workspace is stopped before every ship has judged the image, nor where it was refused.

    The containers first: what is judged stays so.
    """
    while True:
        here = await house.bound()
        rollout = await house.rollout()
        if rollout is not None:
            # Failures are ships that refuse the image, or workspaces: `SHIP.SEAT.PROJECT.NUMBER`.
            refused = {each["subject"] for each in rollout["failures"] if "." not in each["subject"]}
            judged = rollout["number"] == number and rollout["proved"] + len(refused) == house.ships
            stopped = {name for name, identity in watch.before.items() if here.get(name) != identity}
            watch.unproved |= {name for name in stopped if not judged or name.partition(".")[0] in refused}
        await asyncio.sleep(house.look_s)


async def row(house: House, what: str, watch: Watch, *, came: str, said: str) -> Row:
    """What came of it. Asserts what must be so whatever is pushed: proved before anybody is touched, edits kept."""
    assert not watch.unproved, f"stopped before the image was proved: {watch.unproved}"
    digest = (await house.rollout() or {}).get("digest")
    running = await house.digests()
    polls = sum((guest.polls.came for guest in house.guests), Counter[str]())
    found = Row(
        kind=house.kind.name,
        what=what,
        came=came,
        said=said,
        attendees=len(house.guests),
        replaced=len(watch.replaced),
        back=sum(running[name] != digest for name in watch.replaced),
        polls=polls.total(),
        gap_s=round(max(guest.polls.gap_s for guest in house.guests), 2),
        took_s=round(watch.took_s, 1),
        failed={how: number for how, number in sorted(polls.items()) if how != "200"},
    )
    for guest in house.guests:
        assert await guest.text("mine.txt") == guest.name, found
        assert await guest.is_logged_in(), found
    return found
