"""The real thing: JupyterLab as the runtime starts it, a kernel that computes, and nothing left afterwards."""

from __future__ import annotations

import asyncio
import html
import json
import re
import uuid
from typing import Any

import aiohttp
import pytest

from tests.ship_agent.images import free_port, project_of
from tests.ship_agent.runtimes.conftest import TOKEN, Lab

pytest.importorskip("jupyterlab")


async def execute(session: aiohttp.ClientSession, base: str, code: str) -> str:
    """Start a python3 kernel, run code, return what it prints."""
    async with session.post(f"{base}/api/kernels", json={"name": "python3"}) as answer:
        assert answer.status == 201, await answer.text()
        kernel = (await answer.json())["id"]
    message: dict[str, Any] = {
        "header": {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": uuid.uuid4().hex},
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False},
        "channel": "shell",
    }
    async with asyncio.timeout(60), session.ws_connect(f"{base}/api/kernels/{kernel}/channels") as socket:
        await socket.send_str(json.dumps(message))
        async for frame in socket:
            reply = json.loads(frame.data)
            if reply["msg_type"] == "stream":
                return str(reply["content"]["text"])
    raise AssertionError("the kernel ended")


async def test_jupyterlab_starts_computes_and_leaves_nothing_behind(lab: Lab) -> None:
    project = project_of(lab.image(), kind="jupyter", command=[], memory_bytes=1 << 30, pids=256)
    spec = lab.spec(project, port=free_port())
    await lab.runtime.pull(project, spec.digest, lambda _: None)
    await lab.runtime.start(spec)
    base = f"http://127.0.0.1:{spec.port}/camp/intro"

    async with aiohttp.ClientSession(headers={"Authorization": f"token {TOKEN}"}) as session:
        async with asyncio.timeout(90):
            while True:
                try:
                    async with session.get(f"{base}/api") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientConnectionError:
                    state = (await lab.runtime.inspect())[spec.id].state
                    assert state == "running", await lab.runtime.log_tail(spec.id, 50)
                await asyncio.sleep(0.1)
        async with session.get(f"{base}/lab") as answer:
            page = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', await answer.text(), re.DOTALL)
        assert page is not None
        # A package that wants to be built into JupyterLab, such as Dash's, would have everybody asked whether to.
        assert json.loads(html.unescape(page[1]))["buildCheck"] is False
        async with session.get(f"{base}/api/contents/notes.txt") as answer:
            assert (await answer.json())["content"] == "as given"
        async with session.post(f"{base}/api/terminals") as answer:
            assert answer.status == 200
        code = "import os; print(os.getcwd(), os.environ['MUX_PROJECT'], os.environ['JUPYTERHUB_SERVICE_PREFIX'])"
        printed = await execute(session, base, code)
        async with aiohttp.ClientSession() as stranger, stranger.get(f"{base}/api/contents") as answer:
            assert answer.status == 403

    assert printed.split() == [str(lab.directory / "ship/workspaces" / spec.id / "home"), "intro", "/camp/intro/"]
    assert len(lab.living()) >= 4  # shim, server, kernel, terminal
    tail = await lab.runtime.log_tail(spec.id, 50)
    assert TOKEN not in tail
    await lab.runtime.stop(spec.id, 10)
    assert lab.living() == []
    assert (await lab.runtime.inspect())[spec.id].failure == ""
