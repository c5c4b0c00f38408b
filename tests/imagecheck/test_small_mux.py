"""What the mux of `mux image try` is told, and what it says of a push."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from mux.imagecheck.small_mux import SmallMux
from mux.imagecheck.subject import Subject, Wishes


class Answers:
    """An admin API: what it was told, and what it answers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.rollout: dict[str, Any] = {"phase": "proving", "why": "", "failures": []}
        self.refusal = ""
        self.failed = ""

    async def answer(self, request: web.Request) -> web.Response:
        if request.path.endswith("/status"):
            seat = {"failures": {"intro": self.failed} if self.failed else {}}
            status = {"ships": [{"seats": [seat], "phase": ""}], "seats_ready": 1, "seats_assigned": 0}
            return web.json_response(status)
        if request.method == "GET":
            return web.json_response({"rollouts": [self.rollout]})
        self.told.append((request.path, await request.json()))
        if self.refusal:
            return web.json_response({"error": {"code": "no", "message": self.refusal}}, status=409)
        return web.json_response({"ok": True, "text": "done"})


@asynccontextmanager
async def small_mux(
    place: Path, answers: Answers, kind: str = "jupyter", source: Path | None = None
) -> AsyncIterator[SmallMux]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(place / "socket")).start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(place / "socket"))) as session:
            subject = Subject("intro", "intro", "process", "/images/intro", Wishes(kind=kind), source)
            yield SmallMux(session, subject)
    finally:
        await runner.cleanup()


@pytest.fixture
def answers() -> Answers:
    return Answers()


async def test_pages_of_notebooks_are_told_and_others_by_a_notice(tmp_path: Path, answers: Answers) -> None:
    async with small_mux(tmp_path, answers) as mux:
        assert await mux.tell(["notes.txt is taken over"]) == ""
    async with small_mux(tmp_path, answers, "http") as mux:
        assert await mux.tell(["notes.txt is taken over", "old.txt is gone"]) == ""
    assert answers.told == [
        ("/api/v1/projects/intro/changed", {}),
        (
            "/api/v1/broadcast",
            {"text": "notes.txt is taken over; old.txt is gone. Load your page anew to see it."},
        ),
    ]


async def test_the_end_of_a_push_is_told_once(tmp_path: Path, answers: Answers) -> None:
    async with small_mux(tmp_path, answers) as mux:
        assert await mux.news() == []
        assert await mux.push() == ""
        assert await mux.news() == []
        answers.rollout["phase"] = "done"
        assert await mux.news() == ["your workspace has it; your files in it are as you left them"]
        assert await mux.news() == []
    assert answers.told == [("/api/v1/rollouts/intro", {"image": "/images/intro"})]


async def test_a_push_that_stopped_is_told_with_reasons(tmp_path: Path, answers: Answers) -> None:
    async with small_mux(tmp_path, answers) as mux:
        await mux.push()
        failures = [{"subject": "ship-0001", "why": "the hook 10-bad.sh failed\n\x1b[2Jred"}]
        answers.rollout = {"phase": "stopped", "why": "nobody proved it", "failures": failures}
        assert await mux.news() == [
            "your workspace stays as it was: nobody proved it",
            "the hook 10-bad.sh failed\n\x1b[2Jred",
        ]


async def test_a_push_that_is_refused_says_why_and_is_not_waited_for(tmp_path: Path, answers: Answers) -> None:
    answers.refusal = "the image does not fit"
    async with small_mux(tmp_path, answers) as mux:
        assert await mux.push() == "the image does not fit"
        assert await mux.news() == []


async def test_what_to_do_about_a_failure_depends_on_whether_there_is_a_directory_to_follow(
    tmp_path: Path, answers: Answers
) -> None:
    async with small_mux(tmp_path, answers) as mux:
        assert await mux.arriving() == (True, [])
        answers.failed = "exit code 3"
        assert await mux.arriving() == (True, ["exit code 3", "mend it, and start this again"])
    async with small_mux(tmp_path, answers, source=tmp_path) as mux:
        assert await mux.arriving() == (True, ["exit code 3", "mend it: what you save is tried at once"])
