"""The storm itself: a room at work, organizers, and ``kill -9`` at random moments, bounded in number and time.

What must hold, whatever was killed: every answer is the right attendee's and as new as their last confirmed save; what
is no answer of a workspace is a page that waits, 502, 503 or a connection that broke; nobody's login is lost; at the
end everybody is served, every ship has its link, no process holds more files than before, and the log has no traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.room.__main__ import EVENT, make_images
from bench.room.people import Person, summed
from tests.e2e.harness import MuxUnderTest, kill
from tests.e2e.storm.organizers import PAUSE_S, Organizers

PARTS = {"control": "mux.daemon run", "proxies": "mux.proxy", "agents": "ship_agent.cli"}
PORTS_EACH = 4
"""Of all ships, for each attendee: two, and as many for the ships that take the place of others."""
KILL_PAUSE_S = (2.0, 8.0)
AGAIN_S = 1.0
"""After which somebody starts a mux again whose supervisor was killed."""
SETTLE_S_MAX = 300.0
LOOK_S = 1.0
FILES_MORE_MAX = 40
"""By how many a process may hold more files afterwards."""
BAD = {"301", "302", "303", "400", "401", "403", "404", "421", "500"}
"""Answers that say that somebody's login or workspace is not known any more, or that mux has a defect."""


class RoomUnderTest(MuxUnderTest):
    """A mux whose fleet takes its time to be ready."""

    ready_s_max = 900.0
    stop_s_max = 180.0


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad it is.

    Args:
        people: attendees.
        seats_per_ship: of them on one ship.
        storm_s: how long, in seconds.
        kills_max: processes that are killed, at most.
        moves_max: ships that are emptied, at most.
        seed: of everything that is random here.
    """

    people: int = 300
    seats_per_ship: int = 30
    storm_s: float = 180.0
    kills_max: int = 30
    moves_max: int = 4
    seed: int = 1


class Storm:
    """One storm.

    Args:
        mux: runs, all seats ready.
        people: invited.
        weather: how bad it is.
    """

    def __init__(self, mux: RoomUnderTest, people: list[Person], weather: Weather) -> None:
        self._mux = mux
        self._people = people
        self._weather = weather
        self._random = random.Random(weather.seed)
        self._organizers = Organizers(mux.directory / "data/run/admin.sock", self._random, weather.moves_max)
        self.killed: Counter[str] = Counter()

    async def pass_over(self) -> dict[str, Any]:
        """Everything, from the logins to the last look; what was seen. Raises AssertionError."""
        before = self._held()
        await asyncio.gather(*(person.enter() for person in self._people))
        for person in self._people:
            person.work()
        await asyncio.sleep(3 * LOOK_S)
        calm = summed([person.look() for person in self._people])
        await asyncio.gather(self._organizers.work(self._passing(PAUSE_S)), self._kill())
        await self._mux.reachable()
        rough = summed([person.look() for person in self._people])
        settled_s = await self._settle()
        lost = await self._end()
        after = await self._let_go(before)
        found = {
            "calm": calm, "rough": rough, "settled_s": settled_s, "killed": dict(self.killed),
            "organizers": dict(self._organizers.done), "held_before": before, "held_after": after,
        }  # fmt: skip
        assert not lost, f"{lost} miss a save that was confirmed"
        assert not self._organizers.wrong, self._organizers.wrong[:10]
        bad = {said: number for said, number in rough["failed"].items() if said.removeprefix("save: ") in BAD}
        assert not bad, f"answers that nobody must get: {bad}; {found}"
        log = self._mux.log.read_text(encoding="utf-8", errors="replace")
        assert "Traceback" not in log, log[max(0, log.index("Traceback") - 2000) :][:6000]
        return found

    async def _passing(self, pause_s: tuple[float, float]) -> AsyncIterator[None]:
        """The moments at which something happens, until the storm is over."""
        until = time.monotonic() + self._weather.storm_s
        while time.monotonic() < until:
            await asyncio.sleep(self._random.uniform(*pause_s))
            yield

    async def _kill(self) -> None:
        """Kill one process after the other."""
        words = {**PARTS, "workspaces": "workspace.py"}
        async for _ in self._passing(KILL_PAUSE_S):
            if self.killed.total() == self._weather.kills_max:
                return
            part = self._random.choice(
                ("control", "proxies", "proxies", "agents", "agents", "workspaces", "supervisor")
            )
            self.killed[part] += 1
            if part == "supervisor":
                await kill([each for each in self._mux.processes_of(" serve") if "mux.daemon" not in each.cmdline()])
                await asyncio.sleep(AGAIN_S)
                await self._mux.start()
            elif found := self._mux.processes_of(words[part]):
                await kill([self._random.choice(found)])

    async def _settle(self) -> float:
        """Until everybody is served and every ship has its link; after how many seconds."""
        began = time.monotonic()
        await self._organizers.calm()
        try:
            async with asyncio.timeout(SETTLE_S_MAX):
                while True:
                    for person in self._people:
                        person.look()
                    await asyncio.sleep(4 * LOOK_S)
                    looks = [person.look() for person in self._people]
                    status = await self._mux.quick_status()
                    linked = status is not None and all(ship["linked"] for ship in status["ships"])
                    if linked and all(look.pages and not look.failed for look in looks):
                        return round(time.monotonic() - began, 1)
        except TimeoutError:
            raise AssertionError(f"not everybody is served again:\n{await self._mux.account()}") from None

    async def _end(self) -> int:
        for person in self._people:
            await person.leave()
        wrong = [each for person in self._people for each in person.wrong]
        assert not wrong, f"{len(wrong)} answers that must never be: {wrong[:10]}"
        return sum([await person.found() < person.saved for person in self._people])

    async def _let_go(self, before: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        """Everybody leaves: until no process holds many more files than before they came; what each holds then."""
        for person in self._people:
            await person.close()
        try:
            async with asyncio.timeout(SETTLE_S_MAX):
                while True:
                    after = self._held()
                    if all(held["files"] <= before[part]["files"] + FILES_MORE_MAX for part, held in after.items()):
                        return after
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"files are not closed: {before}, then {self._held()}") from None

    def _held(self) -> dict[str, dict[str, int]]:
        """Files and memory of each part: of the process of it that holds most."""
        found = {}
        for name, part in PARTS.items():
            files, memory, number = 0, 0.0, 0
            for process in self._mux.processes_of(part):
                with contextlib.suppress(psutil.Error):
                    files = max(files, process.num_fds())
                    memory = max(memory, process.memory_info().rss / 1e6)
                    number += 1
            found[name] = {"processes": number, "files": files, "megabytes": round(memory)}
        return found


async def storm(weather: Weather) -> dict[str, Any]:
    """A whole storm over a mux of its own; what was seen. Raises AssertionError."""
    directory = Path(tempfile.mkdtemp(prefix="mux-storm-"))
    make_images(directory)
    template = EVENT.replace("PEOPLE", str(weather.people)).replace("SEATS", str(weather.seats_per_ship))
    template = template.replace('"21000-25999"', '"{ports}"')
    mux = RoomUnderTest(directory, template=template, ports=PORTS_EACH * weather.people)
    people: list[Person] = []
    try:
        await mux.start()
        names = [f"attendee{number}" for number in range(weather.people)]
        await mux.invite(names)
        await mux.ready()
        people = [Person(mux.public, name, mux.codes[name]) for name in names]
        found = await Storm(mux, people, weather).pass_over()
        await mux.stop()
        assert mux.processes() == [], "mux left processes behind"
    finally:
        for person in people:
            await person.close()
        if left := mux.processes():
            await kill(left)
        shutil.rmtree(directory, ignore_errors=True)
    return found
