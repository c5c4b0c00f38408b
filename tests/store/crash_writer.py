"""A program that commits without end and prints the number of each batch once it is confirmed. Made to be killed."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from mux.core.commands import SaveControls, SaveSession, SaveShip
from mux.core.model import Doors
from mux.store.sql import SqlStore, sqlite_url
from tests.store.samples import SHIP, assignment, session


async def main(path: Path) -> None:
    store = SqlStore(sqlite_url(path))
    await store.open()
    records = await store.load(0.0)
    turn = records.controls.turns if records.controls is not None else 0
    while True:
        turn += 1
        await store.commit(
            [
                SaveShip(replace(SHIP, generation=turn)),
                SaveSession(session(f"session-{turn}", f"user-{turn}", 1e12)),
                assignment(f"user-{turn}", turn, epoch=turn),
                SaveControls(Doors.AUTO, doors_opened=True, launching=True, ships_made=1, turns=turn),
            ]
        )
        print(turn, flush=True)  # noqa: T201 - the other side reads what is confirmed here


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
