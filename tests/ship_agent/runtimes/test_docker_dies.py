"""A Docker engine that dies in the moment of a start: what it had made by then is found again, or goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ship_agent.runtimes.base import RuntimeFailure
from ship_agent.runtimes.docker import DockerRuntime
from ship_agent.runtimes.ports import check_port
from tests.docker_engine import Engine
from tests.ship_agent.runtimes.conftest import opened
from tests.ship_agent.runtimes.docker_lab import DockerLab

CHUNK_BYTES = 64 << 10
LOOK_S = 0.05
GONE_S_MAX = 60.0
SEEDED, MADE, STARTED = "create?name=mux-{scope}-seed-", "create?name=mux-{scope}-ship-1.", "/start"
"""Parts of the addresses of a start's requests: the image's content is taken out, a container is made and started."""


class Mortal:
    """The way to an engine that dies, for whoever goes it, when it has carried out a request and not yet said so.

    Args:
        engine: the engine's socket.
        place: where it is found by this way.
    """

    def __init__(self, engine: Path, place: Path) -> None:
        self.place = place
        self.last = ""
        """The request that it dies of: a part of the address of a POST; empty for none."""
        self._engine = engine
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def rise(self) -> None:
        """Be there, and die of nothing."""
        self.last = ""
        self.place.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.place)

    def die(self) -> None:
        """Be away: what is under way is cut."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._engine)
        both = {writer, up_writer}
        self._writers |= both
        fatal = asyncio.Event()
        asks = asyncio.create_task(self._pass_on(reader, up_writer, fatal))
        with contextlib.suppress(OSError):
            while answer := await up_reader.read(CHUNK_BYTES):
                if fatal.is_set():
                    self.die()
                writer.write(answer)
                await writer.drain()
        asks.cancel()
        await asyncio.gather(asks, return_exceptions=True)
        self._writers -= both
        for each in both:
            each.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fatal: asyncio.Event) -> None:
        while asked := await reader.read(CHUNK_BYTES):
            address = asked.partition(b"\r\n")[0].decode("latin-1")
            if self.last and address.startswith("POST ") and self.last in address:
                fatal.set()
            writer.write(asked)
            await writer.drain()


class MortalLab(DockerLab):
    """A lab whose runtime goes to the engine by a `Mortal`."""

    def __init__(self, directory: Path, engine: Engine) -> None:
        self.mortal = Mortal(engine.socket, directory / "mortal.sock")
        super().__init__(directory, engine)

    def make(self) -> DockerRuntime:
        return DockerRuntime(self.directory / "ship", socket_path=str(self.mortal.place))


@pytest.fixture
async def lab(docker_engine: Engine, tmp_path: Path) -> AsyncIterator[MortalLab]:
    """A lab; at the end nothing of it is left in the engine."""
    lab = MortalLab(tmp_path, docker_engine)
    await lab.mortal.rise()
    async with opened(lab):
        yield lab
    lab.mortal.die()


@pytest.mark.parametrize("last", [MADE, *(pytest.param(each, marks=pytest.mark.long) for each in (SEEDED, STARTED))])
async def test_what_it_had_made_goes_with_the_workspace(lab: MortalLab, last: str) -> None:
    spec = await lab.pulled()
    lab.mortal.last = last.format(scope=lab.scope)
    with pytest.raises(RuntimeFailure) as told:
        await lab.runtime.start(spec)
    assert told.value.code == "engine_away"
    assert lab.left_over(), "the engine had carried out what it died of"

    await lab.mortal.rise()
    await lab.runtime.remove(spec.id)

    async with asyncio.timeout(GONE_S_MAX):
        while lab.left_over():
            await asyncio.sleep(LOOK_S)
    check_port("127.0.0.1", spec.port)


@pytest.mark.long
@pytest.mark.parametrize("last", [SEEDED, MADE, STARTED])
async def test_what_it_had_made_stands_in_no_ones_way(lab: MortalLab, last: str) -> None:
    spec = await lab.pulled()
    lab.mortal.last = last.format(scope=lab.scope)
    with pytest.raises(RuntimeFailure):
        await lab.runtime.start(spec)

    await lab.mortal.rise()
    await lab.runtime.start(spec)

    await lab.answers(spec)
    assert len(lab.living()) == 1
