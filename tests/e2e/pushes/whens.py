"""Pushes with each `--when`, and a part that is killed in the middle of one, twice: while it waits, and in a swap.

While a rollout waits (for ships to prove the image, for idle attendees, for their word, for a time), nobody is touched,
whatever dies. After both kills it goes on to its end; where the engine itself was away, an attendee may have the image
before again instead.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from tests.e2e.pushes.cases import CASES, everybody_has, no_poll_failed, notes, told
from tests.e2e.pushes.guest import Page
from tests.e2e.pushes.house import ENDED, LOOK_S, House
from tests.e2e.pushes.images import NOTES
from tests.e2e.pushes.rows import Row, row, watching

AHEAD_S = 60.0
"""At least so far away is the time of a push: until then the image is proved, and something killed."""
SLOW = "#!/bin/sh\nsleep {}\n"
PROOF_S: Mapping[str, int] = {"now": 3, "idle": 15}
"""How long an image's hook takes, where that matters: until its proof is over, the mux has been told who works."""
Rollout = Mapping[str, Any]


class When(Protocol):
    """One way to push, while the pages of all attendees are open."""

    word: str
    """As `mux push` takes it."""

    def waits(self, rollout: Rollout) -> bool:
        """Whether it has come to where it waits."""

    async def let_go(self, house: House) -> None:
        """Let come what it waits for. Nobody must have been touched before that."""


class Now:
    """It waits for ships to prove the image, which takes a while."""

    word = "now"

    def __init__(self, pages: Sequence[Page]) -> None:
        pass

    def waits(self, rollout: Rollout) -> bool:
        return bool(rollout["phase"] == "proving")

    async def let_go(self, house: House) -> None:
        """They do by themselves."""


class Idle:
    """It waits for attendees, all of whom work."""

    word = "idle"

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = pages
        for page in pages:
            page.works = True

    def waits(self, rollout: Rollout) -> bool:
        return bool(rollout["phase"] == "swapping" and rollout["working"] == len(self._pages))

    async def let_go(self, house: House) -> None:
        for page in self._pages:
            page.works = False


class Offer:
    """It waits for attendees to accept it."""

    word = "offer"

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = pages

    def waits(self, rollout: Rollout) -> bool:
        return bool(rollout["offered"] == len(self._pages))

    async def let_go(self, house: House) -> None:
        while (found := await house.rollout()) is None or found["accepted"] < len(self._pages):
            for page in self._pages:
                await page.accept()
            await asyncio.sleep(LOOK_S)


class At:
    """It waits for a time."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._at = 60 * math.ceil((time.time() + AHEAD_S) / 60)
        self.word = f"at {datetime.fromtimestamp(self._at, UTC):%H:%M}"

    def waits(self, rollout: Rollout) -> bool:
        return bool(rollout["waits_for"] and rollout["waits_for"] == rollout["not_before_text"])

    async def let_go(self, house: House) -> None:
        await house.until(lambda found: found["swapping"] > 0 or found["swapped"] > 0)
        assert time.time() >= self._at, "somebody was touched before the time"


WHENS: Mapping[str, Callable[[Sequence[Page]], When]] = {"now": Now, "idle": Idle, "offer": Offer, "at": At}
VICTIMS: Mapping[str, Callable[[House], Awaitable[None]]] = {
    "mux is": House.kill_mux,
    "the agents are": House.kill_agents,
    "the engine is": House.kill_engine,
}


def _title(when: str, victim: str) -> str:
    waits = "while ships prove it" if when == "now" else "while it waits"
    return f"`--when {when}`: {victim} killed {waits}, and while an attendee is swapped"


@asynccontextmanager
async def _pages(house: House) -> AsyncIterator[list[Page]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(guest.page()) for guest in house.guests]


async def killed_twice(house: House, when: str, victim: str) -> Row:
    """See the module."""
    what, kill = _title(when, victim), VICTIMS[victim]
    tag = f"{when}-{victim}".replace(" ", "-")
    before = set(await notes(house))
    hooks = {"10-slow.sh": SLOW.format(PROOF_S[when])} if when in PROOF_S else None
    image = await house.images.put(tag, hooks=hooks)
    await house.images.forget(image)
    async with _pages(house) as pages, watching(house) as watch:
        way = WHENS[when](pages)
        went_well, said = await house.push(image, "--no-watch", "--when", way.word)
        assert went_well, said
        await house.until(way.waits)
        await kill(house)
        assert await house.bound() == watch.before, "somebody was touched while it waited"
        await way.let_go(house)
        await house.until(lambda found: found["swapping"] > 0 or found["swapped"] > 0)
        await kill(house)
        ended = await house.until(lambda found: found["phase"] in ENDED)
        await house.healthy()
    if victim == "the engine is" and (ended["phase"] != "done" or ended["failures"]):
        found = await row(house, what, watch, came=ended["phase"], said=told(house, ended["why"] or _why(ended)))
        assert {await guest.text(NOTES) for guest in house.guests} <= {*before, tag}, found
        return found
    assert (ended["phase"], ended["failures"]) == ("done", []), ended
    found = await everybody_has(house, what, watch, tag)
    return no_poll_failed(found) if victim == "the agents are" else found


def _why(ended: Rollout) -> str:
    return "; ".join(each["why"] for each in ended["failures"])


def _measures(when: str, victim: str) -> Callable[[House], Awaitable[Row]]:
    return lambda house: killed_twice(house, when, victim)


_BOTH = [each for each in itertools.product(WHENS, VICTIMS) if each != ("now", "mux is")]
"""That one `cases` has, in two rows."""
OF_KILLS = tuple(itertools.starmap(_title, _BOTH))
UNMEASURED = tuple(_title(*each) for each in _BOTH if each[0] in {"idle", "at"} or each == ("now", "the engine is"))
"""Tests alone, and no rows of the table: how long they take is for people and the clock to say, and what becomes of a
trial whose engine dies depends on the moment."""
CASES |= {_title(*each): _measures(*each) for each in _BOTH}
