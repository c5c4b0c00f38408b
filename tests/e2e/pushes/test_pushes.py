"""Whatever is pushed: nobody is touched before the image was proved there, edits stay, and it says what came of it.

How long it takes is measured and written down (`python -m tests.e2e.pushes`), never asserted.
"""

from __future__ import annotations

import pytest

from tests.docker_engine import Engine
from tests.e2e.pushes.every import CASES, KINDS
from tests.e2e.pushes.house import House, open_house
from tests.e2e.pushes.images import LAB, LIGHT, PROCESS, ROOM
from tests.e2e.pushes.whens import UNMEASURED

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

IN_SHORT = (
    "a good image",
    "its hook fails",
    "its layer is lost in the registry",
    "the login has ended when ships pull it",
    "mux is killed while an attendee is swapped",
)


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=[] if what in IN_SHORT else pytest.mark.long) for what in (*KINDS[LIGHT], *UNMEASURED)],
)
async def test_on_containers_nobody_is_touched_unproved_and_edits_stay(what: str, house: House) -> None:
    await CASES[what](house)


@pytest.mark.long
async def test_on_processes_it_is_the_same() -> None:
    async with open_house(None, PROCESS) as house:
        for what in KINDS[PROCESS]:
            await CASES[what](house)


@pytest.mark.long
async def test_jupyterlab_goes_through_a_push_and_back(docker_engine: Engine) -> None:
    async with open_house(docker_engine, LAB) as lab:
        await CASES["a good image"](lab)
        await CASES["`mux rollout rollback`"](lab)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_room_goes_through_a_push_and_nobody_through_a_bad_one(docker_engine: Engine) -> None:
    async with open_house(docker_engine, ROOM) as room:
        await CASES["a good image"](room)
        await CASES["its hook fails"](room)
