"""What else can happen to a mux than the kill of a process: memory and disk run out, an engine forgets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.docker_engine import Engine
from tests.e2e.kills.attendee import Attendee
from tests.e2e.kills.house import LOOK_S, House, open_house
from tests.e2e.kills.rows import Row, happened, killed

FULL_S = 3.0
"""How long the disk stays full: several saves."""
BLOCK = b"\0" * (1 << 20)
OOM_S_MAX = 120.0
KERNEL_GROWS = "import threading; threading.Timer(0.5, lambda: globals().update(hog=b'x' * (2 << 30))).start()"
"""Four times what a workspace may have, as soon as the kernel has said that it will."""

KERNEL_OOM = ("kernel out of memory",)
SHIP_DISK = ("disk of the ship full",)
DATA_DISK = ("disk of the mux and the ship full",)
FORGETFUL = ("engine without live-restore",)
FAULTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "process": (SHIP_DISK, DATA_DISK),
    "docker": (KERNEL_OOM, FORGETFUL, (*FORGETFUL, "agent")),
}
"""By runtime. The process runtime limits memory on some machines only."""


async def full_disk(what: tuple[str, ...]) -> Row:
    """A house of its own whose disk is full for a while: saves are refused, and what was confirmed is there."""
    place = "data/ships" if what == SHIP_DISK else "data"
    async with open_house(small_disk=place) as (house, attendee):

        async def fill() -> None:
            with filled(house.directory / place):
                await asyncio.sleep(FULL_S)
                assert not await attendee.saves(), "the disk was not full"

        return await happened(house, attendee, what, fill)


@contextlib.contextmanager
def filled(place: Path) -> Iterator[None]:
    """No room left on a disk."""
    hog = place / "hog"
    try:
        with hog.open("wb", buffering=0) as file:
            for block in (BLOCK, BLOCK[:1]):
                with contextlib.suppress(OSError):
                    while file.write(block):
                        pass
        yield
    finally:
        hog.unlink()


async def out_of_memory(house: House, attendee: Attendee) -> Row:
    """The kernel takes more than the workspace may have, and is killed for it."""

    async def grow() -> None:
        await attendee.run(KERNEL_GROWS)
        async with asyncio.timeout(OOM_S_MAX):
            while await attendee.has_its_memory():
                await asyncio.sleep(LOOK_S)

    return await happened(house, attendee, KERNEL_OOM, grow)


async def forgetful(house: House, attendee: Attendee, what: tuple[str, ...]) -> Row:
    """The engine is killed while it is set to end containers when it starts again."""
    engine = house.engine
    assert engine is not None
    with changed(engine, {"live-restore": False}):
        row = await killed(house, attendee, ("engine", *what[1:]))
    return Row(**{**vars(row), "what": what})


@contextlib.contextmanager
def changed(engine: Engine, settings: Mapping[str, object]) -> Iterator[None]:
    """Settings of the engine, from its next start to the one after."""
    assert engine.run is not None
    path = engine.run / "daemon.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), **settings}))
    try:
        yield
    finally:
        path.write_text(before)
