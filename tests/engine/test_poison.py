"""An event that the core fails on ends the process once; the next one keeps out who sent it, and serves the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mux.core import fleet as fleet_module
from mux.core.commands import Command, Effect, RefuseLink
from mux.core.events import Event, LoggedIn, MachinesListed, ShipDialed, ShipReported
from mux.core.fleet import Fleet
from mux.core.model import LinkId, SessionHash, ShipId, ShipReport, UserId
from mux.core.quarantine import CAREFUL_S, ENTRIES_MAX, QUARANTINE_S, Quarantine
from mux.daemon.quarantine import QuarantineFile
from mux.engine import Engine, EngineBusyError
from mux.publisher import Publisher
from mux.store.sql import SqlStore, sqlite_url
from tests.core.room import event_spec
from tests.engine.simulated import SimulatedFleet
from tests.engine.test_engine import SETTINGS

EVIL, GOOD = ShipId("ship-0001"), ShipId("ship-0002")
POISON = 666_666


class FragileFleet(Fleet):
    """The core, with a defect that one report brings out, and one name."""

    def handle(self, *events: Event, now: float) -> list[Command]:
        for event in events:
            if isinstance(event, ShipReported) and event.report.seq == POISON:
                raise RuntimeError("a defect of the core")
            if isinstance(event, LoggedIn) and event.user == "mallory":
                raise RuntimeError("another defect of the core")
        return super().handle(*events, now=now)


class Ships(SimulatedFleet):
    """Notes which links were refused."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[RefuseLink] = []

    def start(self, effects: Sequence[Effect]) -> None:
        super().start(effects)
        self.refused += [effect for effect in effects if isinstance(effect, RefuseLink)]


class Mux:
    """One control process after the other, on one store."""

    def __init__(self, directory: Path, ships: Ships) -> None:
        self._directory = directory
        self._now = 1_000.0
        self.ships = ships

    async def start(self) -> None:
        self.store = SqlStore(sqlite_url(self._directory / "mux.db"), clock=lambda: self._now)
        await self.store.open()
        records = await self.store.load(self._now)
        self.fleet = FragileFleet.restored(
            event_spec(), self._now, ships=records.ships, assignments=records.assignments, epochs=records.epochs,
            sessions=records.sessions, waiting=records.waiting, controls=records.controls,
        )  # fmt: skip
        publisher = Publisher(lambda _workspace: "token", SETTINGS)
        notes = QuarantineFile(self._directory / "kept-out.json")
        self.engine = Engine(self.fleet, self.store, publisher, self.ships, lambda: self._now, notes=notes)
        self.ships.post = self.engine.post
        self.task = asyncio.create_task(self.engine.run())

    async def ended(self) -> BaseException | None:
        """Wait until this process has ended by itself."""
        result = await asyncio.gather(asyncio.wait_for(self.task, 20), return_exceptions=True)
        await self.store.close()
        return result[0]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.store.close()

    async def ready(self, seats: int) -> None:
        version = -1
        while self.engine.status(self._now).seats_ready + self.engine.status(self._now).seats_assigned < seats:
            version = await self.engine.changed(version, 10)


async def test_a_ship_that_sends_poison_ends_the_process_at_most_twice_and_everybody_else_goes_on(
    tmp_path: Path,
) -> None:
    mux = Mux(tmp_path, Ships())
    await mux.start()
    await mux.ready(4)
    await mux.engine.submit(LoggedIn(UserId("ada"), SessionHash("s1"), 9_000.0))
    ends = 0
    for _ in range(5):  # the ship dials and sends it, whenever it is let in
        mux.engine.post(ShipDialed(EVIL, LinkId(7), "key of ship-0001", "boot 1", token_ok=True))
        mux.engine.post(ShipReported(EVIL, LinkId(7), ShipReport(POISON, 0)))
        mux.engine.post(ShipDialed(GOOD, LinkId(8), "key of ship-0002", "boot 1", token_ok=True))
        if mux.ships.refused:
            break
        assert isinstance(await mux.ended(), RuntimeError)
        ends += 1
        await mux.start()
    assert ends <= 2
    assert [(refused.ship, refused.code, refused.retry) for refused in mux.ships.refused] == [(EVIL, "kept_out", True)]
    await mux.engine.submit(LoggedIn(UserId("bob"), SessionHash("s2"), 9_000.0))
    assert mux.engine.session(SessionHash("s1"), 1_000.0) is not None
    assert {ship for ship, world in mux.fleet.world.ships.items() if world.link is not None} == {GOOD}
    mux.fleet.validate()
    await mux.stop()


async def test_an_attendee_who_sends_poison_is_asked_to_come_back_later(tmp_path: Path) -> None:
    mux = Mux(tmp_path, Ships())
    await mux.start()
    await mux.ready(4)
    mux.engine.post(LoggedIn(UserId("mallory"), SessionHash("s"), 9_000.0))
    assert isinstance(await mux.ended(), RuntimeError)
    await mux.start()
    with pytest.raises(EngineBusyError):
        await mux.engine.submit(LoggedIn(UserId("mallory"), SessionHash("s"), 9_000.0))
    await mux.engine.submit(LoggedIn(UserId("ada"), SessionHash("s1"), 9_000.0))
    await mux.stop()


def dial(number: int) -> ShipDialed:
    return ShipDialed(ShipId(f"ship-{number}"), LinkId(number), "key", "boot", token_ok=True)


def test_only_a_single_event_of_a_ship_or_attendee_is_held_against_anybody() -> None:
    now = 100.0
    assert Quarantine().after([dial(1)], now).holds(dial(1), now + QUARANTINE_S - 1)
    assert not Quarantine().after([dial(1)], now).holds(dial(1), now + QUARANTINE_S)
    assert not Quarantine().after([dial(1)], now).holds(dial(2), now)
    for batch in ([dial(1), dial(2)], [], [MachinesListed({}, now)]):
        after = Quarantine().after(batch, now)
        assert not after.until
        assert after.careful(now + CAREFUL_S - 1)
        assert not after.careful(now + CAREFUL_S)


def test_a_note_is_bounded_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    notes = QuarantineFile(tmp_path / "note.json")
    assert notes.read(100.0) == Quarantine()
    kept = Quarantine()
    for number in range(3 * ENTRIES_MAX):
        kept = kept.after([dial(number)], 100.0)
    assert len(kept.until) == ENTRIES_MAX
    notes.write(kept)
    assert notes.read(101.0) == kept
    assert not notes.read(100.0 + QUARANTINE_S).until
    for damaged in ("", "[]", "{}", '{"until": {"a": "b"}, "careful_until": 0}', json.dumps({"until": 3}), "\0"):
        (tmp_path / "note.json").write_text(damaged)
        assert notes.read(100.0) == Quarantine()
    (tmp_path / "note.json").write_text(json.dumps({"until": {"ship a": 1e12}, "careful_until": 1e12}))
    assert notes.read(100.0).until == {"ship a": 100.0 + QUARANTINE_S}, "no clock keeps anybody out for ever"
    QuarantineFile(tmp_path / "no" / "where.json").write(kept)


def test_every_event_has_a_handler() -> None:
    """A type that the core does not know would be a defect that anybody could trigger."""
    assert set(fleet_module._HANDLERS) == set(Event.__args__)
