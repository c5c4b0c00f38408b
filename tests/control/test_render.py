"""Between the core's values and the wire's messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from mux.control.render import DesiredRenderer, ship_report
from mux.core.model import (
    BootStage,
    Desired,
    DesiredWorkspace,
    PortName,
    ProjectName,
    ProjectSpec,
    ReportedState,
    ShipId,
    ShipNotice,
    UserId,
    WorkspaceId,
    WorkspaceReport,
)
from mux.keys import Keyring
from ship_agent.protocol.messages import Notice, Quiet
from tests.ship_agent.protocol.samples import DIGEST, OBSERVED_WORKSPACE, observed

KEYS = Keyring(b"k" * 32)
SHIP = ShipId("ship-0001")
INTRO = ProjectName("intro")
SPEC = ProjectSpec(
    allow=("root",),
    name=INTRO,
    image="images/intro",
    digest=DIGEST,
    command=("jupyter", "lab"),
    environment={"A": "b"},
    cpus=0.5,
    ports={PortName("board"): 6006},
    ports_with_prefix=(PortName("board"),),
    shared=("data",),
)


def workspace(number: int, user: UserId | None, epoch: int) -> DesiredWorkspace:
    return DesiredWorkspace(
        id=WorkspaceId(f"ship-0001.{number}.intro.1"),
        seat=number,
        project=INTRO,
        digest=DIGEST,
        port=20_000 + number,
        wanted="warm" if user is None else "bound",
        user=user,
        epoch=epoch,
    )


def secrets_for(project: ProjectName, user: UserId | None) -> Mapping[str, str]:
    return {"FOR": f"{project}/{user}"}


RENDER = DesiredRenderer(KEYS, "camp", secrets_for)
DESIRED = Desired(generation=9, projects=(SPEC,), workspaces=(workspace(0, None, 0), workspace(1, UserId("u1"), 3)))


def test_a_project_is_told_whole() -> None:
    (project,) = RENDER(SHIP, DESIRED).projects
    assert project.base_path == "/camp/intro/"
    assert project.command == ["jupyter", "lab"]
    assert project.allow == ["root"]
    assert project.shared == ["data"]
    same = {field.name for field in fields(ProjectSpec)} - {
        "title",
        "start",
        "has_secrets",
        "command",
        "allow",
        "shared",
    }
    same -= {"ports_with_prefix"}
    assert {name: getattr(project, name) for name in same} == {name: getattr(SPEC, name) for name in same}


def test_each_workspace_has_a_token_of_its_own() -> None:
    warm, bound = RENDER(SHIP, DESIRED).workspaces
    assert warm.token == KEYS.workspace_token(WorkspaceId(warm.id))
    assert bound.token == KEYS.workspace_token(WorkspaceId(bound.id))
    assert warm.token != bound.token


def test_a_bound_workspace_has_a_receipt_of_the_mux_and_a_warm_one_has_none() -> None:
    warm, bound = RENDER(SHIP, DESIRED).workspaces
    assert warm.receipt == ""
    assert bound.receipt == KEYS.receipt("camp", UserId("u1"), SHIP, 1, 3)
    assert (warm.epoch, bound.epoch) == (0, 3)


def test_secrets_are_the_attendees_or_everybodys() -> None:
    warm, bound = RENDER(SHIP, DESIRED).workspaces
    assert warm.secrets == {"FOR": "intro/None"}
    assert bound.secrets == {"FOR": "intro/u1"}


def test_the_newest_snapshots_of_files_and_of_what_is_shared_are_named_for_whoever_sits_there() -> None:
    kept = {("u1", "intro"): "1" * 64, ("u1", "shared.data"): "2" * 64, ("u1", "shared.other"): "3" * 64}
    render = DesiredRenderer(KEYS, "camp", secrets_for, lambda user, project: kept.get((user, project), ""))
    warm, bound = render(SHIP, DESIRED).workspaces
    assert (warm.restore, warm.restore_shared) == ("", {})
    assert (bound.restore, bound.restore_shared) == ("1" * 64, {"data": "2" * 64})


def test_rendering_twice_gives_the_same() -> None:
    assert RENDER(SHIP, DESIRED) == RENDER(SHIP, DESIRED)


def test_a_report_becomes_the_cores_value_without_control_characters() -> None:
    failed = OBSERVED_WORKSPACE.model_copy(
        update={
            "state": "failed",
            "reason": "exited",
            "detail": "died\x1b[2J\nOK",
            "log_tail": "one\n\x00two\t\x9b3",
            "restarts": 2,
            "epoch": 3,
        }
    )
    report = ship_report(observed(4, seq=7, phase="pulling\r\nready", workspaces=[failed]))
    assert (report.seq, report.generation, report.phase) == (7, 4, "pullingready")
    assert report.workspaces == (
        WorkspaceReport(
            id=WorkspaceId(failed.id),
            state=ReportedState.FAILED,
            reason="exited",
            detail="died[2JOK",
            log_tail="one\ntwo\t3",
            restarts=2,
            epoch=3,
            digest=failed.digest,
        ),
    )
    assert (report.limits, report.limits_missing) == (("pids",), ("memory",))
    assert report.resources.memory_total_bytes == 8 << 30
    assert (report.stage, report.notices) == (BootStage.STARTING, ())


def test_stage_and_notices_become_the_cores_values() -> None:
    notice = Notice(kind="interruption", at=1_700_000_000.0, detail="term\x1binate")

    quiet = Quiet(workspace="w-1", idle_s=12.5)
    report = ship_report(observed(stage="pulling", notices=[notice], quiet=[quiet]))

    assert report.stage is BootStage.PULLING
    assert report.notices == (ShipNotice("interruption", 1_700_000_000.0, "terminate"),)
    assert report.quiet == ((WorkspaceId("w-1"), 12.5),)
