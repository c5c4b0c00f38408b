"""``/files/``: what was changed, and starting it over."""

from __future__ import annotations

import asyncio
import io
import os
import re
import zipfile

import pytest

from mux.core.events import Event, StartOverAsked
from mux.core.files import FilesView
from mux.core.model import ProjectName, StartedOver, StartOver, UserId
from mux.web import files_page
from tests.files.snapshots import keep
from tests.web.page_parts import House

ADA, INTRO = UserId("u-ada"), ProjectName("intro")
HOSTILE = b"<img src=x onerror=alert(1)> \xff\xe2\x80\xae.ipynb"


def asked(home: House) -> list[Event]:
    return [event for event in home.engine.events if isinstance(event, StartOverAsked)]


async def worked(home: House) -> None:
    """Ada has a workspace and changed files."""
    home.engine.work[ADA] = (FilesView(INTRO, held=True),)
    files = {b"a b.ipynb": b"edited", b"mine.txt": b"mine", HOSTILE: b"edited"}
    await keep(
        home.files, ADA, INTRO, files, now=home.clock() - 90, of_image=[b"a b.ipynb", HOSTILE], gone=[b"d", b"d/e.csv"]
    )


async def test_what_came_with_the_project_and_was_changed_is_listed_and_nothing_else(home: House) -> None:
    await worked(home)
    page = await (await (await home.signed_in()).get("/files/intro")).text()
    found = re.findall(r'start-over\?path=([^"]+)"', page)
    assert found == ["%253Cimg%20src%253Dx%20onerror%253Dalert%25281%2529%253E%20%25FF%25E2%2580%25AE.ipynb",
                     "a%20b.ipynb", "d/e.csv"]  # fmt: skip
    assert "mine.txt" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page
    assert "kept 1 minute ago" in page
    assert asked(home) == []


async def test_what_programs_keep_for_themselves_is_no_work_of_anybodys(home: House) -> None:
    home.engine.work[ADA] = (FilesView(INTRO, held=True),)
    files = {b".jupyter/lab/workspaces/default": b"x"}
    await keep(home.files, ADA, INTRO, files, now=home.clock() - 90)
    page = await (await (await home.signed_in()).get("/files/intro")).text()
    assert "Nothing that came with the project is changed." in page
    assert "Your last change" not in page
    await keep(home.files, ADA, INTRO, {**files, b"mine.txt": b"mine"}, now=home.clock() - 60)
    page = await (await (await home.signed_in()).get("/files/intro")).text()
    assert "1 file is yours or changed" in page


async def test_what_is_locked_is_named_to_its_owner_and_in_the_archive(home: House) -> None:
    await keep(home.files, ADA, INTRO, {b"d/a": b"a"}, now=home.clock() - 90, locked=[b"d", b"<b>file"])
    await home.files.open()  # as a mux does that starts
    ada = await home.signed_in()
    page = await (await ada.get("/files/intro")).text()
    assert "“d” and “&lt;b&gt;file” are locked by their modes and kept as they were before" in page
    with zipfile.ZipFile(io.BytesIO(await (await ada.get("/work.zip")).read())) as made:
        assert "intro/d: locked on its machine" in made.read("ABOUT.txt").decode()


async def test_one_file_starts_over_by_a_form_of_ours_after_a_question(home: House) -> None:
    await worked(home)
    browser = await home.signed_in()
    page = "/files/intro/start-over?path=a%20b.ipynb"
    assert "Start “a b.ipynb” over?" in await (await browser.get(page)).text()
    assert asked(home) == []
    fields = await browser.form(page, "/files/intro/start-over")
    assert (await browser.post("/files/intro/start-over", {**fields, "csrf": "x"})).status == 403
    assert (await browser.post("/files/intro/start-over", fields, Origin="http://evil.test")).status == 403
    assert asked(home) == []
    answer = await browser.post("/files/intro/start-over", fields)
    assert (answer.status, answer.headers["Location"]) == (303, "/files/intro")
    assert asked(home) == [StartOverAsked(ADA, INTRO, "a b.ipynb")]


async def test_everything_starts_over_after_a_question(home: House) -> None:
    await worked(home)
    browser = await home.signed_in()
    assert (await browser.send("/files/intro/start-over", "/files/intro/start-over")).status == 303
    assert asked(home) == [StartOverAsked(ADA, INTRO)]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "%zz", "a%2e", "x" * 5000])
async def test_what_is_no_path_is_refused(home: House, path: str) -> None:
    await worked(home)
    browser = await home.signed_in()
    fields = await browser.form("/files/intro/start-over", "/files/intro/start-over")
    assert (await browser.post("/files/intro/start-over", {**fields, "path": path})).status == 400
    assert asked(home) == []


async def test_without_a_workspace_there_is_nothing_to_start_over(home: House) -> None:
    browser = await home.signed_in()
    assert "Nothing that came with the project is changed" in await (await browser.get("/files/intro")).text()
    assert (await browser.send("/files/intro/start-over", "/files/intro/start-over")).status == 409
    assert (await browser.get("/files/nope")).status == 404
    assert (await (await home.attendee()).get("/files/intro")).headers["Location"] == "/login?next=/files/intro"
    assert asked(home) == []


WISH = StartOver(7, "a%20b.ipynb")


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (FilesView(INTRO, True, WISH), "“a b.ipynb” is starting over."),
        (
            FilesView(INTRO, True, WISH, StartedOver(7, True, kept="a%20b.before-start-over.ipynb")),
            "“a b.ipynb” started over. What you had is in “a b.before-start-over.ipynb”.",
        ),
        (FilesView(INTRO, True, StartOver(7), StartedOver(7, True)), "Everything is as it came with the project"),
        (
            FilesView(INTRO, True, WISH, StartedOver(7, False, "the disk is <full>")),
            "did not start over: the disk is &lt;full&gt;. Your files are as before.",
        ),
    ],
)
async def test_what_became_of_the_last_wish_is_said(home: House, view: FilesView, said: str) -> None:
    home.engine.work[ADA] = (view,)
    page = await (await (await home.signed_in()).get("/files/intro")).text()
    assert said in page
    assert ('http-equiv="refresh"' in page) == (view.ended is None)


async def test_an_attendees_work_is_one_archive_of_their_own(home: House) -> None:
    await worked(home)
    await keep(home.files, UserId("u-bob"), INTRO, {b"bobs.txt": b"his"}, now=home.clock())
    answer = await (await home.signed_in()).get("/work.zip")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="my-work.zip"'
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as made:
        assert made.read("intro/mine.txt") == b"mine"
        assert "intro/bobs.txt" not in made.namelist()
    answer = await (await home.attendee()).get("/work.zip")
    assert answer.headers["Location"] == "/login?next=/work.zip"


async def test_a_download_that_nobody_takes_gives_its_place_back(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await keep(home.files, ADA, INTRO, {b"large.bin": os.urandom(24 << 20)}, now=home.clock())
    monkeypatch.setattr(files_page, "DOWNLOAD_STALL_S", 0.2)
    browser = await home.signed_in()
    untaken = await browser.get("/work.zip")
    assert untaken.status == 200
    while True:  # until its place is free
        again = await browser.get("/work.zip")
        again.close()
        if again.status == 200:
            break
        assert again.status == 503
        await asyncio.sleep(0.05)
    untaken.close()


async def test_without_work_there_is_nothing_to_download(home: House) -> None:
    assert (await (await home.signed_in()).get("/work.zip")).status == 404
