"""Files start over, and are taken home, in the middle of a push: at each phase of it, on real processes."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.harness import LOOK_S
from tests.e2e.kills.attendee import FILE, Attendee
from tests.e2e.lost.house import MOVED_S_MAX, NAME, House, opened

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

GIVEN = "given.txt"
"""A file of the image: a number, as whoever saves writes one."""
HOOK = "#!/bin/sh\nsleep 1\n"
"""Of the images that are pushed, so that something is under way in each phase."""
KEPT = {GIVEN: "given.before-start-over.txt", "": f"before-reset/{GIVEN}"}


@pytest.fixture
async def house() -> AsyncIterator[tuple[House, Attendee]]:
    """The house of `tests.e2e.lost`, whose image has a file."""
    with tempfile.TemporaryDirectory(prefix="mux-push-", ignore_cleanup_errors=True) as directory:
        made = House(Path(directory), light=True)
        (made.directory / "image" / "home" / GIVEN).write_text("0", encoding="utf-8")
        async with opened(made) as attendee:
            yield made, attendee


async def pushed(house: House, number: int, phase: str) -> None:
    """Push an image whose file has that number, and wait until the rollout is in a phase, or beyond."""
    image = house.directory / f"image-{number}"
    shutil.copytree(house.directory / "image", image)
    (image / "home" / GIVEN).write_text(str(number), encoding="utf-8")
    hook = image / "start-notebook.d" / "10-takes-a-while.sh"
    hook.parent.mkdir()
    hook.write_text(HOOK, encoding="utf-8")
    hook.chmod(0o755)
    await house.run("push", "intro", str(image), "--yes", "--no-watch", "--max-unavailable", "100%")
    await reached(house, phase)


async def reached(house: House, phase: str) -> None:
    """Wait until the rollout is in a phase, or beyond."""
    order = ("pulling", "proving", "swapping", "done")
    async with asyncio.timeout(MOVED_S_MAX):
        while True:
            (found,) = json.loads(await house.run("rollout", "status", "intro", "--json"))["rollouts"]
            assert found["phase"] in order, found
            if order.index(found["phase"]) >= order.index(phase):
                return
            await asyncio.sleep(LOOK_S)


async def holds(attendee: Attendee, file: str, number: int) -> None:
    """Wait until a file has that number."""
    attendee.file = file
    async with asyncio.timeout(MOVED_S_MAX):
        while await number_in(attendee) != number:
            await asyncio.sleep(LOOK_S)


async def number_in(attendee: Attendee) -> int | None:
    """The number in a file; None while there is none to be had."""
    try:
        return await attendee.content()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError):
        return None


async def saved(attendee: Attendee, file: str) -> int:
    """The number of a save that was confirmed."""
    attendee.file = file
    async with asyncio.timeout(MOVED_S_MAX):
        while not await attendee.saves():
            await asyncio.sleep(LOOK_S)
    return attendee.seen.saved


@pytest.mark.parametrize("phase", ["pulling", "proving", "swapping", "done"])
async def test_files_start_over_in_the_middle_of_a_push_and_nothing_is_lost(
    house: tuple[House, Attendee], phase: str
) -> None:
    mux, attendee = house
    await saved(attendee, FILE)
    for number, path in ((1_000_001, GIVEN), (1_000_002, "")):
        theirs, mine = await saved(attendee, GIVEN), await saved(attendee, FILE)
        await pushed(mux, number, phase)
        said = await mux.run("files", "reset", NAME, "intro", *([path] if path else []), "--yes")
        assert "started over; what was theirs is in" in said
        await reached(mux, "done")
        await holds(attendee, GIVEN, number)
        await holds(attendee, KEPT[path], theirs)
        await holds(attendee, FILE if path else f"before-reset/{FILE}", mine)


async def test_archives_that_are_made_while_an_image_is_pushed_are_whole(house: tuple[House, Attendee]) -> None:
    mux, attendee = house
    number = await saved(attendee, FILE)
    await mux.until_kept(FILE, str(number))
    await pushed(mux, 1_000_001, "pulling")
    pushing = asyncio.create_task(reached(mux, "done"))
    made = 0
    try:
        while made < 2 or not pushing.done():
            target = mux.directory / f"all-{made}.zip"
            await mux.run("files", "export", "--all", str(target))
            with zipfile.ZipFile(target) as archive:
                assert int(archive.read(f"{NAME}/intro/{FILE}")) >= number
            made += 1
            number = await saved(attendee, FILE)
            await mux.until_kept(FILE, str(number))
    finally:
        await asyncio.gather(pushing)
