"""Every row of the table, and how each is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from tests.docker_engine import Engine
from tests.e2e.kills.attendee import Attendee
from tests.e2e.kills.faults import FAULTS, FORGETFUL, KERNEL_OOM, forgetful, full_disk, out_of_memory
from tests.e2e.kills.house import PARTS, House, open_house
from tests.e2e.kills.rows import Row, alone_and_in_pairs, killed

Happening = tuple[str, ...]
"""Names a row: the parts that are killed, or what else happens."""


def every(runtime: str) -> list[Happening]:
    """All rows of a runtime."""
    return [*alone_and_in_pairs(PARTS[runtime]), *FAULTS[runtime]]


def needs_its_own(what: Happening) -> bool:
    """Whether it cannot happen in a house that others use: its disk is a small one."""
    return what[0].startswith("disk")


async def happens(house: House, attendee: Attendee, what: Happening) -> Row:
    """Let it happen in a house."""
    if what == KERNEL_OOM:
        return await out_of_memory(house, attendee)
    if what[0] == FORGETFUL[0]:
        return await forgetful(house, attendee, what)
    return await killed(house, attendee, what)


async def measured(chosen: Sequence[Happening], engine: Engine | None) -> AsyncIterator[Row]:
    """Rows, as they come."""
    shared = [what for what in chosen if not needs_its_own(what)]
    if shared:
        async with open_house(engine) as (house, attendee):
            for what in shared:
                yield await happens(house, attendee, what)
    for what in chosen:
        if needs_its_own(what):
            yield await full_disk(what)
