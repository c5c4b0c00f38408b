"""Activity: what Jupyter servers say of their kernels and terminals, and what becomes of odd answers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ship_agent.activity import FAILURES_MAX, Activity, Server, last_active
from tests.ship_agent.images import free_port

TOKEN = "token-of-the-workspace"
AT = 1_794_787_200.0  # 2026-11-16T00:00:00Z


@pytest.mark.parametrize(
    ("kernels", "terminals", "at"),
    [
        ([], [], 0.0),
        ([{"execution_state": "idle", "last_activity": "2026-11-16T00:00:00.000000Z"}], [], AT),
        ([{"execution_state": "idle", "last_activity": "2026-11-16T01:00:00+01:00"}], [], AT),
        ([{"execution_state": "busy", "last_activity": "2026-11-15T00:00:00Z"}], [], AT + 60),
        ([{"execution_state": "idle", "last_activity": "2026-11-15T00:00:00Z"}],
         [{"name": "1", "last_activity": "2026-11-16T00:00:00Z"}], AT),
        ([7, None, {}, {"last_activity": 7}, {"last_activity": "soon"}, {"last_activity": "9" * 999}], [[]], 0.0),
    ],
)  # fmt: skip
def test_the_latest_activity_counts_and_a_busy_kernel_is_active_now(
    kernels: list[Any], terminals: list[Any], at: float
) -> None:
    assert last_active(kernels, terminals, AT + 60) == at


class Jupyter:
    """Answers as the test says. ``asked`` counts questions for kernels."""

    def __init__(self) -> None:
        self.kernels: Callable[[], Awaitable[web.StreamResponse]] = self.none
        self.asked = 0
        self.changed = asyncio.Condition()

    async def none(self) -> web.StreamResponse:
        return web.json_response([])

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"token {TOKEN}":
            return web.json_response({}, status=403)
        if request.path.endswith("/terminals"):
            return web.json_response({}, status=404)
        async with self.changed:
            self.asked += 1
            self.changed.notify_all()
        return await self.kernels()

    async def rounds(self, count: int) -> None:
        """Until it was asked so many times more, and the answers before the last one were taken in."""
        async with asyncio.timeout(60), self.changed:
            last = self.asked + count
            await self.changed.wait_for(lambda: self.asked >= last)


@pytest.fixture
async def jupyter() -> AsyncIterator[tuple[Jupyter, TestServer]]:
    fake = Jupyter()
    app = web.Application()
    app.router.add_get("/camp/intro/api/{what}", fake.answer)
    server = TestServer(app)
    async with server:
        yield fake, server


@pytest.fixture
async def asking() -> AsyncIterator[Activity]:
    """Asks without pause, by a clock that stands still."""
    activity = Activity(lambda: AT + 100, ask_s=0.0)
    task = asyncio.create_task(activity.run())
    yield activity
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def server_at(server: TestServer, token: str = TOKEN) -> Server:
    return Server("w-1", 1, str(server.make_url("/camp/intro/api/")), token)


async def test_one_that_is_new_is_not_idle_until_it_has_been_quiet(
    jupyter: tuple[Jupyter, TestServer], asking: Activity
) -> None:
    fake, server = jupyter
    asking.watch([server_at(server)])
    assert asking.idle() == {}, "nothing is known yet"
    await fake.rounds(2)
    assert asking.idle() == {"w-1": 0.0}
    asking.watch([])
    assert asking.idle() == {}


@pytest.mark.parametrize("odd", ["[" * 100_000, "{}", "x", "[" + "1," * 200_000 + "1]", None])
async def test_a_server_that_says_nothing_useful_is_left_out(
    jupyter: tuple[Jupyter, TestServer], asking: Activity, odd: str | None
) -> None:
    fake, server = jupyter

    async def answer() -> web.StreamResponse:
        return web.Response(text=odd) if odd is not None else web.Response(status=302, headers={"Location": "/"})

    asking.watch([server_at(server)])
    await fake.rounds(2)
    assert asking.idle()
    fake.kernels = answer
    await fake.rounds(FAILURES_MAX + 2)
    assert asking.idle() == {}


async def test_a_server_with_another_token_is_left_out(jupyter: tuple[Jupyter, TestServer], asking: Activity) -> None:
    fake, server = jupyter
    wrong = Server("w-2", 1, str(server.make_url("/camp/intro/api/")), "another")
    asking.watch([wrong, server_at(server)])
    await fake.rounds(3)
    assert list(asking.idle()) == ["w-1"]


async def test_a_real_server_says_that_a_long_cell_is_activity_and_an_open_page_is_none(tmp_path: Path) -> None:
    """Jupyter's own words, by its own clock: ``last_activity`` moves with a cell, and not with who looks."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
        "--ServerApp.base_url=/camp/intro/", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={tmp_path}",
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    api = f"http://127.0.0.1:{port}/camp/intro/api/"
    activity = Activity(ask_s=0.05)
    task = asyncio.create_task(activity.run())
    activity.watch([Server("w-1", 1, api, TOKEN)])
    try:
        async with (
            asyncio.timeout(120),
            aiohttp.ClientSession(headers={"Authorization": f"token {TOKEN}"}) as client,
        ):
            kernel = await _kernel(client, api)
            async with client.ws_connect(f"{api}kernels/{kernel}/channels") as page:
                await page.send_json(_execute("import time; time.sleep(600)"))
                while (await page.receive_json())["msg_type"] != "execute_input":
                    pass
                began = time.time()
                await _until(lambda: time.time() - activity.idle().get("w-1", 1e9) > began + 1.0)
                await (await client.post(f"{api}kernels/{kernel}/interrupt")).read()
                # The page stays open, and what asks goes on asking; nobody works.
                await _until(lambda: activity.idle()["w-1"] > 2.0)
    finally:
        task.cancel()
        process.kill()
        await asyncio.gather(task, process.wait(), return_exceptions=True)


async def _kernel(client: aiohttp.ClientSession, api: str) -> str:
    while True:
        try:
            async with client.post(f"{api}kernels") as answer:
                return str((await answer.json())["id"])
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)


async def _until(check: Callable[[], bool]) -> None:
    while not check():
        await asyncio.sleep(0.05)


def _execute(code: str) -> dict[str, Any]:
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3"}
    content = {"code": code, "silent": False, "allow_stdin": False, "stop_on_error": True, "user_expressions": {}}
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
