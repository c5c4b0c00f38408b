"""Whose files the agent has looked after, and when it restores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ship_agent.runtimes.base import RuntimeFailure
from ship_agent.snapshots.base import homes, restore
from ship_agent.snapshots.client import FilesError
from tests.ship_agent.test_step import SNAPSHOT, desired, here, view, workspace

HOME = Path("/ship/workspaces/w/home")


class Recorder:
    """Remembers what it was asked to restore."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[str, Path, str]] = []
        self._error = error

    async def run(self) -> None:
        raise NotImplementedError

    def watch(self, homes: Mapping[str, Path], held: frozenset[str]) -> None:
        raise NotImplementedError

    def behind(self) -> Mapping[str, float]:
        return {}

    async def restore(self, workspace: str, home: Path, snapshot: str) -> None:
        self.asked.append((workspace, home, snapshot))
        if self._error is not None:
            raise self._error


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
    assert homes(goal, found).keys() == {"sits", "kept"}


async def test_files_are_restored_once_for_an_epoch() -> None:
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore=SNAPSHOT))
    spec, files = goal.workspaces["w"].spec, Recorder()
    await restore(files, spec, None)
    await restore(files, spec, replace(here(goal), home=HOME))
    assert files.asked == []
    await restore(files, spec, replace(here(goal, epoch=0), home=HOME))
    assert files.asked == [("w", HOME, SNAPSHOT)]


async def test_files_that_cannot_be_had_are_a_failure_that_may_pass() -> None:
    goal = desired(workspace(wanted="bound", epoch=2, receipt="r", restore=SNAPSHOT))
    files = Recorder(FilesError("no answer from the mux", retryable=True))
    with pytest.raises(RuntimeFailure) as failure:
        await restore(files, goal.workspaces["w"].spec, replace(here(goal, epoch=0), home=HOME))
    assert (failure.value.code, failure.value.retryable) == ("restore_failed", True)
