"""The same change without mux: `docker pull`, then for each attendee `docker stop` and `docker run` on their files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.docker_engine import Engine
from tests.e2e.harness import free_ports
from tests.e2e.polls import Polls
from tests.e2e.pushes.house import LOOK_S, WAIT_S_MAX

START = (
    "start-notebook.py", "--ServerApp.ip=0.0.0.0", "--ServerApp.port=8888", "--ServerApp.base_url=/camp/intro/",
    "--ServerApp.open_browser=False", "--ServerApp.allow_remote_access=True",
)  # fmt: skip
"""JupyterLab as a ship starts it."""


class Hand:
    """Somebody with a shell on a ship. The attendee's files are a volume, which begins as the first image's.

    Args:
        engine: the ship's.
        config: directory of Docker's configuration, with the registry's login.
    """

    def __init__(self, engine: Engine, config: Path) -> None:
        self._environment = os.environ | {"DOCKER_HOST": engine.host, "DOCKER_CONFIG": str(config)}
        (self._port,) = free_ports(1)
        self._name = f"by-hand-{secrets.token_hex(4)}"

    async def pull(self, image: str) -> float:
        """Seconds of a `docker pull`."""
        began = time.monotonic()
        await self._docker("pull", "--quiet", image)
        return time.monotonic() - began

    async def run(self, image: str) -> None:
        """Start a workspace on the attendee's files, and wait until it answers."""
        await self._docker(
            "run", "--detach", "--name", self._name, "--publish", f"127.0.0.1:{self._port}:8888",
            "--memory", "1g", "--volume", f"{self._name}:/home/jovyan", image, *START,
        )  # fmt: skip
        try:
            async with aiohttp.ClientSession() as http, asyncio.timeout(WAIT_S_MAX):
                while not await self._answers(http):
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"it does not answer: {await self._docker('logs', self._name)}") from None

    async def swap(self, image: str) -> float:
        """Replace it; the longest time without an answer, as an attendee's polls see it, in seconds."""
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector) as http, Polls(http, f"{self._address}api") as polls:
            await asyncio.sleep(0.5)
            await self._docker("stop", "--time", "10", self._name)
            await self._docker("rm", self._name)
            await self.run(image)
            await asyncio.sleep(0.5)
        return polls.gap_s

    async def end(self) -> None:
        """Remove it."""
        with contextlib.suppress(AssertionError):
            await self._docker("rm", "--force", self._name)
            await self._docker("volume", "rm", self._name)

    @property
    def _address(self) -> str:
        return f"http://127.0.0.1:{self._port}/camp/intro/"

    async def _answers(self, http: aiohttp.ClientSession) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with http.get(f"{self._address}api") as answer:
                return answer.status == 200
        return False

    async def _docker(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "docker", *words, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, f"docker {' '.join(words)}: {err.decode()[-1000:]}"
        return out.decode()


@contextlib.asynccontextmanager
async def hand(engine: Engine, image: str, config: Path) -> AsyncIterator[Hand]:
    """A workspace that was started by hand. For the arguments see `Hand`."""
    found = Hand(engine, config)
    try:
        await found.run(image)
        yield found
    finally:
        await found.end()
