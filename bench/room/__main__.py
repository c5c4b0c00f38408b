"""``python -m bench.room``: a rehearsal with three hundred attendees on this machine.

A real mux with ten ships of thirty seats, on the runtime `process`; the workspaces are small web servers instead of
Jupyter, so that they fit. Everybody logs in at once and works: a page every two seconds, a save every four, and an echo
over a WebSocket every two. Meanwhile an image is pushed, and processes are killed. Whatever was seen is written down;
what must hold, that no confirmed save is lost and that everybody is served at the end, is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bench.machine import described
from bench.room.page import put
from bench.room.people import Person, quantile, summed
from tests.docker_engine import ROOT
from tests.e2e import harness
from tests.e2e.harness import MuxUnderTest, kill

RESULTS = Path(__file__).parents[1] / "results" / "room.json"
PEOPLE, SEATS = 300, 30
PHASE_S = 30.0
READY_S_MAX = 900.0
KILLS = {
    "the control process is killed": "mux.daemon run",
    "a proxy is killed": "mux.proxy",
    "every agent is killed": "ship_agent.cli",
}
"""What to kill, by a part of its command line."""

EVENT = """\
[event]
name = "{event}"
title = "The room"
public_address = "http://localhost:{public}"
admin_address = "http://127.0.0.1:{admin}"

[[project]]
name = "room"
kind = "http"
image = "image1"
command = ["python3", "{{home}}/workspace.py", "{{port}}"]
health_path = "version"

[fleet]
provider = "local"
runtime = "{runtime}"
attendees = PEOPLE
seats_per_ship = SEATS
ready_seats = PEOPLE
ports = "21000-25999"

[listen]
public = "127.0.0.1:{public}"
admin = "127.0.0.1:{admin}"
control = "127.0.0.1:{control}"

[data]
directory = "data"
"""


def make_images(directory: Path) -> None:
    """Two images that differ in what they say."""
    for number in (1, 2):
        home = directory / f"image{number}" / "home"
        home.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("workspace.py"), home)
        (home / "version").write_text(f"image {number}\n", encoding="utf-8")


def used(mux: MuxUnderTest) -> dict[str, float]:
    """Processor time of mux's own processes so far, in seconds."""
    found: dict[str, float] = {}
    for name, part in (("control", "mux.daemon run"), ("proxies", "mux.proxy"), ("agents", "ship_agent.cli")):
        found[name] = 0.0
        for process in mux.processes_of(part):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                found[name] += times.user + times.system
    return found


class Rehearsal:
    """One rehearsal.

    Args:
        mux: runs, with everybody invited.
        people: everybody.
    """

    def __init__(self, mux: MuxUnderTest, people: Sequence[Person]) -> None:
        self._mux = mux
        self._people = people
        self.rows: list[dict[str, Any]] = []

    async def enter(self) -> None:
        """Everybody at once."""
        took = await asyncio.gather(*(person.enter() for person in self._people))
        logged_in, inside = (sorted(column) for column in zip(*took, strict=True))
        self._note(
            {
                "what": "everybody logs in at once",
                "login_s": {"p50": quantile(logged_in, 0.5, 1), "max": quantile(logged_in, 1, 1)},
                "inside_s": {"p50": quantile(inside, 0.5, 1), "max": quantile(inside, 1, 1)},
            }
        )
        for person in self._people:
            person.work()

    async def quietly(self, what: str = "they work") -> None:
        """Nothing happens beside it, for a while."""
        await self._through(what, asyncio.sleep(PHASE_S))

    async def push(self) -> None:
        """A good image, in waves of a tenth."""
        words = ("push", "room", "image2", "--max-unavailable", "10%", "--yes", "--json")
        await self._through("an image is pushed, a tenth at a time", self._mux.run(*words))

    async def kill(self, what: str, part: str) -> None:
        """One of mux's parts."""
        await self._through(what, self._killed(part))

    async def restart(self) -> None:
        """The supervisor is killed, and started again a second later."""
        await self._through("the supervisor is killed, and started again", self._supervisor_killed())

    async def end(self) -> int:
        """Everybody stops; how many miss a save that was confirmed."""
        for person in self._people:
            await person.leave()
        wrong = [each for person in self._people for each in person.wrong]
        assert not wrong, f"{len(wrong)} answers that must never be: {wrong[:10]}"
        return sum([await person.found() < person.saved for person in self._people])

    async def _killed(self, part: str) -> None:
        await kill(self._mux.processes_of(part))
        await asyncio.sleep(PHASE_S)

    async def _supervisor_killed(self) -> None:
        await kill([each for each in self._mux.processes() if "serve" in each.cmdline()])
        await asyncio.sleep(1.0)
        await self._mux.start()
        await asyncio.sleep(PHASE_S)

    async def _through(self, what: str, happening: Any) -> None:
        before, began = used(self._mux), time.monotonic()
        await happening
        took_s = time.monotonic() - began
        row = {"what": what, "took_s": round(took_s, 1), **summed([person.look() for person in self._people])}
        after = used(self._mux)
        if all(after[name] >= before[name] for name in before):  # none of them was started anew
            row["cores"] = {name: round((after[name] - before[name]) / took_s, 2) for name in before}
        self._note(row)

    def _note(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        print(json.dumps(row), flush=True)


async def rehearse(people: int) -> dict[str, Any]:
    """The whole rehearsal; its results."""
    harness.READY_S_MAX = READY_S_MAX
    directory = Path(tempfile.mkdtemp(prefix="mux-room-"))
    make_images(directory)
    mux = MuxUnderTest(directory, template=EVENT.replace("PEOPLE", str(people)).replace("SEATS", str(SEATS)))
    everybody: list[Person] = []
    try:
        began = time.monotonic()
        await mux.start()
        names = [f"attendee{number}" for number in range(people)]
        await mux.invite(names)
        await mux.ready()
        ready_s = time.monotonic() - began
        everybody = [Person(mux.public, name, mux.codes[name]) for name in names]
        room = Rehearsal(mux, everybody)
        await room.enter()
        await room.quietly()
        await room.push()
        for what, part in KILLS.items():
            await room.kill(what, part)
        await room.restart()
        await room.quietly("they work on")
        assert not room.rows[-1]["failed"], "not everybody is served at the end"
        lost = await room.end()
        assert lost == 0, f"{lost} miss a save that was confirmed"
    finally:
        for person in everybody:
            await person.close()
        await mux.stop()
        if left := mux.processes():
            await kill(left)
        shutil.rmtree(directory, ignore_errors=True)
    return {"people": people, "seats_per_ship": SEATS, "ready_s": round(ready_s, 1), "lost": lost, "rows": room.rows}


def main() -> None:
    """Rehearse, and write down how it went."""
    parser = argparse.ArgumentParser(prog="python -m bench.room", description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE, help="how many attend")
    parser.add_argument("--write", action="store_true", help="keep the results in bench/results and in the page")
    chosen = parser.parse_args()
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    origin = {"commit": commit, "date": datetime.now(UTC).date().isoformat(), "machine": described()}
    found = origin | asyncio.run(rehearse(chosen.people))
    if chosen.write:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        put(found)


if __name__ == "__main__":
    main()
