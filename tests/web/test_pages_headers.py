"""What browsers are told beside the page: the content security policy, caching, and where things come from."""

from __future__ import annotations

import re

import pytest

from mux.web.assets import ASSETS, asset_url
from mux.web.pages import content_security_policy
from tests.web.page_parts import House

PATHS = ["/login", "/camp/", "/camp/intro/", "/camp/nope/", "/nothing", "/static/nothing.css", "/healthz"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_carries_a_strict_policy(home: House, path: str) -> None:
    answer = await (await home.signed_in()).get(path)
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self' ws://camp.test:8000",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Server" not in answer.headers


def test_the_policy_of_an_https_event_names_its_wss_origin() -> None:
    assert "connect-src 'self' wss://camp.example" in content_security_policy("https://camp.example")


async def test_no_page_has_script_style_or_handlers_inside(home: House) -> None:
    home.deps.auth.configure(home.deps.auth.settings)
    browser, rooms = await home.signed_in(), await home.organizing("olga")
    stranger = await home.attendee()
    pages = [await (await browser.get(path)).text() for path in ("/camp/", "/camp/intro/", "/nothing")]
    pages += [await (await stranger.get("/login")).text(), await (await rooms.get("/")).text()]
    for page in pages:
        assert re.findall(r"<script(?![^>]* src=\"/static/)", page) == []
        assert "<style" not in page
        assert re.findall(r"<[^>]+\s(?:style|on\w+)=", page) == []
        assert re.findall(r"(?:src|href)=\"(?:https?:)?//", page) == []
        assert '<html lang="en">' in page


async def test_every_field_has_a_label(open_home: House) -> None:
    page = await (await (await open_home.attendee()).get("/login")).text()
    fields = re.findall(r'<input id="([^"]+)"', page)
    assert fields
    assert set(fields) == set(re.findall(r'<label for="([^"]+)"', page))


@pytest.mark.parametrize("name", ["mux.css", "mux.js", "mux.svg"])
async def test_files_are_kept_by_browsers_under_the_name_of_their_content(home: House, name: str) -> None:
    browser = await home.attendee()
    answer = await browser.get(asset_url(name))
    assert answer.status == 200
    assert await answer.read() == ASSETS[name].body
    assert "immutable" in answer.headers["Cache-Control"]
    again = await browser.get(asset_url(name), If_None_Match=answer.headers["ETag"])
    assert again.status == 304
    earlier = await browser.get(f"/static/{name.replace('.', '.0123456789abcdef.')}")
    assert (earlier.status, earlier.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("path", ["/static/..%2fdeps.py", "/static/mux.py", "/static/", "/static/mux"])
async def test_nothing_else_is_served_as_a_file(home: House, path: str) -> None:
    assert (await (await home.attendee()).get(path)).status == 404


async def test_a_wrong_method_says_which_ones_are_right(home: House) -> None:
    answer = await (await home.attendee()).fetch("/login", "DELETE")
    assert answer.status == 405
    assert "POST" in answer.headers["Allow"]
