"""Whose files the agent has looked after, and what it restores when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ship_agent.runtimes.base import RunningWorkspace, Runtime, RuntimeFailure, WorkspaceSpec
from ship_agent.runtimes.shared import SharedDirectories
from ship_agent.snapshots.base import Keeping, directories
from ship_agent.snapshots.client import FilesError
from ship_agent.step import Target
from tests.ship_agent.test_step import SNAPSHOT, desired, here, project, view, workspace

HOME = Path("/ship/workspaces/w/home")
DATA, MORE = Path("/ship/shared/s/data"), Path("/ship/shared/s/more")
SHARING = project().model_copy(update={"shared": ["data"]})


class Recorder:
    """Remembers what it was asked to restore; writes ``restored`` there, and waits for ``go`` in between."""

    def __init__(self, error: Exception | None = None, ages: Mapping[str, float] | None = None) -> None:
        self.asked: list[tuple[str, Path, str]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error = error
        self._ages = ages or {}
        self.still: frozenset[str] = frozenset()
        self.kept: frozenset[str] = frozenset()
        self.troubles: dict[str, str] = {}

    async def run(self, told: Callable[[], None]) -> None:
        raise NotImplementedError

    def watch(self, directories: Mapping[str, Path], held: frozenset[str], still: frozenset[str]) -> None:
        self.still = still

    def saved(self) -> frozenset[str]:
        return self.kept

    def unkept(self) -> Mapping[str, str]:
        return self.troubles

    def behind(self) -> Mapping[str, float]:
        return self._ages

    async def restore(self, name: str, directory: Path, snapshot: str) -> None:
        self.asked.append((name, directory, snapshot))
        await self.go.wait()
        if self.error is not None:
            raise self.error
        if directory.is_dir():
            (directory / "restored").touch()


class FakeRuntime:
    """What is here, and what is shared."""

    def __init__(self, root: Path, *workspaces: RunningWorkspace) -> None:
        self.shared = SharedDirectories(root)
        self._here = {each.id: each for each in workspaces}

        self.had: list[str] = []

    async def inspect(self) -> Mapping[str, RunningWorkspace]:
        return self._here

    async def have_files(self, spec: WorkspaceSpec) -> None:
        self.had.append(spec.id)


def keeping(files: Recorder | None, root: Path, *workspaces: RunningWorkspace) -> Keeping:
    return Keeping(cast(Runtime, FakeRuntime(root, *workspaces)), files)


def moved(*names: str, **changes: Any) -> Target:
    """Workspaces of somebody who was moved here, who shared a directory that has a snapshot."""
    values = {"wanted": "bound", "epoch": 2, "receipt": "r", "shared": "s", "restore_shared": {"data": SNAPSHOT}}
    return desired(*(workspace(name, **{**values, **changes}) for name in names), projects=(SHARING,))


def test_only_files_of_whoever_sits_there_or_was_moved_away_are_looked_after() -> None:
    goal = desired(
        workspace("sits", wanted="bound", epoch=2, receipt="r"),
        workspace("not-yet", wanted="bound", epoch=2, receipt="r"),
        workspace("warm"),
        kept=("kept", "kept-runs"),
    )
    sits = replace(here(goal, "sits"), home=HOME)
    found = view(
        sits,
        replace(here(goal, "not-yet", epoch=0), home=HOME),
        replace(here(goal, "warm"), home=HOME),
        replace(sits, id="kept", state="exited"),
        replace(sits, id="kept-runs"),
        replace(sits, id="nobodys"),
    )
    assert directories(goal, found).keys() == {"sits", "kept"}


def test_what_is_shared_is_looked_after_as_far_as_projects_share_it_now() -> None:
    goal = moved("sits", "not-yet", restore_shared={})
    sits = replace(here(goal, "sits"), shared="s", shares={"data": DATA, "more": MORE})
    assert directories(goal, view(sits)) == {"s/shared/data": DATA}
    assert directories(goal, view(replace(sits, id="not-yet", epoch=0))) == {}
    assert directories(goal, view(replace(sits, id="nobodys"))) == {}


def test_of_whoever_was_moved_away_all_that_was_shared_is_looked_after_once_nothing_runs_on_it() -> None:
    goal = desired(kept=("one", "two"))
    one = replace(here(moved("one"), "one"), state="exited", shared="s", shares={"data": DATA, "more": MORE})
    two = replace(one, id="two", state="running")
    assert directories(goal, view(one, two)) == {}
    assert directories(goal, view(one, replace(two, state="exited"))) == {"s/shared/data": DATA, "s/shared/more": MORE}


def test_how_old_a_snapshot_is_counts_for_every_workspace_that_shares_the_directory(tmp_path: Path) -> None:
    goal = moved("one", "two")
    one = replace(here(goal, "one"), shared="s", shares={"data": DATA, "more": MORE})
    found = view(one, replace(one, id="two"), replace(one, id="three", shared="t", shares={}))
    ages = {"one": 1.0, "two": 9.0, "s/shared/data": 4.0, "s/shared/more": 100.0}
    assert keeping(Recorder(ages=ages), tmp_path).behind(goal, found) == {"one": 4.0, "two": 9.0}
    assert keeping(None, tmp_path).behind(goal, found) == {}


async def test_files_are_restored_once_for_an_epoch(tmp_path: Path) -> None:
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore=SNAPSHOT))
    spec, files = goal.workspaces["w"].spec, Recorder()
    await keeping(files, tmp_path).have(spec)
    await keeping(files, tmp_path, replace(here(goal), home=HOME)).have(spec)
    assert files.asked == []
    await keeping(files, tmp_path, replace(here(goal, epoch=0), home=HOME)).have(spec)
    assert files.asked == [("w", HOME, SNAPSHOT)]


async def test_files_that_cannot_be_had_are_a_failure_that_may_pass(tmp_path: Path) -> None:
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore=SNAPSHOT))
    files = Recorder(FilesError("no answer from the mux", retryable=True))
    with pytest.raises(RuntimeFailure) as failure:
        await keeping(files, tmp_path, replace(here(goal, epoch=0), home=HOME)).have(goal.workspaces["w"].spec)
    assert (failure.value.code, failure.value.retryable) == ("restore_failed", True)


async def test_what_is_shared_is_restored_for_the_first_workspace_and_the_others_wait_for_it(tmp_path: Path) -> None:
    goal, files = moved("one", "two"), Recorder()
    kept = keeping(files, tmp_path)
    files.go.clear()
    tasks = [asyncio.create_task(kept.have(goal.workspaces[name].spec)) for name in ("one", "two")]
    while not files.asked:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    files.go.set()
    await asyncio.gather(*tasks)
    assert files.asked == [("s/shared/data", tmp_path / "s/data", SNAPSHOT)]


async def test_what_somebody_works_in_is_never_restored_over(tmp_path: Path) -> None:
    """Somebody has begun here without a snapshot; then one is there, and they open another project."""
    begun, later, files = moved("one", restore_shared={}), moved("two"), Recorder()
    await keeping(files, tmp_path).have(begun.workspaces["one"].spec)
    another = FakeRuntime(tmp_path)
    another.shared.open({"one": "s"})
    await Keeping(cast(Runtime, another), files).have(later.workspaces["two"].spec)
    assert files.asked == []


async def test_what_could_not_be_restored_is_restored_by_the_next_start(tmp_path: Path) -> None:
    spec, files = moved("one").workspaces["one"].spec, Recorder(FilesError("no answer", retryable=True))
    runtime = FakeRuntime(tmp_path)
    kept = Keeping(cast(Runtime, runtime), files)
    with pytest.raises(RuntimeFailure):
        await kept.have(spec)
    assert runtime.shared.bound("s") == {}
    files.error = None
    await kept.have(spec)
    assert (tmp_path / "s/data/restored").exists()
    assert runtime.shared.bound("s") == {"data": tmp_path / "s/data"}


async def test_while_a_workspace_is_nobodys_what_it_shares_stays_vacant(tmp_path: Path) -> None:
    files, spec = Recorder(), moved("w", wanted="warm", epoch=0, receipt="").workspaces["w"].spec
    runtime = FakeRuntime(tmp_path)
    await Keeping(cast(Runtime, runtime), files).have(spec)
    assert files.asked == []
    assert runtime.shared.bound("s") == {}


def leaving(*names: str, **changes: Any) -> Target:
    """Workspaces of somebody who leaves."""
    values = {"wanted": "suspended", "epoch": 2, "receipt": "r", "shared": "s"}
    return desired(*(workspace(name, **{**values, **changes}) for name in names), projects=(SHARING,))


def test_who_leaves_has_saved_once_nothing_runs_and_all_that_was_left_is_kept(tmp_path: Path) -> None:
    files, goal = Recorder(), leaving("one", "two")
    one = replace(here(goal, "one"), home=HOME, shared="s", shares={"data": DATA})
    two = replace(here(goal, "two"), home=MORE, shared="s", shares={"data": DATA})
    stopped = [replace(each, state="exited") for each in (one, two)]
    kept = keeping(files, tmp_path)

    files.kept = frozenset({"one", "two", "s/shared/data"})
    assert kept.saved(goal, view()) == frozenset(), "nothing has been looked at yet"
    for found, still in (
        (view(one, two), set[str]()),
        (view(one, stopped[1]), {"two"}),
        (view(*stopped, busy={"one"}), {"two"}),
        (view(*stopped), {"one", "two", "s/shared/data"}),
    ):
        kept.watch(goal, found)
        assert files.still == still
    assert kept.saved(goal, view(one, two)) == frozenset()
    assert kept.saved(goal, view(*stopped, busy={"one"})) == {"two"}
    assert kept.saved(goal, view(*stopped)) == {"one", "two"}
    files.kept = frozenset({"one", "two"})
    assert kept.saved(goal, view(*stopped)) == frozenset(), "what they share is not kept"
    assert kept.saved(goal, view()) == {"one", "two"}, "they left nothing"


def test_what_somebody_leaves_who_came_before_the_ship_was_told_is_theirs_unless_it_was_to_be_restored(
    tmp_path: Path,
) -> None:
    files = Recorder()
    for changes, found, saved in (
        ({}, {"one"}, set[str]()),
        ({"restore": SNAPSHOT}, set[str](), {"one"}),
        ({"restore_shared": {"data": SNAPSHOT}}, set[str](), {"one"}),
    ):
        goal = leaving("one", **changes)
        seen = view(replace(here(goal, "one", epoch=0), home=HOME, state="exited"))
        assert directories(goal, seen).keys() == found
        kept = keeping(files, tmp_path)
        kept.watch(goal, seen)
        assert kept.saved(goal, seen) == saved


def test_where_nobody_keeps_files_nobody_waits_for_that(tmp_path: Path) -> None:
    goal = leaving("one")
    kept = keeping(None, tmp_path)
    kept.watch(goal, view())
    assert kept.saved(goal, view(replace(here(goal, "one"), home=HOME))) == frozenset()
    assert kept.saved(goal, view(replace(here(goal, "one"), home=HOME, state="exited"))) == {"one"}
