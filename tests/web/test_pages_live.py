"""Live pages: what is pushed, when a socket ends, and that a full waiting room is cheap."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from mux.core.model import UserId
from mux.web import live
from tests.web.page_parts import House

ADA = UserId("u-ada")
SESSION_ENDED = 4401


async def test_a_page_is_told_at_once_and_then_whenever_its_view_changes(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.queue(ADA, 3, 5, "Every ready seat is taken.")
    async with browser.live("/camp/live") as socket:
        first = await socket.receive_json()
        assert first["waiting"]["position"] == 3
        assert first["waiting"]["text"] == "Every ready seat is taken."
        await home.engine.seat(ADA, {"intro": ("ready", "Ready.")}, "intro")
        second = await socket.receive_json()
        assert second["waiting"] is None
        assert [(one["name"], one["state"], one["open"]) for one in second["projects"]] == [
            ("intro", "ready", True),
            ("deep-dive", "on_use", False),
        ]


async def test_a_change_elsewhere_in_the_fleet_sends_nothing(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live("/camp/live") as socket:
        await socket.receive_json()
        looks = home.engine.looks
        await home.engine.news()
        while home.engine.looks == looks:
            await asyncio.sleep(0.01)
        await home.engine.queue(ADA, 1, 1, "Now it is different.")
        assert (await socket.receive_json())["waiting"]["text"] == "Now it is different."


async def test_many_changes_at_once_are_one_message(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live("/camp/live") as socket:
        await socket.receive_json()
        for position in range(50, 0, -1):
            await home.engine.queue(ADA, position, 50, "Every ready seat is taken.")
        assert (await socket.receive_json())["waiting"]["position"] == 1


async def test_a_logout_in_another_page_closes_the_socket_with_its_own_code(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live("/camp/live") as socket:
        await socket.receive_json()
        await browser.send("/camp/", "/logout")
        ended = await socket.receive()
        assert ended.type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == SESSION_ENDED


async def test_a_session_that_expires_by_the_clock_closes_the_socket(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live("/camp/live") as socket:
        await socket.receive_json()
        home.clock.now += 25 * 3600
        await home.engine.news()
        await socket.receive()
        assert socket.close_code == SESSION_ENDED


async def test_without_a_session_the_socket_says_so(home: House) -> None:
    async with (await home.attendee()).live("/camp/live") as socket:
        await socket.receive()
        assert socket.close_code == SESSION_ENDED


@pytest.mark.parametrize("origin", ["http://evil.test", "http://camp.test", "null"])
async def test_a_socket_of_another_site_is_refused(home: House, origin: str) -> None:
    browser = await home.signed_in()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await browser.live("/camp/live", origin)
    assert refused.value.status == 403


async def test_the_newest_message_can_be_fetched_where_sockets_do_not_get_through(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.queue(ADA, 3, 5, "Every ready seat is taken.")
    answer = await browser.fetch("/camp/live")
    assert answer.status == 200
    assert (await answer.json())["waiting"]["position"] == 3


async def test_a_page_that_speaks_is_closed(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live("/camp/live") as socket:
        await socket.receive_json()
        await socket.send_str("hello")
        await socket.receive()
        assert socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_one_login_has_a_bounded_number_of_live_pages(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAGES_PER_SESSION_MAX", 2)
    browser = await home.signed_in()
    async with browser.live("/camp/live") as one, browser.live("/camp/live") as two:
        await one.receive_json()
        await two.receive_json()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await browser.live("/camp/live")
        assert refused.value.status == 429
        await two.close()
    async with browser.live("/camp/live") as again:
        assert (await again.receive_json())["waiting"] is None


async def test_a_full_waiting_room_is_looked_at_a_bounded_number_of_times(home: House) -> None:
    browser = await home.signed_in()
    pages = 20
    sockets = [await browser.live("/camp/live") for _ in range(pages)]
    for socket in sockets:
        await socket.receive_json()
    before = home.engine.looks
    for position in range(1, 201):
        await home.engine.queue(ADA, position, 200, "Every ready seat is taken.")
    await home.engine.queue(ADA, 1, 1, "Last.")
    for socket in sockets:
        while (await socket.receive_json())["waiting"]["text"] != "Last.":
            pass
    assert home.engine.looks - before <= 3 * pages
    for socket in sockets:
        await socket.close()


async def test_the_pace_slows_down_with_the_number_of_pages(home: House) -> None:
    pages = live.Live(home.engine, home.clock)
    assert pages.interval_s() == live.PUSH_INTERVAL_S
    pages._count = 2000
    assert pages.interval_s() == 2000 * live.PUSH_COST_S


async def test_sockets_are_closed_when_the_control_process_stops(home: House) -> None:
    browser = await home.signed_in()
    async with browser.live("/camp/live") as socket:
        await socket.receive_json()
        closing = asyncio.create_task(home.stop())
        await socket.receive()
        assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY
        await closing
