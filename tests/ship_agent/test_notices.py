"""What a cloud announces for a machine, as the agent hears it from the metadata service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from ship_agent import notices as module
from ship_agent.notices import INTERRUPTION, MAINTENANCE, REBALANCE, Notices, notices
from ship_agent.protocol.messages import NOTICES_MAX, Notice
from tests.ship_agent.metadata import Metadata

STOP = json.dumps({"action": "terminate", "time": "2026-11-20T08:22:00Z"})
STOP_AT = 1_795_162_920.0
EVENTS = json.dumps(
    [
        {"NotBefore": "21 Nov 2026 09:00:43 GMT", "Code": "instance-retirement", "State": "active"},
        {"NotBefore": "1 Nov 2026 09:00:43 GMT", "Code": "system-reboot", "State": "completed"},
    ]
)


def test_each_kind_is_read_the_most_urgent_first() -> None:
    found = notices(STOP, json.dumps({"noticeTime": "2026-11-20T08:00:00Z"}), EVENTS)
    assert found == (
        Notice(kind="interruption", at=STOP_AT, detail="terminate"),
        Notice(kind="maintenance", at=1_795_251_643.0, detail="instance-retirement"),
        Notice(kind="rebalance", at=STOP_AT - 22 * 60),
    )


def test_nothing_is_announced() -> None:
    assert notices("", "", "[]") == notices("", "", "") == ()


def test_odd_answers_are_bounded_or_refused() -> None:
    many = json.dumps([{"Code": "x" * 10_000, "NotBefore": "tomorrow"}] * 100)
    found = notices("{}", "", many)
    assert len(found) == NOTICES_MAX
    assert found[0] == Notice(kind="interruption")
    assert found[1] == Notice(kind="maintenance", detail="x" * 200)
    for odd in ("[]", "no JSON", "7"):
        with pytest.raises(ValueError):
            notices(odd, "", "")


@pytest.fixture
async def metadata() -> AsyncIterator[Metadata]:
    serving = Metadata()
    yield serving
    await serving.stop()


class Heard:
    """An agent's ear."""

    def __init__(self, url: str) -> None:
        self.news = asyncio.Event()
        self.notices = Notices(url, self.news.set)
        self._task = asyncio.create_task(self.notices.run())

    async def next(self) -> tuple[Notice, ...]:
        await self.news.wait()
        self.news.clear()
        return self.notices.announced

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def heard(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Heard]:
    monkeypatch.setattr(module, "ASK_S", 0.01)
    monkeypatch.setattr(module, "ASK_MAX_S", 0.01)
    ear = Heard(f"http://127.0.0.1:{await metadata.start('127.0.0.1')}")
    yield ear
    await ear.stop()


async def test_a_notice_is_heard_once_and_so_is_its_end(metadata: Metadata, heard: Heard) -> None:
    metadata.announced[INTERRUPTION] = STOP
    assert await heard.next() == (Notice(kind="interruption", at=STOP_AT, detail="terminate"),)
    metadata.announced[MAINTENANCE] = EVENTS
    assert [notice.kind for notice in await heard.next()] == ["interruption", "maintenance"]
    metadata.announced.clear()
    assert await heard.next() == ()


async def test_a_token_that_is_not_taken_any_more_is_had_anew(metadata: Metadata, heard: Heard) -> None:
    metadata.announced[REBALANCE] = "{}"
    assert [notice.kind for notice in await heard.next()] == ["rebalance"]
    metadata.forget_tokens()
    metadata.announced[INTERRUPTION] = STOP
    assert len(await heard.next()) == 2


async def test_an_answer_that_cannot_be_read_leaves_what_was_known(metadata: Metadata, heard: Heard) -> None:
    metadata.announced[INTERRUPTION] = STOP
    before = await heard.next()
    metadata.announced[INTERRUPTION] = "x" * 100_000
    asked = metadata.asked
    while metadata.asked < asked + 10:
        await asyncio.sleep(0.01)
    assert heard.notices.announced == before
    metadata.announced.clear()
    assert await heard.next() == ()


async def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_S", 0.01)
    monkeypatch.setattr(module, "ASK_MAX_S", 0.01)
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    application = web.Application()
    application.add_routes([web.route("*", "/{path:.*}", answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ear = Heard(f"http://127.0.0.1:{runner.addresses[0][1]}")
    while len(asked) < 5:
        await asyncio.sleep(0.01)
    await ear.stop()
    await runner.cleanup()
    assert "/elsewhere" not in asked
    assert ear.notices.announced == ()
