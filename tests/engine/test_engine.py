"""The one order: persist, then publish, then act; and what happens when persisting does not work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mux import engine as engine_module
from mux.core.commands import Effect, Persist, Publish
from mux.core.events import DoorsSet, LoggedIn, LoggedOut
from mux.core.feed import FeedSettings
from mux.core.fleet import Fleet
from mux.core.model import Doors, ProjectName, Session, SessionHash, UserId
from mux.engine import Engine, EngineBusyError
from mux.publisher import Publisher
from mux.store.base import StoreError, StoreUnavailableError
from mux.store.sql import SqlStore, sqlite_url
from tests.core.room import event_spec
from tests.engine.simulated import SimulatedFleet

NOW = 1_000.0
SETTINGS = FeedSettings("http://localhost:8000", "mux_session", "room", (ProjectName("intro"),))
INTRO = ProjectName("intro")


class Diary:
    """Notes the order of things, and plays a store that can fail."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.fails: list[Exception] = []
        self.commits: list[list[Persist]] = []

    async def commit(self, batch: Sequence[Persist]) -> None:
        await asyncio.sleep(0)
        if self.fails:
            self.entries.append("persist failed")
            raise self.fails[0]
        self.entries.append("persist")
        self.commits.append(list(batch))


class NotingPublisher(Publisher):
    def __init__(self, diary: Diary) -> None:
        super().__init__(lambda workspace: f"token of {workspace}", SETTINGS)
        self._diary = diary

    def publish(self, change: Publish) -> int:
        self._diary.entries.append("publish")
        return super().publish(change)


class NotingFleet(SimulatedFleet):
    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self._diary = diary

    def start(self, effects: Sequence[Effect]) -> None:
        if effects:
            self._diary.entries.append("act")
        super().start(effects)


class Running:
    """An engine that runs, and all around it."""

    def __init__(self, attendees: int = 4) -> None:
        self.diary = Diary()
        self.publisher = NotingPublisher(self.diary)
        self.ships = NotingFleet(self.diary)
        fleet = Fleet.restored(event_spec(attendees=attendees), NOW)
        store: Any = self.diary
        self.engine = Engine(fleet, store, self.publisher, self.ships, lambda: NOW)
        self.ships.post = self.engine.post
        self.task = asyncio.create_task(self.engine.run())

    async def seats(self, count: int) -> None:
        """Wait until that many seats are ready or taken."""
        version = -1
        while (status := self.engine.status(NOW)).seats_ready + status.seats_assigned < count:
            version = await self.engine.changed(version, 10)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    made = Running()
    await made.seats(4)
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


def login(name: str) -> LoggedIn:
    return LoggedIn(UserId(name), SessionHash(f"session of {name}"), NOW + 3600)


async def test_persist_then_publish_then_act(running: Running) -> None:
    running.diary.entries.clear()
    await running.engine.submit(login("ada"))
    assert running.diary.entries[:3] == ["persist", "publish", "act"]


async def test_what_is_submitted_is_in_force_when_submit_returns(running: Running) -> None:
    await running.engine.submit(login("ada"))
    assert running.engine.session(SessionHash("session of ada"), NOW) is not None
    assert running.engine.route_ready(UserId("ada"), INTRO)
    assert running.publisher.table.routes[UserId("ada"), INTRO].token.startswith("token of ship-")
    await running.engine.submit(LoggedOut(SessionHash("session of ada")))
    assert running.engine.session(SessionHash("session of ada"), NOW) is None


async def test_a_crowd_that_comes_at_once_is_a_handful_of_transactions(running: Running) -> None:
    before = len(running.diary.commits)
    await asyncio.gather(*(running.engine.submit(login(f"attendee {number}")) for number in range(200)))
    assert len(running.diary.commits) - before < 20


async def test_nothing_is_published_or_done_that_could_not_be_persisted(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "SUBMIT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(engine_module, "PERSIST_RETRY_S", 0.01)
    running.diary.fails.append(StoreUnavailableError("the disk is full; try again"))
    running.diary.entries.clear()
    with pytest.raises(EngineBusyError, match="the disk is full; this was taken in and is done once that has passed"):
        await running.engine.submit(login("ada"))
    assert running.engine.status(NOW).trouble == "the disk is full"
    assert set(running.diary.entries) == {"persist failed"}
    assert running.engine.session(SessionHash("session of ada"), NOW) is None


async def test_passing_trouble_is_waited_out_and_nothing_is_lost(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "PERSIST_RETRY_S", 0.01)
    running.diary.fails.append(StoreUnavailableError("the disk is full"))
    waiting = asyncio.create_task(running.engine.submit(login("ada")))
    while not running.engine.trouble:
        await asyncio.sleep(0.01)
    running.diary.fails.clear()
    await waiting
    assert running.engine.route_ready(UserId("ada"), INTRO)
    assert running.engine.trouble == running.engine.status(NOW).trouble == ""


async def test_lasting_trouble_ends_the_engine_with_nothing_published(running: Running) -> None:
    running.diary.fails.append(StoreError("the database is damaged"))
    running.engine.post(login("ada"))
    with pytest.raises(StoreError, match="damaged"):
        await running.task
    assert running.engine.session(SessionHash("session of ada"), NOW) is None


async def test_a_full_inbox_tells_callers_to_come_back(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "INBOX_MAX", 2)
    with pytest.raises(EngineBusyError):
        running.engine.post(login("ada"), login("bob"), login("eve"))


async def test_who_waits_for_a_change_is_told_of_it(running: Running) -> None:
    version = await running.engine.changed(-1, 10)
    waiting = asyncio.create_task(running.engine.changed(version, 10))
    await running.engine.submit(DoorsSet(Doors.CLOSED))
    assert await waiting > version
    assert await running.engine.changed(1_000_000, 0.01) == 1_000_000


async def test_a_deadline_passes_without_any_event(tmp_path: Path) -> None:
    """The engine wakes by itself: a session ends at its time, in the store as well."""
    now = NOW
    store = SqlStore(sqlite_url(tmp_path / "mux.db"), clock=lambda: now)
    await store.open()
    publisher = Publisher(lambda _workspace: "token", SETTINGS)
    ships = SimulatedFleet()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    engine = Engine(Fleet.restored(event_spec(), NOW), store, publisher, ships, lambda: NOW + loop.time() - begun)
    ships.post = engine.post
    task = asyncio.create_task(engine.run())
    await engine.submit(LoggedIn(UserId("ada"), SessionHash("session of ada"), NOW + loop.time() - begun + 0.3))
    assert SessionHash("session of ada") in publisher.table.sessions
    version = -1
    while SessionHash("session of ada") in publisher.table.sessions:
        version = await engine.changed(version, 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not (await store.load(NOW)).sessions
    await store.close()


async def test_what_was_stored_is_in_force_before_any_proxy_can_ask() -> None:
    """A proxy that served on while the control process was away compares its table with the first that it is sent."""
    publisher = Publisher(lambda _workspace: "token", SETTINGS)
    ada = Session(SessionHash("session of ada"), UserId("ada"), NOW + 3600)
    store: Any = Diary()
    Engine(Fleet.restored(event_spec(), NOW, sessions=[ada]), store, publisher, SimulatedFleet(), lambda: NOW)
    assert publisher.table.session(ada.hash, NOW) is not None


async def test_callers_who_give_up_break_nothing_for_others(running: Running) -> None:
    leaving = [asyncio.create_task(running.engine.submit(login(f"leaver {number}"))) for number in range(20)]
    staying = asyncio.create_task(running.engine.submit(login("ada")))
    await asyncio.sleep(0)
    for task in leaving[::2]:
        task.cancel()
    await staying
    await asyncio.gather(*leaving, return_exceptions=True)
    assert running.engine.session(SessionHash("session of ada"), NOW) is not None
    assert running.engine.session(SessionHash("session of leaver 0"), NOW) is not None, "what was said still counts"
    assert not running.task.done()


async def test_an_engine_that_is_stopped_while_it_persists_publishes_nothing(running: Running) -> None:
    """The transaction may or may not have happened: the next start sees which."""
    running.diary.fails.append(StoreUnavailableError("the disk is full"))
    running.engine.post(login("ada"))
    while not running.engine.trouble:
        await asyncio.sleep(0.01)
    running.diary.entries.clear()
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)
    assert "publish" not in running.diary.entries
    assert running.engine.session(SessionHash("session of ada"), NOW) is None
