"""The agent bundle is for machines that are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from mux.control.awaited import Awaited
from mux.control.bundle import BundleEndpoint
from mux.core.model import ShipId
from mux.keys import Keyring
from mux.providers.agent_bundle import AgentBundle

KEYS = Keyring(b"k" * 32)
SHA256 = "a" * 64
AWAITED, LINKED = ShipId("ship-0001"), ShipId("ship-0002")
CONTENT = b"bundle" * 100_000

Ask = Callable[..., Awaitable[tuple[int, bytes]]]


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Ask]:
    path = tmp_path / "bundle"
    path.write_bytes(CONTENT)
    awaited = Awaited(KEYS, lambda ship: ship == AWAITED)
    endpoint = BundleEndpoint(AgentBundle(path, SHA256), awaited, downloads_max=2)
    application = web.Application()
    application.add_routes(endpoint.routes())
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:

        async def asked(ship: str = AWAITED, token: str | None = None, sha256: str = SHA256) -> tuple[int, bytes]:
            headers = {
                "Mux-Ship": ship,
                "Authorization": f"Bearer {KEYS.join_token(ShipId(ship)) if token is None else token}",
            }
            url = f"http://127.0.0.1:{port}/ship/bundle/{sha256}"
            async with session.get(url, headers=headers) as answer:
                return answer.status, await answer.read()

        yield asked
    await runner.cleanup()


async def test_an_awaited_machine_gets_it_whole(ask: Ask) -> None:
    assert await ask() == (200, CONTENT)


async def test_nobody_else_gets_it(ask: Ask) -> None:
    assert (await ask(token=""))[0] == 403
    assert (await ask(token=KEYS.join_token(LINKED)))[0] == 403
    assert (await ask(LINKED))[0] == 403, "its token is spent: a key is bound to it"
    assert (await ask(token="ünï"))[0] == 403
    assert (await ask(sha256="b" * 64))[0] == 404


async def test_a_crowd_is_served_a_few_at_a_time_and_the_others_told_to_come_again(ask: Ask) -> None:
    answers = await asyncio.gather(*(ask() for _ in range(20)))
    assert {status for status, _ in answers} <= {200, 503}
    assert (200, CONTENT) in answers
    assert await ask() == (200, CONTENT)
