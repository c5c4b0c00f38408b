"""``/camp/``: cards, the waiting room, deep links, and what programs are told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mux.core.events import ProjectRequested, UpdateAccepted
from mux.core.model import ProjectName, UserId
from mux.core.rollout_views import Offer
from tests.web.page_parts import House

ADA = UserId("u-ada")
INTRO = ProjectName("intro")
HOSTILE = """"><script>alert(1)</script><img src=x onerror='alert(2)'>"""


async def test_the_start_page_leads_to_the_projects_and_from_there_to_the_login(home: House) -> None:
    browser = await home.attendee()
    assert (await browser.get("/")).headers["Location"] == "/camp/"
    assert (await browser.get("/camp")).headers["Location"] == "/camp/"
    assert (await browser.get("/camp/")).headers["Location"] == "/login?next=/camp/"


async def test_each_project_has_a_card_with_its_state_and_the_same_link_for_everybody(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"intro": ("ready", "Ready.")}, "intro")
    page = await (await browser.get("/camp/")).text()
    cards = dict(re.findall(r'data-project="([^"]+)" data-state="([^"]+)"', page))
    assert cards == {"intro": "ready", "deep-dive": "on_use"}
    assert 'href="/camp/intro/"' in page
    assert '<section id="waiting" class="panel queue" aria-label="Waiting room" hidden>' in page
    assert 'http-equiv="refresh"' not in page


async def test_a_project_with_a_landing_is_entered_there(home: House) -> None:
    home.engine.specs = (*home.engine.specs, replace(home.engine.specs[0], name=ProjectName("spark"), kind="camp"))
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"spark": ("ready", "Ready.")}, "spark")
    assert (await browser.get("/camp/spark")).headers["Location"] == "/camp/spark/jupyter/"
    assert (await browser.get("/camp/spark/?a=b")).headers["Location"] == "/camp/spark/jupyter/?a=b"
    assert (await browser.get("/camp/spark/jupyter/lab")).headers["Location"] == "/camp/spark/jupyter/lab"


async def test_a_workspace_without_a_route_is_not_called_ready(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"intro": ("ready", "Ready.")})
    assert 'data-project="intro" data-state="starting"' in await (await browser.get("/camp/")).text()


async def test_the_waiting_room_shows_position_and_the_true_reason(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.queue(ADA, 7, 41, "The doors are closed. An organizer opens them.")
    page = await (await browser.get("/camp/")).text()
    assert '<span class="number" id="position">7</span>' in page
    assert "of 41 waiting" in page
    assert "The doors are closed. An organizer opens them." in page
    assert re.search(r'<noscript><meta http-equiv="refresh" content="\d+"></noscript>', page)


async def test_a_deep_link_waits_in_the_queue_under_its_own_address(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.queue(ADA, 2, 9, "Every ready seat is taken.")
    answer = await browser.get("/camp/intro/lab/tree/a.ipynb?x=1")
    page = await answer.text()
    assert answer.status == 200
    assert 'data-enter="intro"' in page
    assert 'data-kind="waiting"' in page
    assert "Every ready seat is taken." in page
    assert not any(isinstance(event, ProjectRequested) for event in home.engine.events)


async def test_opening_a_project_that_starts_on_use_asks_for_it_once(home: House) -> None:
    browser = await home.signed_in()
    for _ in range(2):
        page = await (await browser.get("/camp/deep-dive/")).text()
        assert 'data-kind="starting"' in page
    wishes = [event for event in home.engine.events if isinstance(event, ProjectRequested)]
    assert wishes == [ProjectRequested(ADA, ProjectName("deep-dive"))]


async def test_looking_at_a_head_starts_nothing(home: House) -> None:
    browser = await home.signed_in()
    answer = await browser.fetch("/camp/deep-dive/", "HEAD")
    assert answer.status == 503
    assert not any(isinstance(event, ProjectRequested) for event in home.engine.events)


async def test_a_failed_workspace_says_what_happens_next_and_can_be_tried_again(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"intro": ("failed", "It does not start. It is being tried again.")})
    link = "/camp/intro/lab?x=%40"
    page = await (await browser.get(link)).text()
    assert "It does not start. It is being tried again." in page
    answer = await browser.send(link, "/retry")
    assert (answer.status, answer.headers["Location"]) == (303, link)
    assert home.engine.events[-1] == ProjectRequested(ADA, ProjectName("intro"))


async def test_trying_again_needs_our_form_and_leads_nowhere_else(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"intro": ("failed", "It does not start.")})
    before = list(home.engine.events)
    assert (await browser.post("/retry", {"project": "intro", "csrf": "x"})).status == 403
    fields = await browser.form("/camp/intro/", "/retry")
    assert (await browser.post("/retry", fields, Origin="http://evil.test")).status == 403
    assert (await browser.post("/retry", {**fields, "project": "nope"})).status == 404
    assert home.engine.events == before
    answer = await browser.post("/retry", {**fields, "next": "//evil.test/"})
    assert answer.headers["Location"] == "/camp/intro/"


async def test_an_update_is_offered_on_the_card_and_accepted_by_a_press(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"intro": ("ready", "Ready.")}, "intro")
    await home.engine.offer(ADA, INTRO, Offer(3, HOSTILE, accepted=False))
    page = await (await browser.get("/camp/")).text()
    assert "An update is ready: &#34;&gt;&lt;script&gt;" in page
    answer = await browser.send("/camp/", "/update")
    assert (answer.status, answer.headers["Location"]) == (303, "/camp/")
    assert home.engine.events[-1] == UpdateAccepted(ADA, INTRO, 3)
    (notice,) = (await (await browser.fetch("/camp/live")).json())["notices"]
    assert notice == {
        "id": "update/intro/3",
        "kind": "update",
        "project": "intro",
        "number": 3,
        "text": "Your update comes in a moment. Your files stay.",
        "action": "",
    }


@pytest.mark.parametrize("wrong", [{"csrf": "x"}, {"project": "nope"}, {"number": "-1"}, {"number": "3" * 99}])
async def test_an_acceptance_needs_our_form_and_an_offer_that_can_be(home: House, wrong: dict[str, str]) -> None:
    browser = await home.signed_in()
    await home.engine.offer(ADA, INTRO, Offer(3, "", accepted=False))
    before, fields = list(home.engine.events), await browser.form("/camp/", "/update")
    assert (await browser.post("/update", {**fields, **wrong})).status in (403, 404)
    assert (await browser.post("/update", fields, Origin="http://evil.test")).status == 403
    assert (await (await home.attendee()).post("/update", fields)).headers["Location"] == "/login"
    assert home.engine.events == before


async def test_an_unknown_project_is_a_page_that_lists_the_known_ones(home: House) -> None:
    browser = await home.signed_in()
    answer = await browser.get("/camp/nope/")
    page = await answer.text()
    assert answer.status == 404
    assert 'href="/camp/intro/"' in page
    assert "First steps" in page


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("/camp/intro", "/camp/intro/"),
        ("/camp/intro?x=%40&y", "/camp/intro/?x=%40&y"),
        ("/camp/%69ntro/lab/a%2Fb?x=1", "/camp/intro/lab/a%2Fb?x=1"),
    ],
)
async def test_other_spellings_of_a_project_lead_to_the_one_that_proxies_know(
    home: House, asked: str, told: str
) -> None:
    browser = await home.signed_in()
    assert (await browser.get(asked)).headers["Location"] == told


async def test_a_route_that_has_just_come_is_tried_again_once_then_waited_for(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"intro": ("ready", "Ready.")}, "intro")
    link = "/camp/intro/lab?a=%2F"
    answer = await browser.get(link)
    assert (answer.status, answer.headers["Location"]) == (302, link)
    page = await (await browser.get(link)).text()
    assert 'data-kind="starting"' in page
    assert 'data-delay="2000"' in page


@pytest.mark.parametrize("path", ["/camp/intro/api/contents", "/camp/", "/camp/live"])
async def test_a_program_without_a_session_gets_json_and_no_login_page(home: House, path: str) -> None:
    browser = await home.attendee()
    for asking in ({}, {"Sec_Fetch_Mode": "cors", "Accept": "*/*"}, {"X_XSRFToken": "1", "Accept": "*/*"}):
        answer = await browser.fetch(path, **asking)
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "no_session"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_without_a_session_is_refused_not_redirected(home: House, method: str) -> None:
    browser = await home.attendee()
    assert (await browser.fetch("/camp/intro/api/contents/x", method, Accept="text/html")).status == 401


async def test_a_plain_download_without_a_session_leads_to_the_login(home: House) -> None:
    browser = await home.attendee()
    answer = await browser.fetch("/camp/intro/files/x.csv", Accept="*/*")
    assert answer.headers["Location"] == "/login?next=/camp/intro/files/x.csv"


@pytest.mark.parametrize(
    ("state", "code"), [("starting", "starting"), ("failed", "workspace_failed"), ("ready", "starting")]
)
async def test_a_program_is_told_to_come_back_while_there_is_no_workspace(home: House, state: str, code: str) -> None:
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"intro": (state, "So it is.")})
    answer = await browser.fetch("/camp/intro/api/kernels", "POST", Origin=browser.origin)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert (await answer.json())["error"]["code"] == code


async def test_a_socket_of_a_workspace_that_is_not_there_is_refused_with_a_status(home: House) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    stranger, browser = await home.attendee(), await home.signed_in()
    path = "/camp/intro/api/kernels/1/channels"
    assert (await stranger.fetch(path, Origin=stranger.origin, **upgrade)).status == 401
    assert (await browser.fetch(path, Origin=browser.origin, **upgrade)).status == 503
    assert (await browser.fetch(path, Origin="http://evil.test", **upgrade)).status == 403


async def test_another_site_starts_nothing(home: House) -> None:
    browser = await home.signed_in()
    answer = await browser.post("/camp/deep-dive/", {}, Origin="http://evil.test")
    assert answer.status == 403
    assert not any(isinstance(event, ProjectRequested) for event in home.engine.events)


async def test_a_next_that_no_login_would_follow_leads_to_the_projects(home: House) -> None:
    browser = await home.attendee()
    assert (await browser.get("/camp/intro/..%2f..%2fx")).headers["Location"] == "/login?next=/camp/"
    assert (await browser.get("/camp/intro/" + "x" * 3000)).headers["Location"] == "/login?next=/camp/"


async def test_hostile_texts_are_shown_as_text(home: House) -> None:
    browser = await home.signed_in()
    await home.engine.seat(ADA, {"intro": ("failed", HOSTILE)})
    await home.store.save_users([await _renamed(home, HOSTILE)])
    for path in ("/camp/", "/camp/intro/", "/camp/intro/?x=<script>", "/camp/<script>alert(1)</script>/"):
        page = await (await browser.get(path)).text()
        assert "alert(1)</script>" not in page
        assert "onerror='" not in page
        assert page.count("<script") == 1
    await home.engine.tell(ADA, HOSTILE)
    page = await (await browser.get("/camp/")).text()
    assert page.count("<script") == 1
    assert "&#34;&gt;&lt;script&gt;alert(1)" in page
    await home.engine.queue(ADA, 1, 1, HOSTILE)
    assert (await (await browser.get("/camp/intro/")).text()).count("<script") == 1


async def test_a_busy_engine_is_a_page_that_tries_again(home: House) -> None:
    browser = await home.signed_in()
    home.engine.busy = True
    answer = await browser.get("/camp/deep-dive/")
    page = await answer.text()
    assert answer.status == 503
    assert 'http-equiv="refresh"' in page and "Many people are coming in" in page
    home.engine.trouble = "the disk is full"
    page = await (await browser.get("/camp/deep-dive/")).text()
    assert 'http-equiv="refresh"' in page and "cannot store logins" in page and "tries again by itself" in page
    answer = await browser.fetch("/camp/deep-dive/")
    assert (answer.status, (await answer.json())["error"]["code"]) == (503, "busy")


async def test_a_defect_shows_no_detail(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = await home.signed_in()

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(home.engine, "attendee_view", broken)
    answer = await browser.get("/camp/")
    assert answer.status == 500
    assert "secret detail" not in await answer.text()


async def _renamed(home: House, name: str):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    user = await home.store.user(ADA)
    assert user is not None
    return replace(user, name=name)
