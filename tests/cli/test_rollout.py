"""`mux push` and `mux rollout`: what they ask for, what they show, and how they end."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections.abc import Callable
from typing import Literal

import pytest
from rich.console import Console

from mux.cli.client import Api
from mux.cli.errors import ApiRefusedError
from mux.cli.rollout_progress import bars, eta
from mux.core.events import Event, ProjectPushed, RolloutSteered
from mux.core.model import ProjectName, UserId
from mux.core.rollout import Pace
from tests.admin.support import NOW, room, ship_view
from tests.cli.conftest import Cli, Said

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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nobody", "fix"], "there are intro"),
        (["intro", "gone"], "there is no gone"),
        (["intro", "fix", "--when", "at 24:00"], "from 00:00 to 23:59"),
        (["intro", "fix", "--max-unavailable", "0%"], "max_unavailable"),
    ],
)
async def test_nothing_is_asked_before_it_is_known_that_it_can_be_pushed(cli: Cli, words: list[str], told: str) -> None:
    said = await cli("push", *words)
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert told in said.err and "Push it?" not in said.err


async def test_the_question_says_whom_it_reaches_and_when(cli: Cli) -> None:
    cli.admin.engine.room = room(ship_view(user=UserId("u1")))
    said = await cli("push", "intro", "fix", "--when", "at 10:30")
    assert "1 attendee of intro, and all who come, get fix in waves from 2027-01-15 10:30 (UTC) on." in said.err
    assert not cli.admin.engine.events


@pytest.mark.parametrize("image", ["https://ann:hunter2@example.org/intro", "ann:hunter2@example.org/intro:fix7"])
async def test_a_login_in_the_name_of_an_image_is_refused_and_not_shown(cli: Cli, image: str) -> None:
    for words in ([], ["--yes"]):
        said = await cli("push", "intro", image, *words)
        assert said.code == 1 and "has a login in it" in said.err
        assert "hunter2" not in said.out + said.err
    assert not cli.admin.engine.events


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


def carried_out(cli: Cli, monkeypatch: pytest.MonkeyPatch, *beside: Event) -> None:
    """Have what is asked of the engine carried out by a core, and something else in the same moment."""
    engine = cli.admin.engine

    async def submit(*events: Event) -> None:
        engine.fleet.handle(*events, *beside, now=NOW)

    monkeypatch.setattr(engine, "submit", submit)


async def watched(cli: Cli, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> Said:
    """A push that is watched; what happens as soon as it is."""
    carried_out(cli, monkeypatch)
    happened = threading.Event()

    def pause(_seconds: float) -> None:
        if not happened.is_set():
            happened.set()
            happens()

    monkeypatch.setattr("mux.cli.rollout.time.sleep", pause)
    return await cli("push", "intro", "fix", "--yes")


def interrupt() -> None:
    raise KeyboardInterrupt


async def test_ctrl_c_ends_the_watching_and_says_that_the_rollout_goes_on(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = await watched(cli, monkeypatch, interrupt)
    assert (said.code, said.err.count("\n")) == (130, 1)
    assert "the rollout goes on" in said.err
    assert cli.admin.engine.rollouts()[0].rollout.state == "running"


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (ProjectPushed(INTRO, "fix9", "sha256:" + "9" * 64, Pace()), "a later push of intro has taken over"),
        (RolloutSteered(INTRO, "rollback"), "an organizer has rolled it back"),
        (RolloutSteered(INTRO, "abort"), "the rollout of intro has been aborted"),
    ],
)
async def test_who_watches_is_told_what_became_of_the_rollout(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, event: Event, told: str
) -> None:
    said = await watched(cli, monkeypatch, lambda: cli.admin.engine.fleet.handle(event, now=NOW))
    assert said.code == 1 and told in said.err


async def test_a_pipe_gets_each_line_as_it_comes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    carried_out(cli, monkeypatch)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mux.cli", "push", "intro", "fix", "--yes", "--json", "--data", str(cli.data),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            answer, first = [json.loads(await process.stdout.readline()) for _ in range(2)]
    finally:
        process.kill()
        await process.wait()
    assert (answer["number"], first["number"], first["phase"]) == (1, 1, "pulling")


async def test_who_may_not_watch_any_more_is_told_that_the_rollout_goes_on(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_api: Api, _path: str) -> None:
        raise ApiRefusedError("unauthorized", "this token is not known")

    said = await watched(cli, monkeypatch, lambda: monkeypatch.setattr(Api, "get", refuses))
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "this token is not known; the rollout goes on" in said.err


async def test_a_push_that_a_later_one_overtakes_at_once_is_not_taken_for_that_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out(cli, monkeypatch, ProjectPushed(INTRO, "fix9", "sha256:" + "9" * 64, Pace()))
    said = await cli("push", "intro", "fix", "--yes")
    assert said.code == 1 and "a later push of intro has taken over" in said.err


async def test_a_rollout_that_waits_for_its_time_says_which_that_is(cli: Cli) -> None:
    begun(cli)
    assert (await cli("rollout", "status", "stats")).out == "Nothing was pushed for stats.\n"
    await cli("push", "intro", "fix", "--yes", "--no-watch", "--when", "at 10:30")
    (event,) = cli.admin.engine.events
    assert isinstance(event, ProjectPushed) and event.pace.not_before == NOW + 2.5 * 3600


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
