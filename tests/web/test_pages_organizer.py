"""The organizers' pages: who gets in, who may act, and that ships' texts stay text."""

from __future__ import annotations

from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from mux.core.events import BroadcastSet, DoorsSet, RolloutSteered, SeatReleased
from mux.core.model import Doors, ProjectName, ShipId, UserId
from mux.core.rollout import RolloutState
from mux.core.views import SeatView
from mux.web.organizer import browser_scopes, organizer_app
from tests.web.page_fakes import rolling, ship, status, warming
from tests.web.page_parts import ADMIN, House

INTRO = ProjectName("intro")
HOSTILE = """</pre><script>alert(1)</script><img src=x onerror='alert(2)'>"""


async def test_an_organizer_sees_the_room_with_names_and_acts(home: House) -> None:
    browser = await home.organizing("olga")
    page = await (await browser.get("/")).text()
    assert "ship-0001" in page
    assert "<td>ada</td>" in page
    assert "Not enforced here: memory." in page
    answer = await browser.send("/", "/doors", doors="closed")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    answer = await browser.send("/", "/seats/release")
    assert answer.status == 303
    assert home.engine.events == [DoorsSet(Doors.CLOSED), SeatReleased(UserId("u-ada"))]


async def test_a_helper_sees_everything_and_changes_nothing(home: House) -> None:
    browser = await home.organizing("hal")
    page = await (await browser.get("/")).text()
    assert "ship-0001" in page
    assert 'action="/doors"' not in page
    assert 'action="/seats/release"' not in page
    fields = await browser.form("/", "/logout")
    assert (await browser.post("/doors", {**fields, "doors": "open"})).status == 403
    assert (await browser.post("/seats/release", {**fields, "user": "u-ada"})).status == 403
    assert not home.engine.events


async def test_a_rollout_is_watched_and_steered(home: House) -> None:
    home.engine.rolling = (rolling(),)
    browser = await home.organizing("olga")
    page = await (await browser.get("/")).text()
    for part in ("11 of 40", "Time left: about 5 min.", "Waits for the wave under way.", 'value="pause"'):
        assert part in page
    assert 'value="resume"' not in page, "nothing is paused"
    fields = await browser.form("/", "/rollouts/steer")
    for order in ("pause", "abort", "rollback"):
        answer = await browser.post("/rollouts/steer", {**fields, "order": order})
        assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert home.engine.events == [RolloutSteered(INTRO, order) for order in ("pause", "abort", "rollback")]


async def test_an_order_that_does_not_fit_or_comes_from_a_helper_is_refused(home: House) -> None:
    done = rolling(phase="done")
    home.engine.rolling = (replace(done, rollout=replace(done.rollout, state=RolloutState.DONE)),)
    browser, helper = await home.organizing("olga"), await home.organizing("hal")
    fields = {**await browser.form("/", "/rollouts/steer"), "order": "pause"}
    answer = await browser.post("/rollouts/steer", fields)
    assert answer.status == 409 and "nothing to pause" in await answer.text()
    for wrong in ({"order": "stop"}, {"project": "nope"}):
        assert (await browser.post("/rollouts/steer", {**fields, **wrong})).status == 404
    assert 'action="/rollouts/steer"' not in await (await helper.get("/")).text()
    own = await helper.form("/", "/logout")
    assert (await helper.post("/rollouts/steer", {**own, "project": "intro", "order": "rollback"})).status == 403
    assert (await browser.post("/rollouts/steer", {**fields, "csrf": "x", "order": "rollback"})).status == 403
    assert not home.engine.events


async def test_failures_are_grouped_by_reason_and_escaped(home: House) -> None:
    refused = tuple((ShipId(f"ship-{number}"), HOSTILE) for number in range(7))
    home.engine.rolling = (rolling(replace(rolling().rollout, refused=refused, why="too many")),)
    home.engine.warm = warming(ready=1, stalled=True, reasons=((HOSTILE, 2),))
    page = await (await (await home.organizing("olga")).get("/")).text()
    assert HOSTILE not in page
    assert "7 × &lt;/pre&gt;&lt;script&gt;" in page
    assert "ship-4 and 2 more" in page
    assert "Nothing has become ready for long." in page
    assert "12.50 USD" in page and "limit 100.00 USD" in page


async def test_an_attendee_does_not_get_in(home: House) -> None:
    browser = await home.organizer()
    answer = await browser.send("/login", "/login", login="ada", secret=home.codes["ada"])
    assert answer.status == 403
    assert home.deps.public_origin in await answer.text()
    assert (await browser.get("/")).headers["Location"].startswith("/login")


async def test_a_login_on_the_attendees_host_carries_no_rights_here(home: House) -> None:
    attendee = await home.signed_in("olga")
    token = attendee.cookie("mux_session")
    browser = await home.organizer()
    for cookie in (f"mux_session={token}", f"mux_organizer={token}"):
        answer = await browser.get("/", Cookie=cookie)
        assert answer.headers["Location"].startswith("/login")


async def test_rights_end_with_the_role_and_with_the_logout(home: House) -> None:
    browser = await home.organizing("olga")
    fields = await browser.form("/", "/doors")
    answer = await browser.send("/", "/logout")
    assert answer.headers["Location"] == "/login"
    assert (await browser.post("/doors", {**fields, "doors": "open"})).status == 401
    browser = await home.organizing("olga")
    await home.store.remove_users([UserId("u-olga")])
    assert (await browser.get("/")).headers["Location"].startswith("/login")
    assert not home.engine.events


async def test_forms_of_others_change_nothing(home: House) -> None:
    browser = await home.organizing("olga")
    fields = {**await browser.form("/", "/doors"), "doors": "open"}
    assert (await browser.post("/doors", {**fields, "csrf": "x"})).status == 403
    assert (await browser.post("/doors", fields, Origin="http://evil.test")).status == 403
    assert (await browser.post("/doors", {**fields, "doors": "ajar"})).status == 422
    assert (await browser.post("/seats/release", {**fields, "user": "nobody"})).status == 303
    assert not home.engine.events


@pytest.mark.parametrize("host", ["camp.test:8000", "rooms.test", "rooms.test:8002", "evil.test", ""])
async def test_another_host_name_is_refused(home: House, host: str) -> None:
    browser = await home.organizer()
    for path in ("/", "/login", "/healthz", "/nothing", "/live"):
        assert (await browser.fetch(path, Host=host)).status == 421


@pytest.mark.parametrize(
    ("lags", "said"),
    [
        ((0.0, 59.0), ""),
        ((3.0, 240.0), "Up to 4 min of work in one home is on its ship alone, and lost if the ship is."),
        ((61.0, 240.0), "Up to 4 min of work in 2 homes is on their ships alone, and lost if the ship is."),
    ],
)
async def test_work_that_is_long_not_kept_apart_from_its_ship_is_shown(
    home: House, lags: tuple[float, float], said: str
) -> None:
    seats = (
        SeatView(index, UserId("u-ada"), True, {INTRO: "bound"}, {}, {INTRO: lag}) for index, lag in enumerate(lags)
    )
    home.engine.fleet = status(ships=(ship(seats=tuple(seats)),))
    page = await (await (await home.organizing("olga")).get("/")).text()
    assert said in page
    assert ("of work in" in page) is bool(said)
    assert page.count("of work not kept") == sum(lag >= 60 for lag in lags)
    assert ("intro: 4 min of work not kept" in page) is (240.0 in lags)


async def test_what_a_project_may_beyond_the_rule_is_shown(home: House) -> None:
    home.engine.fleet = status(opt_ins={ProjectName("intro"): ("root", "docker_socket")})
    page = await (await (await home.organizing("olga")).get("/")).text()
    assert "Containers of <strong>intro</strong> may, beyond the rule: root, docker_socket." in page


async def test_texts_of_ships_are_shown_as_text(home: House) -> None:
    intro = ProjectName("intro")
    seat = SeatView(0, UserId("u-ada"), False, {intro: HOSTILE}, {intro: HOSTILE})
    hostile = ship(phase=HOSTILE, conditions=(f"failed ({HOSTILE})",), limits_missing=(HOSTILE,), seats=(seat,))
    home.engine.fleet = status(
        ships=(hostile,),
        projects_broken={intro: HOSTILE},
        launching=False,
        launching_text=HOSTILE,
        trouble=HOSTILE,
        notices=((1.7e9, "error", HOSTILE, HOSTILE),),
    )
    page = await (await (await home.organizing("olga")).get("/")).text()
    assert page.count("<script") == 1
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 9
    assert "<strong>Nothing can be stored</strong>" in page


async def test_the_page_hears_of_changes_and_of_the_end_of_its_session(home: House) -> None:
    browser = await home.organizing("olga")
    async with browser.live("/live") as socket:
        await socket.receive_json()
        await home.engine.news()
        await socket.receive_json()
        await browser.send("/", "/logout")
        await socket.receive()
        assert socket.close_code == 4401


async def test_a_stranger_hears_nothing(home: House) -> None:
    browser = await home.organizer()
    assert (await browser.fetch("/live")).status == 401
    async with browser.live("/live") as socket:
        await socket.receive()
        assert socket.close_code == 4401
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await browser.live("/live", "http://evil.test")


async def test_the_admin_api_stands_beside_the_pages(home: House) -> None:
    scopes = browser_scopes(home.deps)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(sorted(await scopes(request)))

    app = organizer_app(home.deps, [web.get("/api/v1/scopes", answer)])
    olga, hal = await home.organizing("olga"), await home.organizing("hal")
    async with TestClient(TestServer(app)) as client:
        for browser, expected in (
            (olga, ["apply", "read", "roster"]),
            (hal, ["read"]),
            (await home.organizer(), []),
        ):
            cookie = f"mux_organizer={browser.cookie('mux_organizer')}"
            headers = {"Host": ADMIN.partition("//")[2], "Cookie": cookie}
            response = await client.get("/api/v1/scopes", headers=headers)
            assert await response.json() == expected
        misdirected = await client.get("/api/v1/scopes", headers={"Accept": "text/html"})
        assert misdirected.status == 421
        assert (await misdirected.json())["error"]["code"] == "wrong_host"


async def test_everybody_is_told_something_by_a_form(home: House) -> None:
    browser = await home.organizing("olga")
    told = "Lunch <b>now</b>\u00a0👩\u200d💻\r\nin room 2"
    assert (await browser.send("/", "/broadcast", text=f" {told} ")).status == 303
    assert home.engine.events[-1] == BroadcastSet(told.replace("\r\n", "\n"))
    home.engine.fleet = replace(home.engine.fleet, broadcast=told)
    page = await (await browser.get("/")).text()
    assert "Lunch &lt;b&gt;now&lt;/b&gt;" in page
    assert (await browser.send("/", "/broadcast", clear="yes")).status == 303
    assert home.engine.events[-1] == BroadcastSet("")


@pytest.mark.parametrize("text", ["x" * 501, "a\x07b", "a\u202eb", "a\u2066b", "a\u2028b", "a\ufeffb"])
async def test_what_cannot_be_shown_is_told_to_nobody(home: House, text: str) -> None:
    browser = await home.organizing("olga")
    before = list(home.engine.events)
    assert (await browser.send("/", "/broadcast", text=text)).status == 422
    assert home.engine.events == before


async def test_a_broadcast_comes_from_our_own_form_and_an_organizer(home: House) -> None:
    browser = await home.organizing("olga")
    fields = {**await browser.form("/", "/broadcast"), "text": "Lunch"}
    assert (await browser.post("/broadcast", {**fields, "csrf": "x"})).status == 403
    assert (await browser.post("/broadcast", fields, Origin="http://evil.test")).status == 403
    helper = await home.organizing("hal")
    assert 'action="/broadcast"' not in await (await helper.get("/")).text()
    assert (await helper.post("/broadcast", fields)).status == 403
    assert not any(isinstance(event, BroadcastSet) for event in home.engine.events)
