"""`mux fleet warm`: what it costs is shown and asked first; progress until the seats are ready, or why they are not."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from mux.cli.warming import summary
from mux.core.events import FleetWarmed, LaunchingSet
from tests.admin.support import NOW
from tests.cli.conftest import Cli


async def test_what_warming_costs_is_shown_and_takes_a_yes(cli: Cli) -> None:
    said = await cli("fleet", "warm", "8", "--no-watch")
    assert said.code == 2 and "say --yes" in said.err
    assert "8 seats: 4 ships to launch; 0 are ready. About 1.00 USD an hour, about 8.00 USD for the event." in said.out
    assert cli.admin.engine.events == []
    assert (await cli("fleet", "warm", "8", "--no-watch", "--yes")).code == 0
    assert cli.admin.engine.events == [FleetWarmed(8)]


async def test_without_a_number_the_event_file_counts(cli: Cli) -> None:
    assert (await cli("fleet", "warm", "--no-watch", "--yes")).code == 0
    assert cli.admin.engine.events == [FleetWarmed(4)]


async def test_beyond_the_limit_it_takes_the_organizers_word(cli: Cli) -> None:
    said = await cli("fleet", "warm", "12", "--no-watch", "--yes")
    assert said.code == 1
    assert "beyond the limit of 10.00 USD" in said.err and "--spend-limit 12" in said.err
    assert (await cli("fleet", "warm", "12", "--no-watch", "--yes", "--spend-limit", "12")).code == 0
    assert cli.admin.engine.events == [FleetWarmed(12, spend_limit=12.0)]


@pytest.mark.parametrize(("by", "in_s"), [("09:00", 3_600.0), ("07:00", 23 * 3_600.0), ("2027-01-15 08:30", 1_800.0)])
async def test_a_time_of_day_is_the_next_one(cli: Cli, by: str, in_s: float) -> None:
    assert (await cli("fleet", "warm", "8", "--by", by, "--no-watch", "--yes")).code == 0
    assert cli.admin.engine.events == [FleetWarmed(8, by=NOW + in_s)]  # NOW is 08:00 UTC


@pytest.mark.parametrize("by", ["soon", "25:00", "2027-01-14 08:30"])
async def test_a_time_that_is_none_or_has_passed_is_refused(cli: Cli, by: str) -> None:
    said = await cli("fleet", "warm", "8", "--by", by, "--no-watch", "--yes")
    assert said.code == 1 and "`by`" in said.err


async def test_warming_that_cannot_go_on_ends_with_1_and_one_sentence(cli: Cli) -> None:
    cli.admin.engine.fleet.handle(LaunchingSet(enabled=False), now=NOW)
    said = await cli("fleet", "warm", "8", "--yes", "--json")
    assert said.code == 1 and said.err.count("\n") == 1 and "paused" in said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert lines[0]["plan"]["launches"] == 4
    assert lines[1]["seats"] == 4 and lines[1]["held"]


async def test_the_time_to_watch_is_bounded(cli: Cli) -> None:
    said = await cli("fleet", "warm", "8", "--yes", "--timeout", "0.01")
    assert said.code == 1 and "warming goes on" in said.err


async def test_a_stall_ends_the_watching_with_its_reasons(cli: Cli) -> None:
    world = cli.admin.engine.fleet.world
    world.watch = replace(world.watch, stalled=True)
    said = await cli("fleet", "warm", "8", "--yes")
    assert said.code == 1 and "stalled at 0 of 4 seats" in said.err


async def test_what_the_event_costs_is_shown(cli: Cli) -> None:
    said = await cli("spend", "status")
    assert "limit     10.00 USD" in said.out
    assert json.loads((await cli("spend", "status", "--json")).out)["known"] is True


def test_progress_in_one_line() -> None:
    found = {"ready": 3, "seats": 8, "ships_by_state": {"pulling": 2, "available": 1}, "begins_at": None, "now": 0.0}
    text = summary({**found, "expected_at": 130.0, "by": 60.0})
    assert text == "3 of 8 seats ready, about 2 min left (late); ships: 1 available, 2 pulling"


@dataclass
class Terminal:
    """A command in a terminal.

    Args:
        process: the command.
        keys: where keys are typed and the screen is read.
        screen: all that was shown so far.
    """

    process: asyncio.subprocess.Process
    keys: int
    screen: str = ""

    async def shows(self, text: str) -> None:
        """Wait for something on the screen."""
        while text not in self.screen:
            try:
                self.screen += (await asyncio.to_thread(os.read, self.keys, 65_536)).decode(errors="replace")
            except OSError:  # the command has ended, and its end of the terminal with it
                raise AssertionError(f"{text!r} is not shown: {self.screen}") from None


@asynccontextmanager
async def terminal(*words: str) -> AsyncIterator[Terminal]:
    """``mux`` in a terminal of its own."""
    keys, inside = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mux.cli", *words,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}, stdin=inside, stdout=inside, stderr=inside,
    )  # fmt: skip
    os.close(inside)
    try:
        yield Terminal(process, keys)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(keys)


async def test_in_a_terminal_it_asks_shows_bars_and_is_only_watched(cli: Cli) -> None:
    async with terminal("fleet", "warm", "8", "--data", str(cli.data)) as shown:
        await shown.shows("Launch them?")
        os.write(shown.keys, b"y\n")
        await shown.shows("0 of 4 seats ready")
        assert "━" * 40 in shown.screen
        shown.process.send_signal(signal.SIGINT)
        await shown.shows("warming goes on; `mux status` shows it, `mux fleet cool` takes it back")
        assert "\x1b[?25h" in shown.screen, "the cursor is back"
        assert await shown.process.wait() == 130
    assert cli.admin.engine.events == [FleetWarmed(8)]
