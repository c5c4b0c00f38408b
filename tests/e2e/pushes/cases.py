"""What is pushed, what goes wrong meanwhile, and what must come of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.e2e.pushes.house import House, last_line
from tests.e2e.pushes.images import NOTES
from tests.e2e.pushes.rows import Row, Watch, row, watching
from tests.e2e.pushes.shelf import Shelf

BALLAST_BYTES = 4 << 20
HALF_BYTES = 1 << 20
"""Of a layer that is held in the middle: the manifest and some of it have come through."""
KEPT, KEPT_NEXT = "notes.before-start-over.txt", "notes.before-start-over-2.txt"
"""What an attendee had when they started over, once and again."""
Case = Callable[[House, str], Awaitable[Row]]
"""Makes a row of a house; what it is called."""
CASES: dict[str, Callable[[House], Awaitable[Row]]] = {}
"""Every row by its name, in the order in which they may be measured in one house."""


def case(what: str) -> Callable[[Case], Case]:
    """Put a case into `CASES`."""

    def put(function: Case) -> Case:
        CASES[what] = lambda house: function(house, what)
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


async def everybody_has(house: House, what: str, watch: Watch, tag: str, said: str = "") -> Row:
    """A push that ends well."""
    found = await row(house, what, watch, came="done", said=said)
    assert found.replaced == found.attendees, found
    assert await notes(house) == [tag] * found.attendees
    return found


@case("a good image")
async def good(house: House, what: str) -> Row:
    """Tag, digest, pull by digest, proof, swap."""
    everybody = len(house.guests)
    image = await house.images.put("fix7")
    await house.images.forget(image)
    async with watching(house) as watch:
        went_well, said = await house.push(image, "--json")
        assert went_well, said
        last = last_line(said)
        assert (last["phase"], last["bound"], last["swapped"], last["failures"]) == ("done", everybody, everybody, [])
    assert set((await house.digests()).values()) == {last["digest"]}, "by digest, as the registry has it"
    return no_poll_failed(await everybody_has(house, what, watch, "fix7"))


@case("`mux rollout rollback`")
async def rollback(house: House, what: str) -> Row:
    """What `good` has pushed is taken back; another image goes before it, if need be."""
    before = await house.rollout()
    if before is None or before["rollback"] or before["phase"] != "done":
        await CASES["a good image"](house)
    async with watching(house) as watch:
        await house.run("rollout", "rollback", "intro", "--yes")
        found = await house.until(lambda found: found["rollback"] and found["phase"] == "rolled back")
        assert found["failures"] == []
    assert set((await house.digests()).values()) == {found["digest"]}
    return no_poll_failed(await row(house, what, watch, came="rolled back", said=""))


async def stops(house: House, what: str, image: str, expected: str) -> Row:
    """A push that no ship proves."""
    await house.images.forget(image)
    async with watching(house) as watch:
        went_well, said = await house.push(image, "--json")
    return await _stopped(house, what, watch, expected, went_well=went_well, said=said)


async def _stopped(house: House, what: str, watch: Watch, expected: str, *, went_well: bool, said: str) -> Row:
    assert not went_well
    assert re.search(expected, said), said
    return nobody_was_touched(await row(house, what, watch, came="stopped", said=told(house, said)))


def told(house: House, said: str) -> str:
    """The sentence that the command ends with, as the table shows it: without what differs from run to run."""
    lines = [line for line in said.splitlines() if line and not line.startswith("{")]
    text = " ".join(lines[0].removeprefix("mux: ").split())
    text = text.replace(house.images.name(""), "DIRECTORY") if house.engine is None else text
    text = re.sub(r"ship-[0-9a-z]+(\.[0-9a-z.]+)?", "SHIP", text.replace(house.gate.host, "REGISTRY"))
    return re.sub(r"sha256:[0-9a-f]+", "DIGEST", text)[:300]


@case("its hook fails")
async def hook_fails(house: House, what: str) -> Row:
    image = await house.images.put("hook", hooks={"10-data.sh": "#!/bin/sh\nexit 3\n"})
    return await stops(house, what, image, r"hook 10-data\.sh")


@case("its health path answers 503")
async def sick(house: House, what: str) -> Row:
    image = await house.images.put("sick", home={"sick": ""})
    return await stops(house, what, image, "did not answer within")


@case("its hook never ends")
async def hangs(house: House, what: str) -> Row:
    image = await house.images.put("hangs", hooks={"10-load.sh": "#!/bin/sh\nsleep 1000\n"})
    return await stops(house, what, image, "did not answer within")


async def cannot_be_pulled(
    house: House, what: str, tag: str, spoil: Callable[[Shelf], Awaitable[None]], expected: str
) -> Row:
    """The mux has seen the image, and then ships do not get it."""
    shelf = house.images
    assert isinstance(shelf, Shelf)
    image = await shelf.put(tag)
    await shelf.forget(image)
    async with _gate_open_again(house), watching(house) as watch:
        house.gate.hold_pulls()
        pushing = asyncio.create_task(house.push(image, "--json"))
        async with asyncio.timeout(house.wait_s_max):
            await house.gate.reached.wait()
        await spoil(shelf)
        await house.gate.open()
        went_well, said = await pushing
    return await _stopped(house, what, watch, expected, went_well=went_well, said=said)


@case("its layer is lost in the registry")
async def layer_is_lost(house: House, what: str) -> Row:
    return await cannot_be_pulled(house, what, "torn", lambda shelf: shelf.lose_layer("torn"), "push it there again")


@case("its manifest is gone when ships pull it")
async def manifest_is_gone(house: House, what: str) -> Row:
    expected = "neither on this ship nor in its registry"
    return await cannot_be_pulled(house, what, "gone", lambda shelf: shelf.lose_manifest("gone"), expected)


@case("the login has ended when ships pull it")
async def login_has_ended(house: House, what: str) -> Row:
    assert isinstance(house.images, Shelf)
    try:
        return await cannot_be_pulled(house, what, "locked", Shelf.end_login, "check the login")
    finally:
        await house.images.renew_login()


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
async def missing_tag(house: House, what: str) -> Row:
    return await refused(house, what, house.images.name("nowhere"), "is not in the registry")


@case("a directory that is not there")
async def missing_directory(house: House, what: str) -> Row:
    return await refused(house, what, house.images.name("nowhere"), "which is no directory")


@case("for another platform")
async def other_platform(house: House, what: str) -> Row:
    assert isinstance(house.images, Shelf)
    image = await house.images.put_by_hand("arm", architecture="arm64")
    return await refused(house, what, image, "is for linux/arm64; the ships are linux/amd64")


@case("larger than a ship's disk")
async def too_large(house: House, what: str) -> Row:
    assert isinstance(house.images, Shelf)
    image = await house.images.put_by_hand("huge", layer_bytes=1 << 42)
    return await refused(house, what, image, r"GiB")


@case("the registry is away")
async def no_registry(house: House, what: str) -> Row:
    async with _gate_open_again(house):
        await house.gate.cut()
        return await refused(house, what, house.images.name("fix8"), "cannot be reached")


@case("the registry dies in the middle of the pulls, and comes back")
async def registry_dies(house: House, what: str) -> Row:
    async with _gate_open_again(house), watching(house) as watch:
        await _begins(house, "dies")
        await house.gate.cut()
        waits = await house.until(lambda found: "does not answer" in found["waits_for"])
        await house.gate.open()
        await house.done()
    said = told(house, f"waits for {waits['waits_for']}")
    return no_poll_failed(await everybody_has(house, what, watch, "dies", said))


@case("its hook fails on the files of one attendee")
async def fails_for_one(house: House, what: str) -> Row:
    """The image is proved on fresh files; where it fails, the image before comes back on the same files."""
    before = (await notes(house))[0]
    await house.guests[0].writes("mine.txt", "trap")
    image = await house.images.put(
        "one", hooks={"10-look.sh": '#!/bin/sh\nread -r mine < "$HOME/mine.txt"\n[ "$mine" != trap ]\n'}
    )
    await house.images.forget(image)
    async with watching(house) as watch:
        went_well, said = await house.push(image, "--json", "--max-unavailable", "2")
        assert went_well, said
        last = last_line(said)
        assert len(last["failures"]) == 1, last
        await house.healthy()
    await house.guests[0].writes("mine.txt", house.guests[0].name)
    found = await row(house, what, watch, came="done", said=told(house, last["failures"][0]["why"]))
    assert (found.replaced, found.back) == (2, 1), found
    assert await notes(house) == [before, "one"], "the image before, with its files, and the new one"
    return no_poll_failed(found)


@case("an attendee starts a file over while they are swapped")
async def starts_over_while_swapped(house: House, what: str) -> Row:
    """What they had is kept beside it, and the file is the new image's or, with that, becomes it."""
    image = await house.images.put("over")
    await house.guests[0].writes(NOTES, "of their own")
    async with watching(house) as watch:
        await house.push(image, "--no-watch")
        await house.until(lambda found: found["swapping"] > 0 or found["swapped"] > 0)
        await house.start_over(house.guests[0].name, NOTES)
        await house.done()
        await house.healthy()
    return await _started_over(house, what, watch, "over", {KEPT: "of their own"})


@case("a push comes while an attendee starts a file over")
async def pushed_while_starting_over(house: House, what: str) -> Row:
    image = await house.images.put("meanwhile")
    await house.guests[0].writes(NOTES, "of their own again")
    async with watching(house) as watch:
        await asyncio.gather(house.start_over(house.guests[0].name, NOTES), house.push(image, "--no-watch"))
        await house.done()
        await house.healthy()
    return await _started_over(house, what, watch, "meanwhile", {KEPT_NEXT: "of their own again"})


async def _started_over(house: House, what: str, watch: Watch, tag: str, kept: dict[str, str]) -> Row:
    """Everybody has the image; who started over has what they had, beside it."""
    found = await everybody_has(house, what, watch, tag)
    assert {name: await house.guests[0].text(name) for name in kept} == kept
    return no_poll_failed(found)


@case("mux is killed while ships pull")
async def killed_while_pulling(house: House, what: str) -> Row:
    async with _gate_open_again(house), watching(house) as watch:
        await _begins(house, "pulled")
        await house.kill_mux()
        await house.gate.open()
        await house.done()
    return await everybody_has(house, what, watch, "pulled")


@case("mux is killed while ships prove it")
async def killed_while_proving(house: House, what: str) -> Row:
    image = await house.images.put("proved", hooks={"10-slow.sh": "#!/bin/sh\nsleep 3\n"})
    async with watching(house) as watch:
        await house.push(image, "--no-watch")
        await house.until(lambda found: found["phase"] == "proving")
        await house.kill_mux()
        await house.done()
    return await everybody_has(house, what, watch, "proved")


@case("mux is killed while an attendee is swapped")
async def killed_while_swapping(house: House, what: str) -> Row:
    return await _killed_while_swapping(house, what, "swapped", house.kill_mux)


@case("its control process is killed while an attendee is swapped")
async def control_killed_while_swapping(house: House, what: str) -> Row:
    return no_poll_failed(await _killed_while_swapping(house, what, "control", house.kill_control))


async def _killed_while_swapping(house: House, what: str, tag: str, kill: Callable[[], Awaitable[None]]) -> Row:
    image = await house.images.put(tag)
    async with watching(house) as watch:
        await house.push(image, "--no-watch")
        await house.until(lambda found: found["swapping"] > 0 or found["swapped"] > 0)
        await kill()
        await house.done()
    return await everybody_has(house, what, watch, tag)


async def _begins(house: House, tag: str) -> None:
    """Push a large image, and wait until the first ship has a part of it; the rest does not come."""
    image = await house.images.put(tag, layer_bytes=BALLAST_BYTES)
    await house.images.forget(image)
    house.gate.hold_after(HALF_BYTES)
    await house.push(image, "--no-watch")
    async with asyncio.timeout(house.wait_s_max):
        await house.gate.reached.wait()


@asynccontextmanager
async def _gate_open_again(house: House) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await house.gate.open()
