"""``python -m tests.sim``: run seeds, or look at one."""

from __future__ import annotations

import argparse
import os
import sys

from tests.sim.actions import scenario
from tests.sim.day import LOOK_EVERY, Fewer, day
from tests.sim.house import House
from tests.sim.many import RESULTS, Tally, commit_here, timed, write_results
from tests.sim.transcript import transcript


def main() -> int:
    """0 when every rule holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one; when it fails, show its smallest history")
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--first", type=int, default=0, help="from which on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--day", type=int, metavar="SHIPS", help="run one day of so many full ships instead")
    parser.add_argument("--write", action="store_true", help=f"keep the results in {RESULTS.name}")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        text = transcript(chosen.seed)
        sys.stdout.write(f"{text or House(scenario(chosen.seed)).run()}\n")
        return int(bool(text))
    if chosen.day:
        sys.stdout.write(f"{House(day(chosen.first, chosen.day), every=LOOK_EVERY, rules=Fewer).run()}\n")
        return 0
    commit = commit_here()
    tally, took_s = timed(range(chosen.first, chosen.first + chosen.seeds), chosen.jobs, _tell)
    sys.stdout.write(f"{tally.seeds} seeds, {tally.events} events, {took_s:.0f} s\n")
    if chosen.write:
        write_results(tally, took_s, commit)
    return int(bool(tally.failures))


def _tell(part: Tally) -> None:
    for seed, rule in part.failures:
        sys.stdout.write(f"seed {seed}: {rule}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
