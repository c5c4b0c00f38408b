"""A push while somebody works, in Chromium, on each runtime: what is not saved, what runs, and where they are."""

from __future__ import annotations

import asyncio
import random
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from tests.e2e.at_work import EDIT, AtWork, notice, on_both, push
from tests.e2e.harness import LOOK_S, kill
from tests.e2e.people import Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(900),
]


@on_both
async def test_a_push_saves_what_is_typed_and_leaves_the_page_as_it_is(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    told = "Lunch is <b>ready</b>.<img src=x onerror=alert(1)>"
    await room.mux.run("broadcast", told)
    await expect(notice(ana, told)).to_be_visible()
    await push(room, "fixed", "--when", "now")
    await ana.sees_that_nothing_is_lost()
    assert await ana.lab.read("README.md") == "# fixed\n"
    await ana.goes_on()
    await room.mux.run("broadcast", "--clear")
    await expect(notice(ana, "Lunch")).to_have_count(0)


@pytest.mark.long
@on_both
async def test_somebody_who_is_offered_an_update_gets_it_when_they_press_the_button(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    await push(room, "offered", "--when", "offer", "--note", "mends cell 4")
    offer = notice(ana, "An update is ready: mends cell 4.")
    await expect(offer).to_be_visible()
    await ana.person.picture("push-offer")
    assert await ana.remembers(), "nothing happens before the button is pressed"
    await ana.types(EDIT)
    await offer.get_by_role("button", name="Update now").click()
    await ana.sees_that_nothing_is_lost()
    await expect(offer).to_have_count(0)
    await ana.goes_on()


@pytest.mark.long
@on_both
async def test_somebody_who_works_is_left_alone_until_they_pause(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    await push(room, "when-idle", "--when", "idle", "--note", "mends cell 4")
    coming = notice(ana, "once you have not worked here for 30 seconds")
    while not await coming.is_visible():
        await ana.types(f"{EDIT}; {random.random()}")
        await asyncio.sleep(LOOK_S)
    await ana.types(EDIT)
    await ana.person.picture("push-idle")
    assert await ana.remembers()
    await ana.types(EDIT)
    await ana.sees_that_nothing_is_lost()
    await expect(coming).to_have_count(0)
    await ana.goes_on()


@pytest.mark.long
@on_both
async def test_a_push_for_a_time_is_announced_and_touches_nobody_before(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    at = datetime.now(UTC) + timedelta(minutes=3)
    await push(room, "at-a-time", "--when", f"at {at:%H:%M}", "--note", "mends cell 4")
    coming = notice(ana, re.compile(r"An update \(mends cell 4\) comes in \d minute"))
    await expect(coming).to_be_visible()
    await ana.person.picture("push-at")
    assert await ana.remembers()
    await ana.types(EDIT)
    await expect(notice(ana, "is being started anew")).to_be_visible(timeout=180_000)
    assert datetime.now(UTC) >= at.replace(second=0, microsecond=0)
    await ana.person.picture("push-away")
    await ana.sees_that_nothing_is_lost()
    await ana.goes_on()


@pytest.mark.long
@on_both
async def test_a_push_goes_on_and_loses_nothing_where_the_mux_is_killed_in_the_middle(room: Room) -> None:
    ana = await AtWork.begins(room, "Ana")
    await push(room, "in-spite-of-kills")
    await expect(notice(ana, "An update comes in a moment").or_(notice(ana, "is being started anew"))).to_be_visible()
    await kill(room.mux.processes_of("mux.daemon run"))
    await ana.sees_that_nothing_is_lost()
    await ana.goes_on()
