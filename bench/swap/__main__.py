"""``python -m bench.swap``: what a push costs beside doing it by hand, on one engine and one registry.

One ship with two attendees on JupyterLab, both asking every 20 ms. Each round pushes an image of one layer more by
`mux push`, and gives another such image to a container of the same kind by `docker pull`, `docker stop` and
`docker run`; in turn, so that what else the machine does meets both. Bytes are counted on the way to the registry. What
mux does beyond it (a throw-away workspace that proves the image, a watched wave, files merged with the new image,
requests that wait instead of failing) is part of its times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import described
from bench.swap.by_hand import Hand, hand
from bench.swap.page import ROWS, put
from bench.swap.plot import plot
from tests.docker_engine import ROOT, Engine, shared_engine
from tests.e2e.pushes.house import LOOK_S, House, open_house
from tests.e2e.pushes.images import LAB
from tests.e2e.pushes.rows import watching
from tests.e2e.pushes.shelf import Shelf

RESULTS = Path(__file__).parents[1] / "results"


async def measure(engine: Engine, rounds: int, layer_bytes: int) -> dict[str, Any]:
    """All rounds; samples by row and by who did it."""
    samples: dict[str, dict[str, list[float]]] = {row: {"mux": [], "by hand": []} for row in ROWS}
    whole: list[float] = []
    async with open_house(engine, replace(LAB, ships=1)) as house:
        first = await house.images.put("hand")
        assert isinstance(house.images, Shelf)
        async with hand(engine, first, house.images.logins.parent) as by_hand:
            for number in range(rounds):
                await _by_hand(house, by_hand, f"hand{number}", layer_bytes, samples)
                whole.append(await _by_mux(house, f"mux{number}", layer_bytes, samples))
                last = {row: {who: round(each[-1], 2) for who, each in by.items()} for row, by in samples.items()}
                print(number + 1, last, flush=True)
    return {
        "attendees": 2,
        "layer_bytes": layer_bytes,
        "rounds": rounds,
        "rows": {row: _row(by) for row, by in samples.items()},
        "push_s": _figures(whole),
    }


async def _by_hand(
    house: House, by_hand: Hand, tag: str, layer_bytes: int, samples: dict[str, dict[str, list[float]]]
) -> None:
    image = await house.images.put(tag, layer_bytes=layer_bytes)
    await house.images.forget(image)
    before = house.gate.bytes
    samples["pull"]["by hand"].append(await by_hand.pull(image))
    samples["bytes"]["by hand"].append((house.gate.bytes - before) / 1024)
    samples["gap"]["by hand"].append(await by_hand.swap(image))


async def _by_mux(house: House, tag: str, layer_bytes: int, samples: dict[str, dict[str, list[float]]]) -> float:
    """One push; seconds from the command to the end of the last wave."""
    image = await house.images.put(tag, layer_bytes=layer_bytes)
    await house.images.forget(image)
    before, began = house.gate.bytes, time.monotonic()
    async with watching(house):
        pulled = asyncio.create_task(_pulled(house, image))
        went_well, said = await house.push(image, "--json")
        assert went_well, said
        whole = time.monotonic() - began
        samples["pull"]["mux"].append(await pulled)
        samples["bytes"]["mux"].append((house.gate.bytes - before) / 1024)
        await asyncio.sleep(0.5)
    samples["gap"]["mux"] += [guest.polls.gap_s for guest in house.guests]
    assert all(set(guest.polls.came) == {"200"} for guest in house.guests), "a request has failed"
    return whole


async def _pulled(house: House, image: str) -> float:
    """Seconds from the order to the ship's word that it has the image."""
    while (found := await house.rollout()) is None or found["image"] != image or not found["pulled"]:
        await asyncio.sleep(LOOK_S)
    return time.time() - float(found["pushed_at"])


def _row(by: dict[str, list[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {who: _figures(samples) for who, samples in by.items()}
    found["ratio"] = round(found["mux"]["median"] / found["by hand"]["median"], 2)
    return found


def _figures(samples: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(samples), 2),
        "largest": round(max(samples), 2),
        "samples": [round(each, 2) for each in samples],
    }


def main() -> None:
    """Measure, write JSON, the plot and the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.swap", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layer-bytes", type=int, default=8 << 20, help="of the layer that is new in each image")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where swap.json and swap.svg go")
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    with shared_engine() as engine:
        found = asyncio.run(measure(engine, chosen.rounds, chosen.layer_bytes))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": described(),
        "load_at_start": round(load, 1),
    } | found
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "swap.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (chosen.out / "swap.svg").write_text(plot(results["rows"], ROWS), encoding="utf-8")
    if chosen.out == RESULTS:
        put(results)


if __name__ == "__main__":
    main()
