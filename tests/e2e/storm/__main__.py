"""``python -m tests.e2e.storm``: a storm over as many people as this machine carries, and what was seen."""

from __future__ import annotations

import argparse
import asyncio
import json

from tests.e2e.storm.storm import Weather, storm


def main() -> None:
    """One storm."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.storm", description=__doc__)
    usual = Weather()
    parser.add_argument("--people", type=int, default=usual.people)
    parser.add_argument("--seconds", type=float, default=usual.storm_s)
    parser.add_argument("--kills", type=int, default=usual.kills_max)
    parser.add_argument("--moves", type=int, default=usual.moves_max)
    parser.add_argument("--seed", type=int, default=usual.seed)
    chosen = parser.parse_args()
    weather = Weather(chosen.people, usual.seats_per_ship, chosen.seconds, chosen.kills, chosen.moves, chosen.seed)
    print(json.dumps(asyncio.run(storm(weather)), indent=1))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
