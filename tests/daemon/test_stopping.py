"""A mux that is stopped leaves no process of a parked fleet behind, whatever state its store is in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mux.core.model import Machine, MachineStatus, ShipId
from mux.daemon.compose import Control
from mux.engine import EngineBusyError
from mux.providers.base import ProviderError


class StuckEngine:
    async def submit(self, *_events: object) -> None:
        raise EngineBusyError("the disk is full")


class NotingProvider:
    def __init__(self, fails_for: ShipId) -> None:
        self.parked: list[ShipId] = []
        self._fails_for = fails_for

    async def list(self) -> Mapping[ShipId, Machine]:
        return {ship: Machine(ship, MachineStatus.RUNNING) for ship in map(ShipId, ("one", "two", "three"))}

    async def park(self, ship: ShipId) -> None:
        self.parked.append(ship)
        if ship == self._fails_for:
            raise ProviderError("the disk is full")


async def test_machines_are_stopped_even_when_parking_cannot_be_persisted() -> None:
    control: Any = object.__new__(Control)
    control.engine = StuckEngine()
    control.provider = NotingProvider(ShipId("one"))
    await control.park()
    assert control.provider.parked == ["one", "two", "three"]


async def test_a_provider_that_cannot_list_does_not_end_the_stop_in_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails() -> Mapping[ShipId, Machine]:
        raise ProviderError("no answer")

    control: Any = object.__new__(Control)
    control.engine = StuckEngine()
    control.provider = NotingProvider(ShipId("one"))
    monkeypatch.setattr(control.provider, "list", fails)
    await control.park()
    assert control.provider.parked == []
