"""Pulls that a disk has no room for, with an engine that says what it would fetch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiodocker
import pytest
from aiodocker.exceptions import DockerError

from ship_agent.runtimes.base import RuntimeFailure
from ship_agent.runtimes.docker_images import DockerImages
from tests.ship_agent.images import project_with

DIGEST = "sha256:" + "1" * 64


class FakeEngine:
    """Of an engine, what pulls need: no image is here, and a pull says and does what it is told.

    Args:
        layer_bytes: size of its one layer.
        ends: raised at the end of the pull.
    """

    def __init__(self, layer_bytes: int, ends: DockerError) -> None:
        self.images = self
        self.closed = False
        self._layer_bytes = layer_bytes
        self._ends = ends

    async def inspect(self, name: str) -> None:
        raise DockerError(404, f"no such image: {name}")

    async def pull(self, *_: object, **__: object) -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"status": "Pulling fs layer", "id": "a"}
            yield {"status": "Downloading", "id": "a", "progressDetail": {"current": 1, "total": self._layer_bytes}}
            yield {"status": "Downloading", "id": "a", "progressDetail": {"current": 2, "total": self._layer_bytes}}
            raise self._ends
        finally:
            self.closed = True


def images(engine: FakeEngine, directory: Path, store: Path) -> DockerImages:
    return DockerImages(cast(aiodocker.Docker, engine), directory / "images.json", store)


async def failure_of(engine: FakeEngine, directory: Path, store: Path) -> RuntimeFailure:
    project = project_with({"image": "r.example/intro:1", "digest": DIGEST, "command": ["serve"]})
    with pytest.raises(RuntimeFailure) as raised:
        await images(engine, directory, store).pull(project, DIGEST, lambda _: None)
    return raised.value


async def test_a_pull_that_does_not_fit_is_given_up_before_it_fills_the_disk(tmp_path: Path) -> None:
    engine = FakeEngine(1 << 60, DockerError(500, "it went on"))
    failure = await failure_of(engine, tmp_path, tmp_path)
    assert (failure.code, failure.retryable, engine.closed) == ("disk_full", True, True)
    assert f"{1 << 30:.2f} GiB or more to fetch and then to unpack, and {tmp_path} had " in failure.detail


async def test_a_disk_that_fills_up_while_layers_are_unpacked_is_told_with_the_numbers(tmp_path: Path) -> None:
    engine = FakeEngine(1 << 20, DockerError(500, "write /var/lib: no space left on device"))
    failure = await failure_of(engine, tmp_path, tmp_path)
    assert failure.code == "disk_full"
    assert "0.00 GiB or more to fetch" in failure.detail


async def test_an_engine_whose_disk_is_out_of_sight_is_believed(tmp_path: Path) -> None:
    engine = FakeEngine(1 << 60, DockerError(500, "no space left on device"))
    assert (await failure_of(engine, tmp_path, tmp_path / "none")).code == "disk_full"
