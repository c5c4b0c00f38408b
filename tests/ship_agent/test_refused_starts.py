"""Starts that are refused before anything runs: told like those that fail, whatever was there before them."""

from __future__ import annotations

import pytest

from ship_agent import memory
from ship_agent.runtimes.base import RuntimeFailure, WorkspaceSpec
from tests.ship_agent.conftest import Ship


async def test_starts_that_are_refused_in_a_row_are_told_though_the_one_before_them_answered(
    ship: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of whoever is moved while the files that they left cannot be had: the warm workspace there had answered."""
    monkeypatch.setattr(memory, "BOUND_BACKOFF_MAX_S", 0.01)
    project = ship.project()
    await ship.start()
    warm = ship.workspace(project)
    ship.desire(warm, projects=[project])
    await ship.link.workspace(lambda item: item.state == "healthy")
    start, away = ship.runtime.start, True

    async def refused(spec: WorkspaceSpec) -> None:
        if away:
            raise RuntimeFailure("restore_failed", "the files cannot be had", retryable=True)
        await start(spec)

    monkeypatch.setattr(ship.runtime, "start", refused)
    theirs = {"wanted": "bound", "epoch": 1, "receipt": "r", "restore": "0" * 64}
    ship.desire(warm.model_copy(update=theirs), projects=[project])
    word = await ship.link.workspace(lambda item: item.state == "failed")
    assert (word.reason, word.detail) == ("restore_failed", "the files cannot be had")
    away = False
    await ship.link.workspace(lambda item: item.state == "healthy" and item.epoch == 1)
