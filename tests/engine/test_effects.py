"""Effects always end in an event, whatever the provider does; and nothing of them ends the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mux import effects as effects_module
from mux import engine as engine_module
from mux.core.commands import CloseLink, LaunchShip, ListMachines, Notify, ParkShip, StartShip, TerminateShip
from mux.core.events import (
    Event,
    LaunchFailed,
    LinkLost,
    ListingFailed,
    LoggedIn,
    MachineCallEnded,
    PageGone,
)
from mux.core.fleet import Fleet
from mux.core.model import LinkId, ProjectName, SessionHash, ShipId, UserId
from mux.effects import Effects
from mux.engine import Engine, EngineRefusedError
from mux.providers.base import ProviderError
from tests.core.room import event_spec

ONE = ShipId("ship-0001")


class Cloud:
    """A provider that does one thing to every call."""

    def __init__(self, outcome: Exception | None) -> None:
        self._outcome = outcome

    async def _answer(self, *_: Any) -> Any:
        if self._outcome is None:
            await asyncio.Event().wait()
        else:
            raise self._outcome

    launch = start = park = terminate = list = _answer


class Given:
    """Effects over a cloud, and the events that came of them."""

    def __init__(self, outcome: Exception | None, order: Exception | None = None) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        cloud: Any = Cloud(outcome)

        def order_for(_ship: ShipId) -> Any:
            if order is not None:
                raise order

        self.effects = Effects(cloud, order_for, self._tell, lambda: 1.0)
        self.effects.open(self.events.put_nowait)

    async def _tell(self, _words: object) -> None:
        await asyncio.Event().wait()


@pytest.fixture
async def made() -> AsyncIterator[list[Given]]:
    every: list[Given] = []
    yield every
    for each in every:
        await each.effects.close()


@pytest.mark.parametrize("outcome", [None, ProviderError("no capacity"), ValueError("a defect"), TimeoutError()])
async def test_every_call_ends_in_an_event_even_one_that_hangs(
    outcome: Exception | None, made: list[Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects_module, "CALL_S", 0.05)
    monkeypatch.setattr(effects_module, "LISTING_S", 0.05)
    given = Given(outcome)
    made.append(given)
    for effect, answer in (
        (LaunchShip(ONE), LaunchFailed),
        (StartShip(ONE), MachineCallEnded),
        (ParkShip(ONE), MachineCallEnded),
        (TerminateShip(ONE), MachineCallEnded),
        (ListMachines(), ListingFailed),
    ):
        given.effects.start([effect])
        event = await asyncio.wait_for(given.events.get(), 10)
        assert isinstance(event, answer)
        assert getattr(event, "error", "") or getattr(event, "reason", "")


async def test_an_order_that_cannot_be_made_is_a_failed_call(made: list[Given]) -> None:
    given = Given(None, order=ValueError("no certificate"))
    made.append(given)
    given.effects.start([StartShip(ONE), LaunchShip(ONE)])
    kinds = {type(await asyncio.wait_for(given.events.get(), 10)) for _ in range(2)}
    assert kinds == {MachineCallEnded, LaunchFailed}


async def test_words_that_nobody_takes_are_dropped_and_nothing_else(
    made: list[Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects_module, "WORDS_MAX", 3)
    given = Given(ProviderError("no"))
    made.append(given)
    given.effects._words = asyncio.Queue(3)
    given.effects.start([*(CloseLink(ONE, LinkId(n)) for n in range(10)), Notify("info", "c", "", "t"), ParkShip(ONE)])
    assert isinstance(await asyncio.wait_for(given.events.get(), 10), MachineCallEnded)


async def test_what_ends_something_is_taken_even_when_the_inbox_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing or a call whose end nobody hears of would be open for ever."""
    monkeypatch.setattr(engine_module, "INBOX_MAX", 1)
    nothing: Any = None
    engine = Engine(Fleet.restored(event_spec(), 1.0), nothing, nothing, nothing, lambda: 1.0)
    gone = PageGone(UserId("ada"), ProjectName("intro"), "0123456789abcdef", 1)
    engine.post(ListingFailed("why"), MachineCallEnded(ONE), LinkLost(ONE, LinkId(1)), gone)
    with pytest.raises(EngineRefusedError):
        engine.post(LoggedIn(UserId("ada"), SessionHash("s"), 2.0))
