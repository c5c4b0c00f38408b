"""The live channel of notebooks: what pages are told, what they may say, and that nothing else gets through."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from mux.core.events import AttendeesActive, Event, PageGone, PageSaid, UpdateAccepted
from mux.core.model import ProjectName, UserId
from mux.core.pages import NotebookView
from mux.core.rollout_views import Coming
from mux.core.views import AttendeeView, ProjectCard
from mux.web import live, notebook
from mux.web.camp_view import camp_view
from tests.files.snapshots import keep
from tests.web.page_parts import House

ADA, INTRO = UserId("u-ada"), ProjectName("intro")
CHANNEL = "/camp/live/intro"
PAGE = "0123456789abcdef"
STATE: dict[str, Any] = {"page": PAGE, "unsaved": 0, "busy": False, "active": False, "saved": 0}


async def heard(home: House, wanted: type[Event]) -> Any:
    """The next event of a kind."""
    async with asyncio.timeout(60):
        while True:
            for event in home.engine.events:
                if isinstance(event, wanted):
                    home.engine.events.remove(event)
                    return event
            await asyncio.sleep(0.01)


async def test_a_page_is_told_how_its_workspace_is(home: House) -> None:
    browser = await home.signed_in()
    home.engine.notebooks[ADA, INTRO] = NotebookView(0, updating=False, run="one", files="0")
    async with browser.live(CHANNEL) as socket:
        word = {"save": 0, "turn": 0, "updating": False, "run": "one", "files": "0", "notices": []}
        assert await socket.receive_json() == word
        home.engine.notebooks[ADA, INTRO] = NotebookView(7, updating=False, run="one", files="0")
        await home.engine.news()
        assert await socket.receive_json() == {**word, "save": 7}
        await socket.send_json({**STATE, "unsaved": 1})
        await heard(home, PageSaid)
        turns = ("another page", PAGE)
        home.engine.notebooks[ADA, INTRO] = NotebookView(8, updating=False, run="one", files="0", turns=turns)
        await home.engine.news()
        assert await socket.receive_json() == {**word, "save": 8, "turn": 1}


async def test_what_a_page_says_becomes_events_of_its_attendee(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "WORKING_TOLD_S", 0.01)
    browser = await home.signed_in()
    async with browser.live(CHANNEL) as socket:
        await socket.send_json({**STATE, "unsaved": 2, "active": True})
        said = await heard(home, PageSaid)
        assert (said.user, said.project, said.page, said.unsaved, said.saved) == (ADA, INTRO, PAGE, 2, 0)
        assert await heard(home, AttendeesActive) == AttendeesActive(((ADA, INTRO),), source="page")
        await socket.send_json({**STATE, "unsaved": 2, "busy": True})
        await socket.send_json({**STATE, "saved": 7})
        assert (await heard(home, PageSaid)).saved == 7, "what has not changed is no event"
    assert await heard(home, PageGone) == PageGone(ADA, INTRO, PAGE, said.link)


async def test_the_end_of_a_page_is_told_to_a_busy_mux_too(home: House) -> None:
    """A swap would wait for the page that it takes to be open, and each one after it."""
    browser = await home.signed_in()
    async with browser.live(CHANNEL) as socket:
        await socket.send_json(STATE)
        said = await heard(home, PageSaid)
        home.engine.busy = True
        await socket.send_json({**STATE, "unsaved": 1})
        await socket.receive()
    assert await heard(home, PageGone) == PageGone(ADA, INTRO, PAGE, said.link)


async def test_a_page_that_a_busy_mux_never_heard_of_has_no_end(home: House) -> None:
    """It comes back again and again: each time one event more, and a full inbox would be ever fuller."""
    browser = await home.signed_in()
    home.engine.busy = True
    async with browser.live(CHANNEL) as socket:
        await socket.send_json(STATE)
        await socket.receive()
        while not socket.closed:
            await socket.receive()
    home.engine.busy = False
    async with browser.live(CHANNEL) as socket:
        await socket.send_json(STATE)
        said = await heard(home, PageSaid)
    assert await heard(home, PageGone) == PageGone(ADA, INTRO, PAGE, said.link)
    assert not any(isinstance(event, PageGone) for event in home.engine.events)


@pytest.mark.parametrize(
    "word",
    [
        "hello",
        "[]",
        "null",
        '"text"',
        json.dumps({**STATE, "more": 1}),
        json.dumps({**STATE, "page": "../../etc"}),
        json.dumps({**STATE, "unsaved": -1}),
        json.dumps({**STATE, "unsaved": True}),
        json.dumps({**STATE, "saved": 2**60}),
        json.dumps({**STATE, "busy": "yes"}),
        json.dumps({"page": PAGE}),
        json.dumps({"accept": {"project": "intro", "number": "3"}}),
        json.dumps({"accept": {"project": "intro", "number": 3}, "more": 1}),
        "[" * 900,
    ],
)
async def test_what_cannot_be_read_closes_the_socket_and_is_no_event(home: House, word: str) -> None:
    browser = await home.signed_in()
    async with browser.live(CHANNEL) as socket:
        await socket.receive_json()
        home.engine.events.clear()
        await socket.send_str(word)
        await socket.receive()
        assert socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION
    assert home.engine.events == []


async def test_a_message_that_is_too_long_closes_the_socket(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live(CHANNEL) as socket:
        await socket.receive_json()
        await socket.send_str(" " * (live.MESSAGE_BYTES_MAX + 1))
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_a_page_cannot_become_another_one(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live(CHANNEL) as socket:
        await socket.receive_json()
        await socket.send_json(STATE)
        await socket.send_json({**STATE, "page": "f" * 16})
        await socket.receive()
        assert socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_a_page_that_speaks_without_end_is_closed(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live(CHANNEL) as socket:
        await socket.receive_json()
        for number in range(10 * live.WORDS_MAX):
            if socket.closed:
                break
            await socket.send_json({**STATE, "saved": number})
        await socket.receive()
        assert socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION
    assert len(home.engine.events) < 5 * live.WORDS_MAX


async def test_a_mux_that_is_busy_closes_the_socket_so_that_the_page_says_it_again(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live(CHANNEL) as socket:
        await socket.receive_json()
        home.engine.busy = True
        await socket.send_json(STATE)
        await socket.receive()
        assert socket.close_code == aiohttp.WSCloseCode.INTERNAL_ERROR
    home.engine.busy = False


async def test_what_a_page_accepts_is_accepted_for_its_attendee(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live(CHANNEL) as socket:
        await socket.receive_json()
        await socket.send_json({"accept": {"project": "nowhere", "number": 3}})
        await socket.send_json({"accept": {"project": "intro", "number": 3}})
        assert await heard(home, UpdateAccepted) == UpdateAccepted(ADA, INTRO, 3)


async def test_a_page_is_told_what_organizers_tell_everybody_and_what_comes_to_its_own_project(home: House) -> None:
    browser = await home.signed_in()
    coming = Coming(3, "fixes cell 4.", 90.0, 0.0)
    await home.engine.seat(ADA, {"intro": ("ready", "Ready."), "deep-dive": ("ready", "Ready.")}, "intro")
    view = home.engine.views[ADA]
    home.engine.views[ADA] = replace(view, projects=tuple(replace(card, coming=coming) for card in view.projects))
    await home.engine.tell(ADA, "Lunch is ready.")
    async with browser.live(CHANNEL) as socket:
        notices = (await socket.receive_json())["notices"]
    assert [(notice["id"], notice["kind"], notice["action"]) for notice in notices] == [
        ("broadcast/17500", "broadcast", ""),
        ("coming/intro/3", "update", ""),
    ]
    assert notices[0]["text"] == "Lunch is ready."
    assert notices[1]["text"].startswith("An update (fixes cell 4) comes in 2 minutes.")


@pytest.mark.parametrize(
    ("coming", "when"),
    [
        (Coming(3, "", 0.0, 0.0), "in a moment"),
        (Coming(3, "", 59.0, 0.0), "in 1 minute"),
        (Coming(3, "", 61.0, 0.0), "in 2 minutes"),
        (Coming(3, "", 0.0, 30.0), "once you have not worked here for 30 seconds"),
        (Coming(3, "", 0.0, 120.0), "once you have not worked here for 2 minutes"),
    ],
)
def test_when_an_update_comes_is_said_in_words(coming: Coming, when: str) -> None:
    card = ProjectCard(INTRO, "Intro", "ready", "Ready.", coming=coming)
    (notice,) = camp_view(AttendeeView(None, (card,)), lambda _: True)["notices"]
    assert notice["text"].startswith(f"An update comes {when}. ")


@pytest.mark.parametrize("origin", ["http://evil.test", "null"])
async def test_a_socket_of_another_site_is_refused(home: House, origin: str) -> None:
    browser = await home.signed_in()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.live(CHANNEL, origin)
    assert refused.value.status == 403


async def test_without_a_session_or_for_no_project_there_is_no_channel(home: House) -> None:
    async with (await home.attendee()).live(CHANNEL) as socket:
        await socket.receive()
        assert socket.close_code == live.SESSION_ENDED
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await (await home.signed_in()).live("/camp/live/nowhere")
    assert refused.value.status == 404


async def notices(home: House) -> list[dict[str, Any]]:
    """What the page of Ada's notebook shows now."""
    word = await (await (await home.signed_in()).get(CHANNEL)).json()
    return list(word["notices"])


async def test_files_that_are_too_large_are_named_in_the_notebook_and_on_the_page_of_files(home: House) -> None:
    assert await notices(home) == []
    (intro,) = (each for each in home.engine.specs if each.name == INTRO)
    home.engine.specs = (replace(intro, shared=("data",)),)
    now = home.clock()
    await keep(home.files, ADA, INTRO, {b"a": b"a"}, now=now, left_out=[b"<b>big.bin", b"two", b"three"])
    await keep(home.files, ADA, ProjectName("shared.data"), {}, now=now, left_out=[b"four"])
    (notice,) = await notices(home)
    text = "“<b>big.bin”, “two”, “three” and 1 more are larger than 256 MB and therefore not kept:"
    assert notice["text"].startswith(text)
    page = await (await (await home.signed_in()).get("/files/intro")).text()
    assert "“&lt;b&gt;big.bin”, “two”" in page
    assert "Not kept, and gone if your machine is lost: files larger than 256 MB, and the folder “.cache”." in page

    await keep(home.files, ADA, ProjectName("shared.data"), {}, now=now + 1, left_out=[])
    await keep(home.files, ADA, INTRO, {b"a": b"a"}, now=now + 1, left_out=[b"two"])
    (other,) = await notices(home)
    assert other["text"].startswith("“two” is larger than 256 MB")
    assert other["id"] != notice["id"], "one that was closed is not this one"

    await home.files.open()  # as a mux does that starts: what is in the manifests is read when a page asks
    async with asyncio.timeout(60):
        while await notices(home) != [other]:
            await asyncio.sleep(0.01)
    await home.files.delete(ADA)
    assert await notices(home) == []
