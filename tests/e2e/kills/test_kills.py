"""Whatever is killed, it converges; nothing confirmed is lost; login and seat are kept; nothing is left over.

How long it takes is measured and written down (`python -m tests.e2e.kills`), never asserted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.docker_engine import Engine
from tests.e2e.kills.attendee import Attendee
from tests.e2e.kills.every import Happening, every, happens, needs_its_own
from tests.e2e.kills.faults import full_disk
from tests.e2e.kills.house import House, open_house
from tests.images.conftest import build

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

IN_SHORT: dict[str, tuple[Happening, ...]] = {
    "process": (("supervisor",), ("shim",)),
    "docker": (("container",),),
}
"""What no browser test kills: `tests/e2e/test_processes_die.py` has the others."""


def happenings(runtime: str) -> list[object]:
    """The rows of a runtime; those that are not in short are long."""
    return [
        pytest.param(what, id="+".join(what), marks=[] if what in IN_SHORT[runtime] else pytest.mark.long)
        for what in every(runtime)
        if not needs_its_own(what)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_processes() -> AsyncIterator[tuple[House, Attendee]]:
    """A mux whose workspaces are processes; its end is part of the proof."""
    async with open_house() as both:
        yield both


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_docker(docker_engine: Engine) -> AsyncIterator[tuple[House, Attendee]]:
    """A mux whose workspaces are containers."""
    async with open_house(build(docker_engine)) as both:
        yield both


@pytest.mark.parametrize("what", happenings("process"))
async def test_on_processes_nothing_that_counts_is_lost(what: Happening, on_processes: tuple[House, Attendee]) -> None:
    await happens(*on_processes, what)


@pytest.mark.long
@pytest.mark.parametrize("what", [what for what in every("process") if needs_its_own(what)], ids=" ".join)
async def test_on_a_full_disk_nothing_that_counts_is_lost(what: Happening) -> None:
    await full_disk(what)


@pytest.mark.parametrize("what", happenings("docker"))
async def test_in_containers_nothing_that_counts_is_lost(what: Happening, on_docker: tuple[House, Attendee]) -> None:
    await happens(*on_docker, what)
