"""How old the files are that somebody finds after their ship was killed: measured, kept and drawn.

The attendee saves a file at random moments, a second or more apart, until the ship is killed at another random one. The
age is the time from the first confirmed save that is missing to the kill: nothing, if none is.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.docker_engine import ROOT, Engine
from tests.e2e.kills.attendee import FILE, Attendee
from tests.e2e.lost.house import MOVED_S_MAX, House, first_answer, open_house

FIGURES = Path(__file__).with_name("ages.json")
PLOT = ROOT / "docs" / "images" / "snapshot-ages.svg"
SAVE_S = (1.0, 4.0)
"""Between two saves: somebody who is quick."""
WORK_S = (3.0, 8.0)
"""From the first save to the kill."""
WIDTH, HEIGHT, LEFT, BASE = 640, 240, 48, 200


BESIDE = ("containers", "shared")
"""What is kept beside the figures of homes in processes: homes in containers, and what projects share."""


async def measured(kills: int, seed: int, engine: Engine | None = None, file: str = FILE) -> AsyncIterator[float]:
    """The age after each kill, in seconds, as they come. ``engine``: see `House`; ``file``: what is saved."""
    dice = random.Random(seed)
    async with open_house(light=engine is None, engine=engine) as (house, attendee):
        attendee.file = file
        for _ in range(kills):
            yield await _age(house, attendee, dice)


async def _age(house: House, attendee: Attendee, dice: random.Random) -> float:
    lost = await house.ship_of_the_attendee()
    confirmed: dict[int, float] = {}
    end = time.monotonic() + dice.uniform(*WORK_S)
    while time.monotonic() < end:
        if await attendee.saves():
            confirmed[attendee.seen.saved] = time.monotonic()
        await asyncio.sleep(min(dice.uniform(*SAVE_S), max(0.0, end - time.monotonic())))
    killed = time.monotonic()
    await house.kill_ship(lost)
    await house.run("ship", "lost", lost, "--yes")
    found = await first_answer(attendee) or 0
    missing = [at for number, at in confirmed.items() if number > found]
    async with asyncio.timeout(MOVED_S_MAX):
        await house.ready()
    await house.run("ship", "release", lost, "--yes")  # it has come back, and would keep the work
    return max(0.0, killed - min(missing)) if missing else 0.0


def figures(ages: list[float], *, seed: int, commit: str, date: str) -> dict[str, Any]:
    """What is kept of a run."""
    return {
        "commit": commit,
        "date": date,
        "seed": seed,
        "kills": len(ages),
        "nothing_missing": sum(age == 0 for age in ages),
        "median_s": round(statistics.median(ages), 2),
        "largest_s": round(max(ages), 2),
        "ages_s": [round(age, 2) for age in ages],
    }


def write(found: dict[str, Any], of: str = "") -> None:
    """Keep figures and plot; ``of``: one of BESIDE, or empty."""
    before = read()
    found = before | {of: found} if of else found | {each: before[each] for each in BESIDE if each in before}
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PLOT.write_text(drawn(found), encoding="utf-8")


def read() -> dict[str, Any]:
    """What is kept; empty if nothing is."""
    return dict(json.loads(FIGURES.read_text(encoding="utf-8"))) if FIGURES.exists() else {}


def drawn(found: dict[str, Any]) -> str:
    """The plot: each kill a point, the oldest last."""
    ages = sorted(found["ages_s"])
    top = max(2.0, *ages)
    across, up = (WIDTH - LEFT - 16) / len(ages), (BASE - 24) / top
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="16">Age of the newest missing save, {found["kills"]} kills of a ship, in seconds</text>',
    ]
    for mark in range(int(top) + 1):
        y = BASE - mark * up
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{mark}</text>')
    parts += [
        f'<circle cx="{LEFT + (number + 0.5) * across:.1f}" cy="{BASE - age * up:.1f}" r="3" fill="#1f6feb"/>'
        for number, age in enumerate(ages)
    ]
    parts.append(
        f'<text x="{LEFT}" y="{HEIGHT - 16}">nothing missing after {found["nothing_missing"]}; median '
        f"{found['median_s']} s, largest {found['largest_s']} s ({found['commit']}, {found['date']})</text>"
    )
    return "\n".join([*parts, "</svg>", ""])
