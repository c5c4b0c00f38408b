"""`mux push` and `mux rollout`: what they ask for, what they show, and how they end."""

from __future__ import annotations

import io
import json
from typing import Literal

import pytest
from rich.console import Console

from mux.cli.rollout_progress import bars, eta
from mux.core.events import ProjectPushed, RolloutSteered
from mux.core.model import ProjectName
from mux.core.rollout import Pace
from tests.admin.support import NOW
from tests.cli.conftest import Cli

INTRO = ProjectName("intro")


def begun(cli: Cli) -> None:
    """A rollout that waits for a ship."""
    cli.admin.engine.fleet.handle(ProjectPushed(INTRO, "fix", "sha256:" + "f" * 64, Pace()), now=NOW)


async def test_an_image_that_is_not_there_is_refused_in_one_line(cli: Cli) -> None:
    said = await cli("push", "intro", "gone", "--yes")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "there is no gone" in said.err
    assert not cli.admin.engine.events


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--max-unavailable", "0"], "max_unavailable"), (["--when", "later"], "when"), (["--when", "at 99:00"], "time")],
)
async def test_options_that_make_no_sense_are_refused(cli: Cli, options: list[str], word: str) -> None:
    said = await cli("push", "intro", "fix", "--yes", *options)
    assert said.code != 0 and word in said.err
    assert not cli.admin.engine.events


async def test_a_project_that_nobody_has_is_refused_with_those_that_there_are(cli: Cli) -> None:
    said = await cli("push", "nobody", "fix", "--yes")
    assert said.code == 1 and "there are intro" in said.err


async def test_without_a_terminal_nothing_is_pushed_unless_said(cli: Cli) -> None:
    assert "--yes" in (await cli("push", "intro", "fix")).err
    assert not cli.admin.engine.events


async def test_status_says_how_far_it_is_and_what_it_waits_for(cli: Cli) -> None:
    assert (await cli("rollout", "status")).out == "Nothing was pushed.\n"
    begun(cli)
    said = await cli("rollout", "status", "intro")
    assert said.out == (
        "intro: pulling: 0 of 0 ships pulled, 0 proved, 0 of 0 attendees swapped; waits for a ship that is up\n"
        "  time left: unknown\n"
    )
    shown = json.loads((await cli("rollout", "status", "--json")).out)["rollouts"]
    assert [(each["project"], each["image"], each["failures"]) for each in shown] == [("intro", "fix", [])]


@pytest.mark.parametrize("order", ["pause", "resume", "abort", "rollback"])
async def test_an_order_goes_to_the_one_rollout_that_there_is(
    cli: Cli, order: Literal["pause", "resume", "abort", "rollback"]
) -> None:
    yes = ["--yes"] if order == "rollback" else []
    assert "nothing was pushed" in (await cli("rollout", order, *yes)).err
    begun(cli)
    said = await cli("rollout", order, *yes)
    assert (said.code, said.out.count("\n")) == (0, 1)
    assert cli.admin.engine.events == [RolloutSteered(INTRO, order)]


async def test_an_order_that_does_not_fit_is_refused(cli: Cli) -> None:
    begun(cli)
    cli.admin.engine.fleet.handle(RolloutSteered(INTRO, "abort"), now=NOW)
    assert "push the image again" in (await cli("rollout", "resume", "intro")).err
    cli.admin.engine.fleet.handle(RolloutSteered(INTRO, "rollback"), now=NOW)
    assert "rolled back" in (await cli("rollout", "rollback", "intro", "--yes")).err


FOUND = {
    "project": "intro", "phase": "swapping", "paused": False, "when": "offer", "ships": 3, "pulled": 3, "proved": 2,
    "bound": 40, "swapped": 11, "swapping": 1, "waiting": 28, "working": 0, "offered": 40, "accepted": 12,
    "eta_s": None, "waits_for": "28 to accept it",
    "failures": [{"subject": "ship-0002", "why": "exited\x1b[31m"}, {"subject": "ship-0003", "why": "exited\x1b[31m"}],
}  # fmt: skip


def test_a_terminal_gets_bars_reasons_in_groups_and_what_is_not_known() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(bars(FOUND))
    shown = console.export_text()
    for part in ("offers accepted", "12 of 40", "11 of 40", "28 to accept it", "time left: unknown", "2 × exited"):
        assert part in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, "unknown"), (12.4, "about 12 s"), (0.0, "about 1 s"), (200.0, "about 3 min")]
)
def test_the_time_left_is_told_in_the_unit_that_reads_best(seconds: float | None, told: str) -> None:
    assert eta({**FOUND, "eta_s": seconds}) == f"time left: {told}"
    assert not eta({**FOUND, "phase": "done"})
