"""What is pushed, what goes wrong meanwhile, and what must come of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.e2e.pushes.house import NAMES, WAIT_S_MAX, House, last_line
from tests.e2e.pushes.rows import Row, Watch, row, watching
from tests.e2e.pushes.shelf import LAB, LIGHT, NOTES, PROCESS, Shelf

BALLAST_BYTES = 4 << 20
HALF_BYTES = 1 << 20
"""Of a layer that is held in the middle: the manifest and some of it have come through."""
KEPT, KEPT_NEXT = "notes.before-start-over.txt", "notes.before-start-over-2.txt"
"""What an attendee had when they started over, once and again."""
Case = Callable[[House], Awaitable[Row]]
CASES: dict[str, Case] = {}
"""Every row by its name, in the order in which they may be measured in one house."""


def case(what: str) -> Callable[[Case], Case]:
    """Put a case into `CASES`."""

    def put(function: Case) -> Case:
        CASES[what] = function
        return function

    return put


async def notes(house: House) -> list[str]:
    """What everybody's unedited file holds: which image they have."""
    return [await guest.text(NOTES) for guest in house.guests]


def no_poll_failed(found: Row) -> Row:
    """For where health comes within the hold."""
    assert not found.failed, found
    return found


def nobody_was_touched(found: Row) -> Row:
    """For what is bad on every ship."""
    assert found.replaced == 0, found
    return no_poll_failed(found)


async def _everybody_has(house: House, what: str, watch: Watch, tag: str, said: str = "") -> Row:
    """A push that ends well."""
    found = await row(house, what, watch, came="done", said=said)
    assert found.replaced == len(NAMES), found
    assert await notes(house) == [tag] * len(NAMES)
    return found


@case("a good image")
async def good(house: House) -> Row:
    """Tag, digest, pull by digest, proof, swap."""
    image = await house.shelf.put("fix7")
    await house.shelf.forget(image)
    async with watching(house) as watch:
        went_well, said = await house.push(image, "--json")
        assert went_well, said
        last = last_line(said)
        assert (last["phase"], last["bound"], last["swapped"], last["failures"]) == ("done", 2, 2, [])
    assert set((await house.digests()).values()) == {last["digest"]}, "by digest, as the registry has it"
    return no_poll_failed(await _everybody_has(house, "a good image", watch, "fix7"))


@case("`mux rollout rollback`")
async def rollback(house: House) -> Row:
    """What `good` has pushed is taken back; another image goes before it, if need be."""
    before = await house.rollout()
    if before is None or before["rollback"] or before["phase"] != "done":
        await good(house)
    async with watching(house) as watch:
        await house.run("rollout", "rollback", "intro", "--yes")
        found = await house.until(lambda found: found["rollback"] and found["phase"] == "rolled back")
        assert found["failures"] == []
    assert set((await house.digests()).values()) == {found["digest"]}
    return no_poll_failed(await row(house, "`mux rollout rollback`", watch, came="rolled back", said=""))


async def stops(house: House, what: str, image: str, expected: str) -> Row:
    """A push that no ship proves."""
    await house.shelf.forget(image)
    async with watching(house) as watch:
        went_well, said = await house.push(image, "--json")
        assert not went_well
        assert re.search(expected, said), said
    return nobody_was_touched(await row(house, what, watch, came="stopped", said=told(house, said)))


def told(house: House, said: str) -> str:
    """The sentence that the command ends with, as the table shows it: without what differs from run to run."""
    lines = [line for line in said.splitlines() if line and not line.startswith("{")]
    text = " ".join(lines[0].removeprefix("mux: ").split())
    text = text.replace(house.shelf.name(""), "DIRECTORY") if house.engine is None else text
    text = re.sub(r"ship-[0-9a-z]+(\.[0-9a-z.]+)?", "SHIP", text.replace(house.gate.host, "REGISTRY"))
    return re.sub(r"sha256:[0-9a-f]+", "DIGEST", text)[:300]


@case("its hook fails")
async def hook_fails(house: House) -> Row:
    image = await house.shelf.put("hook", hooks={"10-data.sh": "#!/bin/sh\nexit 3\n"})
    return await stops(house, "its hook fails", image, r"hook 10-data\.sh")


@case("its health path answers 503")
async def sick(house: House) -> Row:
    image = await house.shelf.put("sick", home={"sick": ""})
    return await stops(house, "its health path answers 503", image, "did not answer within")


@case("its hook never ends")
async def hangs(house: House) -> Row:
    image = await house.shelf.put("hangs", hooks={"10-load.sh": "#!/bin/sh\nsleep 1000\n"})
    return await stops(house, "its hook never ends", image, "did not answer within")


async def refused(house: House, what: str, image: str, expected: str) -> Row:
    """A push that the mux does not even begin."""
    before = await house.rollout()
    async with watching(house) as watch:
        went_well, said = await house.push(image)
        assert not went_well
        assert re.search(expected, said), said
    assert await house.rollout() == before, "there is no rollout of it"
    return nobody_was_touched(await row(house, what, watch, came="refused", said=told(house, said)))


@case("a tag that is not there")
async def missing_tag(house: House) -> Row:
    return await refused(house, "a tag that is not there", house.shelf.name("nowhere"), "is not in the registry")


@case("a directory that is not there")
async def missing_directory(house: House) -> Row:
    return await refused(house, "a directory that is not there", house.shelf.name("nowhere"), "which is no directory")


@case("for another platform")
async def other_platform(house: House) -> Row:
    assert isinstance(house.shelf, Shelf)
    image = await house.shelf.put_by_hand("arm", architecture="arm64")
    return await refused(house, "for another platform", image, "is for linux/arm64; the ships are linux/amd64")


@case("larger than a ship's disk")
async def too_large(house: House) -> Row:
    assert isinstance(house.shelf, Shelf)
    image = await house.shelf.put_by_hand("huge", layer_bytes=1 << 42)
    return await refused(house, "larger than a ship's disk", image, r"GiB")


@case("the registry is away")
async def no_registry(house: House) -> Row:
    async with _gate_open_again(house):
        await house.gate.cut()
        return await refused(house, "the registry is away", house.shelf.name("fix8"), "cannot be reached")


@case("the registry dies in the middle of the pulls, and comes back")
async def registry_dies(house: House) -> Row:
    what = "the registry dies in the middle of the pulls, and comes back"
    async with _gate_open_again(house), watching(house) as watch:
        await _begins(house, "dies")
        await house.gate.cut()
        waits = await house.until(lambda found: "does not answer" in found["waits_for"])
        await house.gate.open()
        await house.done()
    said = told(house, f"waits for {waits['waits_for']}")
    return no_poll_failed(await _everybody_has(house, what, watch, "dies", said))


@case("its hook fails on the files of one attendee")
async def fails_for_one(house: House) -> Row:
    """The image is proved on fresh files; where it fails, the image before comes back on the same files."""
    what = "its hook fails on the files of one attendee"
    before = (await notes(house))[0]
    await house.guests[0].writes("mine.txt", "trap")
    image = await house.shelf.put(
        "one", hooks={"10-look.sh": '#!/bin/sh\nread -r mine < "$HOME/mine.txt"\n[ "$mine" != trap ]\n'}
    )
    await house.shelf.forget(image)
    async with watching(house) as watch:
        went_well, said = await house.push(image, "--json", "--max-unavailable", "2")
        assert went_well, said
        last = last_line(said)
        assert len(last["failures"]) == 1, last
        await house.healthy()
    await house.guests[0].writes("mine.txt", NAMES[0])
    found = await row(house, what, watch, came="done", said=told(house, last["failures"][0]["why"]))
    assert (found.replaced, found.back) == (2, 1), found
    assert await notes(house) == [before, "one"], "the image before, with its files, and the new one"
    return no_poll_failed(found)


@case("an attendee starts a file over while they are swapped")
async def starts_over_while_swapped(house: House) -> Row:
    """What they had is kept beside it, and the file is the new image's or, with that, becomes it."""
    what = "an attendee starts a file over while they are swapped"
    image = await house.shelf.put("over")
    await house.guests[0].writes(NOTES, "of their own")
    async with watching(house) as watch:
        await house.push(image, "--no-watch")
        await house.until(lambda found: found["swapping"] > 0 or found["swapped"] > 0)
        await house.start_over(NAMES[0], NOTES)
        await house.done()
        await house.healthy()
    found = await _everybody_has(house, what, watch, "over")
    assert await house.guests[0].text(KEPT) == "of their own"
    return no_poll_failed(found)


@case("a push comes while an attendee starts a file over")
async def pushed_while_starting_over(house: House) -> Row:
    what = "a push comes while an attendee starts a file over"
    image = await house.shelf.put("meanwhile")
    await house.guests[0].writes(NOTES, "of their own again")
    async with watching(house) as watch:
        await asyncio.gather(house.start_over(NAMES[0], NOTES), house.push(image, "--no-watch"))
        await house.done()
        await house.healthy()
    found = await _everybody_has(house, what, watch, "meanwhile")
    assert await house.guests[0].text(KEPT_NEXT) == "of their own again"
    return no_poll_failed(found)


@case("mux is killed while ships pull")
async def killed_while_pulling(house: House) -> Row:
    what = "mux is killed while ships pull"
    async with _gate_open_again(house), watching(house) as watch:
        await _begins(house, "pulled")
        await house.kill_mux()
        await house.gate.open()
        await house.done()
    return await _everybody_has(house, what, watch, "pulled")


@case("mux is killed while ships prove it")
async def killed_while_proving(house: House) -> Row:
    what = "mux is killed while ships prove it"
    image = await house.shelf.put("proved", hooks={"10-slow.sh": "#!/bin/sh\nsleep 3\n"})
    async with watching(house) as watch:
        await house.push(image, "--no-watch")
        await house.until(lambda found: found["phase"] == "proving")
        await house.kill_mux()
        await house.done()
    return await _everybody_has(house, what, watch, "proved")


@case("mux is killed while an attendee is swapped")
async def killed_while_swapping(house: House) -> Row:
    what = "mux is killed while an attendee is swapped"
    return await _killed_while_swapping(house, what, "swapped", house.kill_mux)


@case("its control process is killed while an attendee is swapped")
async def control_killed_while_swapping(house: House) -> Row:
    what = "its control process is killed while an attendee is swapped"
    return no_poll_failed(await _killed_while_swapping(house, what, "control", house.kill_control))


async def _killed_while_swapping(house: House, what: str, tag: str, kill: Callable[[], Awaitable[None]]) -> Row:
    image = await house.shelf.put(tag)
    async with watching(house) as watch:
        await house.push(image, "--no-watch")
        await house.until(lambda found: found["swapping"] > 0 or found["swapped"] > 0)
        await kill()
        await house.done()
    return await _everybody_has(house, what, watch, tag)


async def _begins(house: House, tag: str) -> None:
    """Push a large image, and wait until the first ship has a part of it; the rest does not come."""
    image = await house.shelf.put(tag, layer_bytes=BALLAST_BYTES)
    await house.shelf.forget(image)
    house.gate.hold_after(HALF_BYTES)
    await house.push(image, "--no-watch")
    async with asyncio.timeout(WAIT_S_MAX):
        await house.gate.reached.wait()


@asynccontextmanager
async def _gate_open_again(house: House) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await house.gate.open()


OF_REGISTRIES = (
    "a tag that is not there",
    "for another platform",
    "larger than a ship's disk",
    "the registry is away",
    "the registry dies in the middle of the pulls, and comes back",
    "mux is killed while ships pull",
)
"""What cannot happen to images that are directories."""
OF_DIRECTORIES = ("a directory that is not there",)
KINDS = {
    LIGHT: tuple(what for what in CASES if what not in OF_DIRECTORIES),
    LAB: ("a good image", "`mux rollout rollback`", "its hook fails"),
    PROCESS: tuple(what for what in CASES if what not in OF_REGISTRIES),
}
"""Which rows are measured with which images."""
