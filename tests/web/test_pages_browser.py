"""The pages in Chromium: what the script does, and that the policy stops nothing that the pages need."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from mux.core.events import RolloutSteered, UpdateAccepted
from mux.core.model import ProjectName, UserId
from mux.core.rollout_views import Offer
from mux.web.attendee import attendee_app
from mux.web.organizer import organizer_app
from tests.parts import chromium
from tests.web.page_fakes import rolling, ship, status
from tests.web.page_parts import House, house

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.browser
ADA = UserId("u-ada")
INTRO = ProjectName("intro")


class Site:
    """Both apps on real ports. In front of the attendees' app stands what the proxy would be."""

    def __init__(self, home: House, public: str, admin: str, browser: Browser) -> None:
        self.home = home
        self.public = public
        self.admin = admin
        self.browser = browser
        self.complaints: list[str] = []

    async def page(self) -> Page:
        page = await self.browser.new_page()
        page.on("console", lambda said: self.complaints.append(said.text) if "olicy" in said.text else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    async def login(self, page: Page, address: str, name: str) -> None:
        await page.goto(address)
        await page.get_by_label("Name or e-mail address").fill(name)
        await page.get_by_label("Code or password").fill(self.home.codes[name])
        await page.get_by_role("button", name="Log in").click()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    playwright = pytest.importorskip("playwright.async_api")
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    public = f"http://localhost:{sockets[0].getsockname()[1]}"
    admin = f"http://127.0.0.1:{sockets[1].getsockname()[1]}"
    async with house(tmp_path) as home:
        home.deps = replace(home.deps, public_origin=public, admin_origin=admin)

        @web.middleware
        async def proxy(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith("/camp/intro/") and (ADA, INTRO) in home.engine.routes:
                return web.Response(text=f"<h1>Notebook at {request.path_qs}</h1>", content_type="text/html")
            return await handler(request)

        attendees = attendee_app(home.deps)
        attendees.middlewares.insert(0, proxy)
        runners = [web.AppRunner(attendees), web.AppRunner(organizer_app(home.deps))]
        for runner, one in zip(runners, sockets, strict=True):
            await runner.setup()
            await web.SockSite(runner, one).start()
        async with playwright.async_playwright() as driver:
            browser = await driver.chromium.launch(
                executable_path=chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            yield Site(home, public, admin, browser)
            await browser.close()
        for runner in runners:
            await runner.cleanup()


async def test_a_deep_link_goes_through_login_and_queue_and_enters_by_itself(site: Site) -> None:
    page, engine = await site.page(), site.home.engine
    await engine.queue(ADA, 3, 9, "Every ready seat is taken.")
    link = f"{site.public}/camp/intro/lab?x=1"
    await site.login(page, f"{link}#part", "ada")
    await page.get_by_text("Every ready seat is taken.").wait_for()
    assert page.url == f"{link}#part"
    await engine.queue(ADA, 1, 7, "Your seat is being assigned.")
    await page.get_by_text("Your seat is being assigned.").wait_for()
    assert await page.locator("#position").inner_text() == "1"
    assert (await page.title()).startswith("In the queue: 1")
    await engine.seat(ADA, {"intro": ("starting", "It is being started.")})
    await page.get_by_text("Starting your workspace").wait_for()
    await engine.seat(ADA, {"intro": ("ready", "Ready.")}, "intro")
    await page.get_by_text("Notebook at /camp/intro/lab?x=1").wait_for()
    assert page.url == f"{link}#part"
    assert site.complaints == []


async def test_cards_change_in_place_as_text_and_a_logout_elsewhere_leads_to_the_login(site: Site) -> None:
    context = await site.browser.new_context()
    page, other = await context.new_page(), await context.new_page()
    page.on("pageerror", lambda error: site.complaints.append(str(error)))
    await site.login(page, f"{site.public}/camp/", "ada")
    card = page.locator('[data-project="intro"]')
    await card.get_by_text("Starting", exact=True).wait_for()
    await site.home.engine.seat(ADA, {"intro": ("failed", "<img src=x onerror=alert(1)> & more")})
    await card.get_by_text("<img src=x onerror=alert(1)> & more").wait_for()
    offer = card.get_by_role("button", name="Update now")
    assert not await offer.is_visible()
    await site.home.engine.offer(ADA, INTRO, Offer(7, "<img src=x onerror=alert(2)>", accepted=False))
    await card.get_by_text("An update is ready: <img src=x onerror=alert(2)>.").wait_for()
    assert await card.locator("img").count() == 0
    await offer.click()
    await card.get_by_text("Your update comes in a moment.").wait_for()
    assert UpdateAccepted(ADA, INTRO, 7) in site.home.engine.events
    assert not await offer.is_visible()
    await other.goto(f"{site.public}/camp/")
    await other.get_by_role("button", name="Log out").click()
    await page.wait_for_url("**/login?next=%2Fcamp%2F")
    await other.wait_for_url("**/login?out")
    await other.get_by_text("You are logged out.").wait_for()
    assert site.complaints == []


async def test_behind_a_network_that_lets_nothing_through_a_websocket_the_page_asks_instead(site: Site) -> None:
    page, engine = await site.page(), site.home.engine
    await page.clock.install()
    await page.route_web_socket("**/camp/live", lambda _socket: None)
    await engine.queue(ADA, 3, 9, "Every ready seat is taken.")
    await site.login(page, f"{site.public}/camp/intro/", "ada")
    await page.get_by_text("Every ready seat is taken.").wait_for()
    await engine.seat(ADA, {"intro": ("ready", "Ready.")}, "intro")
    await page.clock.fast_forward(20_000)
    await page.get_by_text("Notebook at /camp/intro/").wait_for()
    assert site.complaints == []


async def test_without_javascript_the_waiting_room_still_enters_by_itself(site: Site) -> None:
    context = await site.browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await site.home.engine.queue(ADA, 3, 9, "Every ready seat is taken.")
    await site.login(page, f"{site.public}/camp/intro/", "ada")
    await page.get_by_text("Every ready seat is taken.").wait_for()
    await site.home.engine.seat(ADA, {"intro": ("ready", "Ready.")}, "intro")
    await page.get_by_text("Notebook at /camp/intro/").wait_for()


async def test_a_rollout_is_watched_live_and_rolled_back_after_a_question(site: Site) -> None:
    page, engine = await site.page(), site.home.engine
    await site.login(page, f"{site.admin}/", "olga")
    assert not await page.locator("#rollouts").is_visible()
    engine.rolling = (rolling(),)
    await engine.news()
    panel = page.locator("#rollouts")
    await panel.get_by_text("11 of 40").wait_for()
    assert not await panel.get_by_role("button", name="Roll back intro").is_visible()
    await panel.get_by_text("Roll back…").click()
    engine.rolling = (rolling(swapped=12),)
    await engine.news()
    await panel.get_by_text("12 of 40").wait_for()
    await panel.get_by_role("button", name="Roll back intro").click()
    await page.wait_for_url(f"{site.admin}/")
    assert RolloutSteered(INTRO, "rollback") in engine.events
    assert site.complaints == []


async def test_the_organizers_page_follows_the_room_and_keeps_what_is_unfolded(site: Site) -> None:
    page, engine = await site.page(), site.home.engine
    await site.login(page, f"{site.admin}/", "olga")
    await page.get_by_text("Release…").click()
    await page.fill("#broadcast-text", "half written")
    engine.fleet = status(waiting=17)
    await engine.news()
    await page.locator("#figures").get_by_text("17").wait_for()
    assert await page.input_value("#broadcast-text") == "half written"
    assert await page.get_by_role("button", name="Release this seat").is_visible()
    await page.locator("#ships summary").focus()
    engine.fleet = status(ships=(ship(last_seen_s=3.0),))
    await engine.news()
    await page.get_by_text("heard from 3 s ago").wait_for()
    assert await page.locator("#ships summary").evaluate("summary => summary === document.activeElement")
    await page.get_by_role("button", name="Closed").click()
    await page.get_by_text("The doors are closed").wait_for()
    assert site.complaints == []
