"""Planned moves: somebody is moved to another ship while they work, and what they typed goes with them.

Their open page is asked to save, their workspace is stopped, the last snapshot is taken, and another seat has their
files before it answers. Whoever sits on another ship notices nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp

from ship_agent.join import read_join, write_join
from ship_agent.notices import INTERRUPTION
from tests.e2e.harness import LOOK_S, kill
from tests.e2e.pushes.guest import Guest
from tests.e2e.pushes.house import House
from tests.ship_agent.metadata import Metadata

LASTS = timedelta(minutes=2)
"""A spot machine ends so long after its notice."""
MINE, TYPED = "mine.txt", "typed.txt"


@asynccontextmanager
async def drained(house: House, ship: str) -> AsyncIterator[None]:
    """An organizer empties it."""
    await house.run("ship", "drain", ship, "--evict", "--yes")
    yield


@asynccontextmanager
async def replaced(house: House, ship: str) -> AsyncIterator[None]:
    """An organizer puts another one in its place."""
    await house.run("fleet", "replace", ship, "--yes")
    yield


@asynccontextmanager
async def taken_back(house: House, ship: str) -> AsyncIterator[None]:
    """The owner of its machine takes it back, and says so in the machine's metadata."""
    metadata = Metadata()
    port = await metadata.start("127.0.0.1")
    end = datetime.now(UTC) + LASTS
    metadata.announced[INTERRUPTION] = json.dumps({"action": "terminate", "time": f"{end:%Y-%m-%dT%H:%M:%SZ}"})
    try:
        # A machine on this one has no metadata service; its agent asks this one once it has started again.
        path = house.directory / "data" / "ships" / ship / "join.json"
        write_join(path, replace(read_join(path), metadata_url=f"http://127.0.0.1:{port}"))
        await kill(house.agents(ship))
        yield
    finally:
        await metadata.stop()


WAYS: Mapping[str, Callable[[House, str], contextlib.AbstractAsyncContextManager[None]]] = {
    "drain": drained,
    "replace": replaced,
    "notice": taken_back,
}


async def moves(house: House, way: str) -> None:
    """Move the first attendee off their ship, which ends, and leave the others where they are."""
    guest = house.guests[0]
    left = await house.ship_of(guest)
    assert left is not None
    before = await house.bound()
    saved, typed = f"saved before: {way}", f"typed before: {way}"
    async with guest.page() as page:
        await page.types(TYPED, typed)
        await guest.writes(MINE, saved)  # younger than any look at the files
        async with WAYS[way](house, left):
            await _until(house, lambda: _sits_elsewhere(house, guest, left))
            await _until(house, lambda: _answers(guest))
            assert page.saves, "the page was not asked to save"
            assert await guest.text(TYPED) == typed
            assert await guest.text(MINE) == saved
            await _until(house, lambda: _is_gone(house, left))
    await guest.writes(MINE, guest.name)
    after = await house.bound()
    assert len(after) == len(before)
    stayed = {name: identity for name, identity in before.items() if not name.startswith(f"{left}.")}
    assert stayed.items() <= after.items(), "somebody else was touched"
    await house.ready()


async def _sits_elsewhere(house: House, guest: Guest, left: str) -> bool:
    return await house.ship_of(guest) not in (None, left)


async def _answers(guest: Guest) -> bool:
    """Whether the workspace answers; what it answers first has the files already."""
    with contextlib.suppress(aiohttp.ClientError):
        await guest.text(MINE)
        return True
    return False


async def _is_gone(house: House, ship: str) -> bool:
    return all(each["id"] != ship for each in (await house.status())["ships"])


async def _until(house: House, fulfilled: Callable[[], Awaitable[bool]]) -> None:
    try:
        async with asyncio.timeout(house.wait_s_max):
            while not await fulfilled():
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"not so after {house.wait_s_max:g} s:\n{await house.account()}") from None
