"""``python -m tests.proxy.fuzz``: look for inputs that break the rules."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time

import structlog
import uvloop

from tests.proxy.fuzz.driver import Fuzzer


async def look(seconds: float, seed: int) -> int:
    """Try inputs for some seconds; the exit code."""
    fuzzer = Fuzzer(seed)
    await fuzzer.open()
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            await fuzzer.step()
    except Exception as error:
        sys.stdout.write(f"seed {seed}, exchange {fuzzer.exchanges}: {error!r}\n{fuzzer.last!r}\n")
        return 1
    finally:
        await fuzzer.close()
    sys.stdout.write(f"seed {seed}: {fuzzer.exchanges} inputs, {fuzzer.ends} ways to end, no breach\n")
    return 0


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.proxy.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seed = random.randrange(1 << 32) if chosen.seed is None else chosen.seed
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(look(chosen.seconds, seed)))


if __name__ == "__main__":
    main()
