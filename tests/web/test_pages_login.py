"""Login, registration and logout, as a browser meets them."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from mux.core.events import LoggedIn, LoggedOut
from mux.web import pages
from tests.web.page_parts import PASSCODE, PUBLIC, House


async def test_a_right_code_leads_to_the_projects_with_a_session_in_force(home: House) -> None:
    browser = await home.attendee()
    answer = await browser.send("/login", "/login", login="ada", secret=home.codes["ada"])
    assert answer.status == 303
    assert answer.headers["Location"] == "/camp/"
    assert home.engine.session(home.session(browser), home.clock()) is not None
    assert "Your projects" in await (await browser.get("/camp/")).text()


async def test_the_session_cookie_is_for_this_host_and_no_script(home: House) -> None:
    browser = await home.attendee()
    answer = await browser.send("/login", "/login", login="ada", secret=home.codes["ada"])
    cookie = next(value for value in answer.headers.getall("Set-Cookie") if value.startswith("mux_session="))
    attributes = {part.strip().split("=")[0].lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite", "path", "max-age"} <= attributes
    assert "domain" not in attributes
    assert "SameSite=Lax" in cookie
    assert browser.cookie("mux_session") not in str(home.engine.events)


async def test_a_wrong_login_keeps_the_name_and_says_what_to_do(home: House) -> None:
    browser = await home.attendee()
    answer = await browser.send("/login", "/login", login='ad<b>"', secret="not-it")
    text = await answer.text()
    assert answer.status == 403
    assert "do not belong together" in text
    assert 'value="ad&lt;b&gt;&#34;"' in text
    assert "not-it" not in text
    assert not home.engine.events


@pytest.mark.parametrize("csrf", [None, "", "x" * 43, "ü"])
async def test_a_form_without_our_token_logs_nobody_in(home: House, csrf: str | None) -> None:
    browser = await home.attendee()
    fields = {**await browser.form("/login", "/login"), "login": "ada", "secret": home.codes["ada"]}
    if csrf is None:
        del fields["csrf"]
    else:
        fields["csrf"] = csrf
    answer = await browser.post("/login", fields)
    assert answer.status == 403
    assert not home.engine.events


async def test_a_form_token_of_another_browser_logs_nobody_in(home: House) -> None:
    mine, other = await home.attendee(), await home.attendee()
    stolen = await mine.form("/login", "/login")
    await other.get("/login")
    answer = await other.post("/login", {**stolen, "login": "ada", "secret": home.codes["ada"]})
    assert answer.status == 403
    assert not home.engine.events


@pytest.mark.parametrize("host", ["attendee", "organizer"])
async def test_a_browser_without_cookies_is_told_so_and_one_with_a_stale_form_is_not(home: House, host: str) -> None:
    without, stale = [await getattr(home, host)() for _ in range(2)]
    fields = {**await stale.form("/login", "/login"), "csrf": "old", "login": "ada", "secret": home.codes["ada"]}
    assert "allow cookies for this site" in await (await without.post("/login", fields)).text()
    text = await (await stale.post("/login", fields)).text()
    assert "allow cookies" not in text
    assert "open for a long time" in text


async def test_a_stale_form_comes_back_filled_in_and_works_the_second_time(home: House) -> None:
    browser = await home.attendee()
    answer = await browser.post("/login", {"csrf": "old", "login": "ada", "secret": "x", "next": "/camp/intro/lab"})
    fields = dict(re.findall(r'name="(csrf|next)" value="([^"]*)"', await answer.text()))
    answer = await browser.post("/login", {**fields, "login": "ada", "secret": home.codes["ada"]})
    assert answer.status == 303
    assert answer.headers["Location"] == "/camp/intro/lab"


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://camp.test:8001", "https://camp.test:8000"])
async def test_a_form_of_another_site_is_refused(home: House, origin: str) -> None:
    browser = await home.attendee()
    fields = {**await browser.form("/login", "/login"), "login": "ada", "secret": home.codes["ada"]}
    answer = await browser.post("/login", fields, Origin=origin)
    assert answer.status == 403
    assert not home.engine.events


@pytest.mark.parametrize(
    "attack",
    [
        "//evil.test/",
        "https://evil.test/",
        "/\\evil.test/",
        "\\\\evil.test",
        "/%09/evil.test",
        "/\t/evil.test",
        "javascript:alert(1)",
        "/camp/../../x",
        "/%2f%2fevil.test",
        "evil.test",
        "",
    ],
)
async def test_next_leads_to_this_site_only(home: House, attack: str) -> None:
    browser = await home.attendee()
    shown = await browser.form("/login?next=" + quote(attack, safe=""), "/login")
    assert shown["next"] == "/camp/"
    fields = {**shown, "next": attack, "login": "ada", "secret": home.codes["ada"]}
    answer = await browser.post("/login", fields)
    assert answer.headers["Location"] == "/camp/"
    answer = await browser.get("/login?next=" + quote(attack, safe=""))
    assert answer.headers["Location"] == "/camp/"


async def test_a_deep_link_with_its_query_survives_the_login_byte_for_byte(home: House) -> None:
    link = "/camp/intro/lab/tree/a%20b%40c.ipynb?kernel=py%203&x=%2F"
    browser = await home.attendee()
    answer = await browser.get(link)
    assert answer.status == 302
    login = answer.headers["Location"]
    assert login.startswith("/login?next=")
    fields = {k: html.unescape(v) for k, v in (await browser.form(login, "/login")).items()}
    answer = await browser.post("/login", {**fields, "login": "ada", "secret": home.codes["ada"]})
    assert answer.headers["Location"] == link


async def test_the_second_login_in_a_browser_ends_the_first_session(home: House) -> None:
    browser = await home.attendee()
    fields = await browser.form("/login", "/login")
    await browser.post("/login", {**fields, "login": "ada", "secret": home.codes["ada"]})
    first = home.session(browser)
    await browser.post("/login", {**fields, "login": "bob", "secret": home.codes["bob"]})
    assert home.engine.session(first, home.clock()) is None
    assert home.engine.session(home.session(browser), home.clock()) is not None


async def test_logout_ends_the_session_and_needs_our_form(home: House) -> None:
    browser = await home.signed_in()
    session = home.session(browser)
    assert (await browser.post("/logout", {"csrf": "x"})).status == 403
    assert home.engine.session(session, home.clock()) is not None
    answer = await browser.send("/camp/", "/logout")
    assert (answer.status, answer.headers["Location"]) == (303, "/login?out")
    assert "You are logged out. Your work stays" in await (await browser.get("/login?out")).text()
    assert home.engine.events[-1] == LoggedOut(session)
    assert browser.cookie("mux_session") == ""
    assert (await browser.get("/camp/")).status == 302


async def test_an_expired_session_is_no_session(home: House) -> None:
    browser = await home.signed_in()
    home.clock.now += 24 * 3600
    assert (await browser.get("/camp/")).headers["Location"] == "/login?next=/camp/"
    assert "Your login has ended. Your work stays" in await (await browser.get("/login?next=/camp/")).text()
    assert "Your login has ended" not in await (await (await home.attendee()).get("/login")).text()


async def test_two_different_session_cookies_are_no_session(home: House) -> None:
    browser, other = await home.signed_in("ada"), await home.signed_in("bob")
    mine, theirs = (f"mux_session={one.cookie('mux_session')}" for one in (browser, other))
    # A fresh browser each time: one that holds cookies of its own would merge these into them.
    assert (await (await home.attendee()).get("/camp/", Cookie=f"{mine}; {mine}")).status == 200
    for both in (f"{mine}; {theirs}", f"{theirs}; {mine}", f"{mine}; mux_session="):
        assert (await (await home.attendee()).get("/camp/", Cookie=both)).status == 302


async def test_a_busy_engine_asks_to_try_again_and_sets_no_session(home: House) -> None:
    home.engine.busy = True
    browser = await home.attendee()
    answer = await browser.send("/login", "/login", login="ada", secret=home.codes["ada"])
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    assert browser.cookie("mux_session") == ""


async def test_while_nothing_can_be_stored_that_is_what_is_said(home: House) -> None:
    home.engine.busy, home.engine.trouble = True, "/srv/mux.db: the disk is full"
    browser = await home.attendee()
    page = await (await browser.send("/login", "/login", login="ada", secret=home.codes["ada"])).text()
    assert "cannot store logins at the moment; the organizers have been told. Go back and try again" in page
    assert "Many people" not in page and "mux.db" not in page
    home.engine.trouble = ""
    page = await (await browser.send("/login", "/login", login="ada", secret=home.codes["ada"])).text()
    assert "Many people" in page


async def test_a_roster_event_offers_no_names_of_ones_own(home: House) -> None:
    browser = await home.attendee()
    page = await (await browser.get("/login")).text()
    assert 'action="/join"' not in page
    fields = {**await browser.form("/login", "/login"), "name": "eve", "passcode": PASSCODE}
    answer = await browser.post("/join", fields)
    assert answer.status == 403
    assert not home.engine.events


async def test_the_login_page_says_that_processes_are_not_isolated(home: House) -> None:
    assert "not isolated from each other" in await (await (await home.attendee()).get("/login")).text()


async def test_a_newcomer_gets_a_session_and_a_return_code_once(open_home: House) -> None:
    browser = await open_home.attendee()
    answer = await browser.send("/login?next=/camp/intro/", "/join", name="Grace", passcode=PASSCODE)
    page = await answer.text()
    code = re.search(r"([0-9A-Z]{4}-){3}[0-9A-Z]{2}", page)
    assert answer.status == 200
    assert code is not None
    assert 'href="/camp/intro/"' in page
    assert any(isinstance(event, LoggedIn) for event in open_home.engine.events)
    assert code[0] not in await (await browser.get("/camp/")).text()

    elsewhere = await open_home.attendee()
    answer = await elsewhere.send("/login", "/login", login="Grace", secret=code[0])
    assert answer.status == 303


async def test_nobody_enters_under_a_name_that_is_taken(open_home: House) -> None:
    browser = await open_home.attendee()
    answer = await browser.send("/login", "/join", name="ADA", passcode=PASSCODE)
    assert answer.status == 409
    assert "return code" in await answer.text()
    assert not open_home.engine.events


async def test_a_wrong_passcode_is_said_beside_its_form(open_home: House) -> None:
    browser = await open_home.attendee()
    answer = await browser.send("/login", "/join", name="Grace", passcode="wrong")
    page = await answer.text()
    assert answer.status == 403
    assert page.index("New here") < page.index('role="alert"') < page.index('action="/join"')
    assert 'value="Grace"' in page


async def test_a_return_code_is_shown_even_if_no_session_can_be_made(open_home: House) -> None:
    open_home.engine.busy = True
    browser = await open_home.attendee()
    answer = await browser.send("/login", "/join", name="Grace", passcode=PASSCODE)
    page = await answer.text()
    assert re.search(r"([0-9A-Z]{4}-){3}[0-9A-Z]{2}", page)
    assert 'href="/login?next=/camp/"' in page


async def test_a_form_that_is_too_large_or_no_form_is_refused(home: House) -> None:
    browser = await home.attendee()
    assert (await browser.post("/login", {"login": "x" * 40_000})).status == 413
    answer = await browser.fetch("/login", "POST", Origin=PUBLIC, Content_Type="application/json")
    assert answer.status == 415


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_a_form_with_a_content_encoding_is_refused_unread(home: House, encoding: str) -> None:
    """RFC 9110 section 8.4: 415. No browser compresses forms, and a bomb would be unpacked before it is counted."""
    browser = await home.attendee()
    with capture_logs() as logs:
        answer = await browser.post("/login", {"login": "ada"}, Content_Encoding=encoding)
    assert answer.status == 415
    assert logs == []


async def test_a_form_that_does_not_arrive_is_not_waited_for(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "FORM_TIMEOUT_S", 0.0)
    await home.attendee()
    head = f"Host: {PUBLIC.partition('//')[2]}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    answer = await home.raw(PUBLIC, f"POST /login HTTP/1.1\r\n{head}Content-Length: 30\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 408 ")
