"""Machines say how they become ships: those that are awaited, each for itself, briefly and not too often."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from mux.control import boot
from mux.control.awaited import Awaited
from mux.control.boot import BootEndpoint
from mux.core.events import BootTold
from mux.core.model import ShipId
from mux.engine import EngineBusyError
from mux.keys import Keyring
from ship_agent.protocol.boot import PATH, WORD_BYTES_MAX

KEYS = Keyring(b"k" * 32)
ONE, TWO, LINKED = ShipId("ship-0001"), ShipId("ship-0002"), ShipId("ship-0003")
SAID = {"doing": "installing docker.io iptables"}


class Listener:
    """The endpoint on a listener of its own, and what the core was told."""

    def __init__(self) -> None:
        self.told: list[BootTold] = []
        self.busy = False
        self.url = ""
        self.session: aiohttp.ClientSession
        self.endpoint = BootEndpoint(Awaited(KEYS, lambda ship: ship in (ONE, TWO)), self._submit)

    async def _submit(self, event: BootTold) -> None:
        if self.busy:
            raise EngineBusyError("the mux is busy")
        self.told.append(event)

    async def put(self, word: object, ship: str = ONE, token: str | None = None) -> int:
        """Say something; the status of the answer."""
        headers = {"Mux-Ship": ship}
        headers["Authorization"] = f"Bearer {KEYS.join_token(ShipId(ship)) if token is None else token}"
        body = word if isinstance(word, bytes) else json.dumps(word).encode()
        async with self.session.put(self.url, data=body, headers=headers) as answer:
            return answer.status


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    here = Listener()
    application = web.Application()
    application.add_routes(here.endpoint.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here.url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
    async with aiohttp.ClientSession() as here.session:
        yield here
    await runner.cleanup()


async def test_what_an_awaited_machine_says_reaches_the_core(listener: Listener) -> None:
    assert await listener.put(SAID) == 204
    assert await listener.put({"doing": "its disk is full", "failed": True}, TWO) == 204
    assert listener.told == [BootTold(ONE, SAID["doing"]), BootTold(TWO, "its disk is full", failed=True)]


@pytest.mark.parametrize(
    ("ship", "token"),
    [
        (ONE, ""),
        (ONE, "0" * 64),
        (ONE, KEYS.join_token(TWO)),
        (TWO, KEYS.join_token(ONE)),
        (LINKED, None),
        ("ship-9999", None),
        ("", None),
        ("ünï", "ünï"),
    ],
)
async def test_nobody_else_is_heard(listener: Listener, ship: str, token: str | None) -> None:
    assert await listener.put({"doing": "all is well", "failed": True}, ship, token) == 403
    assert listener.told == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"doing": ""}',
        b'{"doing": 7}',
        b'{"doing": "x", "failed": "yes"}',
        json.dumps({"doing": "x" * 501}).encode(),
    ],
)
async def test_what_is_no_word_is_refused(listener: Listener, body: bytes) -> None:
    assert await listener.put(body) == 400
    assert listener.told == []


async def test_what_a_later_machine_says_beside_its_word_is_passed_over(listener: Listener) -> None:
    assert await listener.put(b'{"doing": "x", "ship": "ship-0002", "later": [1]}') == 204
    assert [(told.ship, told.doing, told.failed) for told in listener.told] == [(ONE, "x", False)]


async def test_a_word_without_end_is_cut_short(listener: Listener) -> None:
    assert await listener.put(b" " * (WORD_BYTES_MAX + 1)) == 413
    assert listener.told == []


async def test_a_word_that_takes_for_ever_is_not_waited_for(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "BODY_S", 0.05)
    never = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"doing": "'
        await never.wait()

    headers = {"Mux-Ship": ONE, "Authorization": f"Bearer {KEYS.join_token(ONE)}"}
    async with listener.session.put(listener.url, data=slowly(), headers=headers) as answer:
        assert answer.status == 408
    assert listener.told == []


async def test_what_is_said_is_cleaned_and_bounded(listener: Listener) -> None:
    assert await listener.put({"doing": "in\x1b[31m\n\u202estalling \U0001f6a2" + "x" * 480}) == 204
    (event,) = listener.told
    assert event.doing.startswith("in[31mstalling \U0001f6a2x")
    assert len(event.doing) == boot.DOING_CHARS_MAX
    assert await listener.put({"doing": "\x1b\u202e "}) == 204
    assert listener.told[-1].doing.strip()


async def test_one_that_says_too_much_is_not_heard_and_keeps_nobody_else_from_it(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "EVERY_S", 3600.0)
    answers = await asyncio.gather(*(listener.put(SAID) for _ in range(20)))
    assert sorted(answers) == [204] * boot.AT_ONCE + [429] * (20 - boot.AT_ONCE)
    assert await listener.put(b"x" * 10_000) == 429, "not even read"
    assert await listener.put(SAID, TWO) == 204


async def test_a_machine_may_speak_again_after_a_while(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "EVERY_S", 0.01)
    monkeypatch.setattr(boot, "TURNS_MAX", 1)
    for _ in range(3 * boot.AT_ONCE):
        assert await listener.put(SAID) == 204
        await asyncio.sleep(0.02)
    assert len(listener.told) == 3 * boot.AT_ONCE


async def test_a_busy_mux_has_it_said_again(listener: Listener) -> None:
    listener.busy = True
    assert await listener.put(SAID) == 503
    listener.busy = False
    assert await listener.put(SAID) == 204
