"""The agent over the real process runtime, with the test as the mux."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ship_agent import agent, health, memory, starts
from ship_agent.protocol.messages import (
    MESSAGE_BYTES_MAX,
    WORKSPACES_MAX,
    Observed,
    Project,
    StartedOver,
    StartOver,
    Workspace,
)
from ship_agent.report import observed_workspaces, stage
from ship_agent.runtimes.base import Progress, RuntimeFailure
from ship_agent.runtimes.process import ProcessRuntime
from ship_agent.starts import Starts
from ship_agent.step import View
from tests.ship_agent.conftest import TOKEN, Ship
from tests.ship_agent.test_step import desired
from tests.ship_agent.test_step import workspace as any_workspace


async def ask(workspace: Workspace, what: str, **query: str) -> Any:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"token {workspace.token}"}) as session,
        session.get(f"http://127.0.0.1:{workspace.port}/camp/{workspace.project}/{what}", params=query) as answer,
    ):
        answer.raise_for_status()
        return await answer.json(content_type=None)


async def warm(ship: Ship, **of: Any) -> tuple[Project, Workspace]:
    """An agent with one healthy warm workspace."""
    await ship.start()
    project = ship.project(**of)
    workspace = ship.workspace(project)
    ship.desire(workspace, projects=[project])
    await ship.link.workspace(lambda item: item.state == "healthy")
    return project, workspace


async def test_from_desired_to_healthy_with_the_whole_machine_in_the_report(ship: Ship) -> None:
    _, workspace = await warm(ship)

    report = await ship.link.report(lambda report: report.generation == 1)

    assert [item.state for item in report.workspaces] == ["healthy"]
    assert report.workspaces[0].digest == workspace.digest
    assert report.phase == "1 of 1 workspaces are healthy"
    assert report.stage == "ready"
    said = list(dict.fromkeys(each.stage for each in ship.link.reports))
    assert said == [each for each in ("installing", "pulling", "starting", "ready") if each in said]
    assert "starting" in said
    assert report.resources.memory_total_bytes > report.resources.memory_available_bytes > 0
    assert report.resources.disk_total_bytes > 0
    assert {*report.limits, *report.limits_missing} == {"cpu", "files", "memory", "pids", "shm"}


async def test_a_wish_is_carried_out_once_though_agents_come_and_go(ship: Ship) -> None:
    project, free = await warm(ship)
    mine = free.model_copy(update={"wanted": "bound", "epoch": 1})
    ship.desire(mine, projects=[project])
    await ship.link.workspace(lambda item: item.state == "healthy" and item.epoch == 1)
    await ask(mine, "write", name="notes.txt", text="edited")

    wished = mine.model_copy(update={"start_over": StartOver(number=5, path="notes.txt")})
    ship.desire(wished, projects=[project])
    told = await ship.link.workspace(lambda item: item.started_over is not None)
    assert told.started_over == StartedOver(number=5, done=True, kept="notes.before-start-over.txt")
    assert await ask(mine, "read", name="notes.txt") == "as given"
    pid = (await ask(mine, "api"))["pid"]

    await ask(mine, "write", name="notes.txt", text="edited again")
    await ship.stop()
    await ship.start()
    told = await ship.link.workspace(lambda item: item.started_over is not None and item.state == "healthy")
    assert told.started_over == StartedOver(number=5, done=True, kept="notes.before-start-over.txt")
    assert await ask(mine, "read", name="notes.txt") == "edited again"
    assert (await ask(mine, "api"))["pid"] == pid

    wished = mine.model_copy(update={"start_over": StartOver(number=7)})
    ship.desire(wished, projects=[project])
    told = await ship.link.workspace(
        lambda item: item.started_over is not None and item.started_over.number == 7 and item.state == "healthy"
    )
    assert told.started_over == StartedOver(number=7, done=True, kept="before-reset")
    assert await ask(mine, "read", name="before-reset/notes.txt") == "edited again"
    assert (await ask(mine, "api"))["pid"] != pid

    wished = mine.model_copy(update={"start_over": StartOver(number=9, path="../other")})
    ship.desire(wished, projects=[project])
    told = await ship.link.workspace(lambda item: item.started_over is not None and item.started_over.number == 9)
    assert told.started_over is not None
    assert not told.started_over.done
    assert told.started_over.detail.startswith("that is no path")


async def test_a_pull_under_way_is_told_as_far_as_it_has_come(ship: Ship) -> None:
    await ship.start()
    project = ship.project()
    going_on = asyncio.Event()

    async def pull(project: Project, digest: str, progress: Progress) -> None:
        progress(f"pulling {project.name}: 3 of 5 layers")
        await going_on.wait()
        await ProcessRuntime.pull(ship.runtime, project, digest, progress)

    ship.runtime.pull = pull  # type: ignore[method-assign]
    ship.desire(ship.workspace(project), projects=[project])

    report = await ship.link.report(lambda report: "layers" in report.phase)
    assert (report.phase, report.stage) == (f"pulling {project.name}: 3 of 5 layers", "pulling")
    going_on.set()
    report = await ship.link.report(lambda report: report.stage == "ready")
    assert "pulling" not in report.phase


def test_a_workspace_that_has_failed_for_good_does_not_hold_up_readiness() -> None:
    goal = desired(any_workspace("w-1"), any_workspace("w-2"))
    broken = memory.Memory()
    for _ in range(4):
        broken = memory.failed(broken, "exited", "it ended", now=0.0)
    view = View(
        images=frozenset(goal.images),
        memory={"w-1": replace(broken, run_key=goal.workspaces["w-1"].run_key)},
    )

    found = observed_workspaces(goal, view, frozenset(), {})

    assert [each.state for each in found] == ["failed", "starting"]
    assert stage(goal, view, found) == "starting"
    assert stage(goal, view, found[:1]) == "ready"


async def test_before_the_first_desired_state_nothing_is_touched(ship: Ship) -> None:
    _, workspace = await warm(ship)
    pid = (await ask(workspace, "api"))["pid"]
    await ship.stop()
    (ship.directory / "desired.json").unlink()

    await ship.start()
    report = await ship.link.report(lambda report: bool(report.workspaces))

    assert report.generation == 0
    assert (await ask(workspace, "api"))["pid"] == pid


async def test_what_is_not_desired_any_more_goes_with_its_files(ship: Ship) -> None:
    project, _ = await warm(ship)

    generation = ship.desire(projects=[project])
    await ship.link.report(lambda report: report.generation == generation and not report.workspaces)

    assert list((ship.directory / "workspaces").iterdir()) == []
    assert ship.living() == []


async def test_binding_without_secrets_restarts_nothing(ship: Ship) -> None:
    project, workspace = await warm(ship)
    pid = (await ask(workspace, "api"))["pid"]

    bound = workspace.model_copy(update={"wanted": "bound", "epoch": 4, "receipt": "signed"})
    generation = ship.desire(bound, projects=[project])
    await ship.link.report(lambda report: report.generation == generation and report.workspaces[0].epoch == 4)

    assert (await ask(workspace, "api"))["pid"] == pid
    assert ship.link.reports[-1].workspaces[0].restarts == 0


async def test_binding_with_secrets_restarts_on_the_same_files_and_never_looks_healthy_in_between(ship: Ship) -> None:
    project, workspace = await warm(ship)
    await ask(workspace, "write", name="mine.txt", text="kept")

    bound = workspace.model_copy(update={"wanted": "bound", "epoch": 4, "secrets": {"API_KEY": "a-secret-value"}})
    generation = ship.desire(bound, projects=[project])
    await ship.link.report(lambda report: report.generation == generation and report.workspaces[0].state == "healthy")

    assert (await ask(workspace, "environment"))["API_KEY"] == "a-secret-value"
    assert await ask(workspace, "read", name="mine.txt") == "kept"
    new = [report.workspaces[0] for report in ship.link.reports if report.generation == generation]
    assert all(item.epoch == 4 for item in new)


async def test_a_bound_workspace_that_is_killed_comes_back_on_its_files(ship: Ship) -> None:
    project, workspace = await warm(ship)
    bound = workspace.model_copy(update={"wanted": "bound", "epoch": 1})
    ship.desire(bound, projects=[project])
    await ask(workspace, "write", name="mine.txt", text="kept")

    os.kill((await ask(workspace, "api"))["pid"], signal.SIGKILL)
    broken = await ship.link.workspace(lambda item: item.state == "restarting")
    healed = await ship.link.workspace(lambda item: item.state == "healthy")

    assert (broken.exit_code, broken.reason, broken.detail) == (137, "exited", "killed by SIGKILL")
    assert "serving" in broken.log_tail
    assert (healed.restarts, healed.log_tail, healed.reason) == (1, "", "")
    assert await ask(workspace, "read", name="mine.txt") == "kept"


async def test_a_killed_shim_takes_its_workspace_with_it_and_both_come_back(ship: Ship) -> None:
    project, workspace = await warm(ship)
    ship.desire(workspace.model_copy(update={"wanted": "bound", "epoch": 1}), projects=[project])
    detached = await ask(workspace, "detach")
    shim = next(pid for pid in ship.living() if b"shim.py" in Path(f"/proc/{pid}/cmdline").read_bytes())

    os.kill(shim, signal.SIGKILL)
    await ship.link.workspace(lambda item: item.state == "healthy" and item.restarts == 1)

    assert detached not in ship.living()
    assert len(ship.living()) == 2


async def test_a_warm_workspace_that_cannot_start_is_given_up_with_code_and_redacted_log(
    ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "WARM_BACKOFF_FIRST_S", 0.01)
    await ship.start()
    project = ship.project(hooks={"10-data.sh": "echo no data for $MUX_TOKEN; exit 9"})
    good = ship.project(name="good", base_path="/camp/good/")
    ship.desire(ship.workspace(project), ship.workspace(good, "w-2"), projects=[project, good])

    given_up = await ship.link.workspace(lambda item: item.state == "failed")

    assert (given_up.reason, given_up.exit_code, given_up.restarts) == ("hook_failed", 9, 3)
    assert "10-data.sh" in given_up.detail
    assert "no data for [redacted]" in given_up.log_tail
    assert TOKEN not in given_up.log_tail
    await ship.link.report(lambda report: report.generation == 1)
    await ship.link.workspace(lambda item: item.state == "healthy", "w-2")
    assert not any(
        item.state == "failed" and not item.log_tail for report in ship.link.reports for item in report.workspaces
    )


async def test_a_missing_image_is_reported_and_holds_up_no_other_project(ship: Ship) -> None:
    await ship.start()
    missing, good = ship.project(), ship.project(name="good", base_path="/camp/good/", text="another image")
    shutil.rmtree(missing.image)
    ship.desire(ship.workspace(missing), ship.workspace(good, "w-2"), projects=[missing, good])

    failed = await ship.link.workspace(lambda item: item.state == "failed")
    await ship.link.workspace(lambda item: item.state == "healthy", "w-2")

    assert failed.reason == "image_missing"
    assert missing.image in failed.detail
    await ship.link.report(lambda report: report.generation == 1)


async def test_a_port_in_use_is_reported_and_the_start_succeeds_once_it_is_free(ship: Ship) -> None:
    await ship.start()
    project = ship.project()
    workspace = ship.workspace(project, wanted="bound", epoch=1)
    with socket.create_server(("127.0.0.1", workspace.port)):
        ship.desire(workspace, projects=[project])
        await ship.link.workspace(lambda item: item.state == "restarting" and item.reason == "port_in_use")

    await ship.link.workspace(lambda item: item.state == "healthy")


async def test_suspended_keeps_the_files_and_comes_back(ship: Ship) -> None:
    project, workspace = await warm(ship)
    bound = workspace.model_copy(update={"wanted": "bound", "epoch": 1})
    ship.desire(bound, projects=[project])
    await ask(workspace, "write", name="mine.txt", text="kept")

    generation = ship.desire(bound.model_copy(update={"wanted": "suspended"}), projects=[project])
    await ship.link.report(lambda report: report.generation == generation)
    assert ship.link.reports[-1].workspaces[0].state == "stopped"
    assert ship.living() == []
    ship.desire(bound, projects=[project])
    await ship.link.workspace(lambda item: item.state == "healthy")

    assert await ask(workspace, "read", name="mine.txt") == "kept"


async def test_what_is_kept_is_stopped_and_outlasts_agents_until_it_is_wanted_no_longer(ship: Ship) -> None:
    project, workspace = await warm(ship)
    ship.desire(workspace.model_copy(update={"wanted": "bound", "epoch": 1}), projects=[project])
    await ask(workspace, "write", name="mine.txt", text="kept")

    generation = ship.desire(projects=[], kept=[workspace.id])
    await ship.link.report(lambda report: report.generation == generation)
    await ship.stop()
    await ship.start()
    await ship.link.report(lambda report: report.generation == generation)

    assert [(each.id, each.state) for each in ship.link.reports[-1].workspaces] == [(workspace.id, "stopped")]
    assert ship.living() == []
    (mine,) = (ship.directory / "workspaces").rglob("mine.txt")
    assert mine.read_text() == "kept"

    generation = ship.desire(projects=[])
    await ship.link.report(lambda report: report.generation == generation and not report.workspaces)
    assert not mine.exists()


async def test_one_missed_check_is_no_illness_three_are(ship: Ship, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "STEADY_S", 0.02)
    monkeypatch.setattr(health, "FAILING_S", 0.02)
    _, workspace = await warm(ship)

    await ask(workspace, "write", name="sick", text="yes")
    await ship.link.workspace(lambda item: item.state == "unhealthy")
    home = ship.directory / "workspaces/w-1/home"
    (home / "sick").unlink()
    await ship.link.workspace(lambda item: item.state == "healthy")

    assert ship.link.reports[-1].workspaces[0].restarts == 0


async def test_a_start_that_never_answers_is_a_failed_start(ship: Ship, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "START_MAX_S", 0.5)
    monkeypatch.setattr(memory, "WARM_BACKOFF_FIRST_S", 0.01)
    await ship.start()
    project = ship.project(health_path="no-such-path")
    ship.desire(ship.workspace(project), projects=[project])

    failed = await ship.link.workspace(lambda item: item.state == "failed")

    assert (failed.reason, failed.restarts) == ("start_timeout", 3)
    assert "serving" in failed.log_tail
    assert ship.living() == []


async def test_a_start_that_hangs_in_a_hook_names_it_while_it_hangs_and_at_its_end(
    ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "LOOK_S", 0.05)
    await ship.start()
    project = ship.project(hooks={"10-fine.sh": "echo fine", "20-data.sh": "while ! [ -e go ]; do sleep 0.1; done"})
    workspace = ship.workspace(project)
    ship.desire(workspace, projects=[project])

    slow = await ship.link.workspace(lambda item: item.state == "starting" and bool(item.detail))
    assert (slow.detail, slow.reason) == ("the hook 20-data.sh has not ended yet", "")
    why = await Starts(ship.runtime, lambda: None).never_answered("w-1")
    assert why.startswith("the hook 20-data.sh has not ended within ")

    (ship.directory / "workspaces/w-1/home/go").touch()
    well = await ship.link.workspace(lambda item: item.state == "healthy")
    assert well.detail == ""


async def test_a_slow_stop_holds_up_neither_reports_nor_other_workspaces(
    ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _ = await warm(ship)
    begun, go_on = asyncio.Event(), asyncio.Event()
    stop = ship.runtime.stop

    async def slow_stop(identity: str, grace_s: float) -> None:
        begun.set()
        await go_on.wait()
        await stop(identity, grace_s)

    monkeypatch.setattr(ship.runtime, "stop", slow_stop)
    other = ship.workspace(project, "w-2")
    generation = ship.desire(other, projects=[project])
    await begun.wait()
    await ship.link.workspace(lambda item: item.state == "healthy", "w-2")
    assert ship.link.reports[-1].generation < generation

    go_on.set()
    report = await ship.link.report(lambda report: report.generation == generation)

    assert [item.id for item in report.workspaces] == ["w-2"]


async def test_a_stop_that_fails_is_tried_again(ship: Ship, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ship_agent.agent.RETRY_S", 0.05)
    project, _ = await warm(ship)
    stop = ship.runtime.stop
    failures = iter([RuntimeFailure("not_stopped", "hangs"), OSError("a defect")])

    async def failing_stop(identity: str, grace_s: float) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        await stop(identity, grace_s)

    monkeypatch.setattr(ship.runtime, "stop", failing_stop)
    generation = ship.desire(projects=[project])

    await ship.link.report(lambda report: report.generation == generation)


async def test_the_next_agent_adopts_and_reports_healthy_from_its_first_word(ship: Ship) -> None:
    _, workspace = await warm(ship)
    pid = (await ask(workspace, "api"))["pid"]
    await ship.stop()
    assert (await ask(workspace, "api"))["pid"] == pid

    await ship.start()
    first = await ship.link.report(lambda report: True)

    assert [(item.state, item.restarts) for item in first.workspaces] == [("healthy", 0)]
    assert first.generation == 1
    assert (await ask(workspace, "api"))["pid"] == pid


async def test_what_has_answered_is_not_starting_again_for_the_next_agent(
    ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where all agents start at once, the first answers come after the first report."""
    await warm(ship)
    await ship.stop()
    go_on, ask_now = asyncio.Event(), health.HealthChecks._ask

    async def late(checks: health.HealthChecks, probe: health.Probe) -> bool:
        await go_on.wait()
        return await ask_now(checks, probe)

    monkeypatch.setattr(agent, "FIRST_HEALTH_MAX_S", 0.0)
    monkeypatch.setattr(health.HealthChecks, "_ask", late)
    await ship.start()
    first = await ship.link.report(lambda report: True)

    assert [(item.state, item.restarts) for item in first.workspaces] == [("unhealthy", 0)]
    go_on.set()
    await ship.link.workspace(lambda item: item.state == "healthy")


async def test_another_start_has_to_answer_anew_for_the_next_agent(ship: Ship, monkeypatch: pytest.MonkeyPatch) -> None:
    _, workspace = await warm(ship)
    pid = (await ask(workspace, "api"))["pid"]

    async def never(_checks: health.HealthChecks, _probe: health.Probe) -> bool:
        return False

    monkeypatch.setattr(health.HealthChecks, "_ask", never)
    os.kill(pid, signal.SIGKILL)
    await ship.link.workspace(lambda item: item.state == "starting" and item.restarts == 1)
    await ship.stop()
    await ship.start()
    await ship.link.workspace(lambda item: item.state == "starting" and item.restarts == 1)


async def test_a_note_of_what_has_answered_that_is_damaged_is_passed_over(ship: Ship) -> None:
    await warm(ship)
    await ship.stop()
    for damaged in ("", "[]", '"w-1": "1"', '{"w-1": "1", "w-2": null}', "\x00"):
        (ship.directory / "answered.json").write_text(damaged)
        await ship.start()
        await ship.link.workspace(lambda item: item.state == "healthy")
        await ship.stop()


async def test_without_the_mux_a_restarted_agent_repairs_by_the_last_desired_state(ship: Ship) -> None:
    _, workspace = await warm(ship)
    await ship.stop()
    pid = (await ask(workspace, "api"))["pid"]
    os.kill(pid, signal.SIGKILL)

    await ship.start(link=False)

    async with asyncio.timeout(30):
        while True:
            try:
                if (await ask(workspace, "api"))["pid"] != pid:
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
    assert (ship.directory / "desired.json").stat().st_mode & 0o077 == 0


async def test_a_damaged_desired_state_on_disk_is_ignored(ship: Ship) -> None:
    (ship.directory / "desired.json").write_text('{"generation": 3, "projects"')

    await ship.start()

    assert (await ship.link.report(lambda report: True)).generation == 0


async def test_a_desired_state_that_contradicts_itself_changes_nothing(ship: Ship) -> None:
    project, workspace = await warm(ship)
    ship.desire(workspace.model_copy(update={"project": "other"}), projects=[project])

    generation = ship.desire(workspace, projects=[project])
    report = await ship.link.report(lambda report: report.generation == generation)

    assert [(item.state, item.restarts) for item in report.workspaces] == [("healthy", 0)]


async def test_without_join_json_all_workspaces_are_stopped_and_the_agent_ends(
    ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ship_agent.agent.DIRECTORY_CHECK_S", 0.05)
    await warm(ship)

    (ship.directory / "join.json").unlink()
    await ship.ended()

    assert ship.living() == []
    assert (ship.directory / "workspaces/w-1/home/notes.txt").exists()


async def test_when_the_whole_directory_is_deleted_nothing_goes_on(ship: Ship, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ship_agent.agent.DIRECTORY_CHECK_S", 0.05)
    await warm(ship)

    shutil.rmtree(ship.directory)
    await ship.ended()

    assert ship.living() == []


async def test_a_report_stays_a_valid_message_with_a_log_tail_for_every_workspace(ship: Ship) -> None:
    goal = desired(*(any_workspace(f"w-{number}") for number in range(WORKSPACES_MAX)))
    broken = memory.Memory()
    for _ in range(4):
        broken = memory.failed(broken, "exited", "x" * 9000, now=0.0)
    held = View(
        images=frozenset(goal.images),
        memory={name: replace(broken, run_key=wanted.run_key) for name, wanted in goal.workspaces.items()},
    )

    found = observed_workspaces(goal, held, frozenset(), dict.fromkeys(goal.workspaces, "€" * 100_000))

    assert {item.state for item in found} == {"failed"}
    assert sum(bool(item.log_tail) for item in found) == 32
    resources = (await _report_of(ship)).resources
    report = Observed(
        seq=1, generation=1, phase="", resources=resources, limits=[], limits_missing=[], workspaces=found
    )
    assert len(report.model_dump_json().encode()) < MESSAGE_BYTES_MAX


async def _report_of(ship: Ship) -> Observed:
    await ship.start()
    return await ship.link.report(lambda report: True)
