"""Effects always end in an event, whatever the provider does; and nothing of them ends the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mux import effects as effects_module
from mux import engine as engine_module
from mux.core.commands import (
    CloseLink,
    LaunchShip,
    ListMachines,
    Notify,
    ParkShip,
    SendDesired,
    StartShip,
    TerminateShip,
)
from mux.core.events import (
    Event,
    LaunchFailed,
    LinkLost,
    ListingFailed,
    LoggedIn,
    MachineCallEnded,
    PageGone,
)
from mux.core.feed import FeedSettings
from mux.core.fleet import Fleet
from mux.core.model import Desired, LinkId, ProjectName, SessionHash, ShipId, UserId
from mux.effects import Effects
from mux.engine import Engine, EngineRefusedError
from mux.providers.base import ProviderError
from mux.publisher import Publisher
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
    publisher = Publisher(lambda _workspace: "token", FeedSettings("http://localhost:8000", "mux_session", "room"))
    engine = Engine(Fleet.restored(event_spec(), 1.0), nothing, publisher, nothing, lambda: 1.0)
    gone = PageGone(UserId("ada"), ProjectName("intro"), "0123456789abcdef", 1)
    engine.post(ListingFailed("why"), MachineCallEnded(ONE), LinkLost(ONE, LinkId(1)), gone)
    with pytest.raises(EngineRefusedError):
        engine.post(LoggedIn(UserId("ada"), SessionHash("s"), 2.0))


class Proxies:
    """Publications, and proxies that take them over when they are told to."""

    def __init__(self) -> None:
        self.seq = 1
        self.waits: list[tuple[int, float]] = []
        self.have = asyncio.Event()

    async def settled(self, seq: int, timeout_s: float) -> bool:
        self.waits.append((seq, timeout_s))
        try:
            async with asyncio.timeout(timeout_s):
                await self.have.wait()
        except TimeoutError:
            return False
        return True


def desired(generation: int) -> SendDesired:
    """Words to a ship, which may make it stop something."""
    return SendDesired(ONE, LinkId(1), Desired(generation, (), ()))


@pytest.fixture
async def told() -> AsyncIterator[tuple[Effects, Proxies, asyncio.Queue[Any]]]:
    """Effects over proxies, and what ships are told."""
    words: asyncio.Queue[Any] = asyncio.Queue()
    proxies, cloud = Proxies(), Cloud(None)
    anything: Any = cloud
    effects = Effects(anything, lambda _: anything, words.put, lambda: 1.0, proxies)
    effects.open(lambda _: None)
    yield effects, proxies, words
    await effects.close()


async def test_a_ship_is_told_once_proxies_have_what_was_published_before(
    told: tuple[Effects, Proxies, asyncio.Queue[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects_module, "PROXIES_S", 60.0)
    effects, proxies, words = told
    effects.start([desired(1)])
    proxies.seq = 2
    while not proxies.waits:
        await asyncio.sleep(0)
    assert words.empty()
    proxies.have.set()
    async with asyncio.timeout(60):
        assert (await words.get()).desired.generation == 1
    assert proxies.waits == [(1, 60.0)]


async def test_a_proxy_that_hangs_is_waited_for_once(
    told: tuple[Effects, Proxies, asyncio.Queue[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects_module, "PROXIES_S", 0.01)
    effects, proxies, words = told
    async with asyncio.timeout(60):
        for generation in (1, 2):
            effects.start([desired(generation)])
            assert (await words.get()).desired.generation == generation
        assert proxies.waits == [(1, 0.01), (1, 0.0)]
        proxies.have.set()
        for generation in (3, 4):
            effects.start([desired(generation)])
            await words.get()
    assert proxies.waits[2:] == [(1, 0.0), (1, 0.01)]
