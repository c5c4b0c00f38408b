"""Who has not shown to be a ship is bounded, each address for itself, and keeps no ship out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from mux.control.strangers import OF_ADDRESS_MAX, STALLED_S, STRANGERS_MAX, Strangers
from mux.core.model import ShipId
from ship_agent.protocol.messages import Message, Welcome
from tests.control.harness import OTHER, SHIP, Mux, RawShip

BOTH_LOOPS = True
PATIENCE_S = 60.0
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"


class Guest:
    """A connection in name only."""

    def __init__(self) -> None:
        self.closed = False
        self.dropped = False

    def drop(self) -> None:
        """As a real one."""
        self.closed = self.dropped = True


class Clock:
    """Time by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def come(strangers: Strangers, number: int, peer: str = HERE) -> list[Guest]:
    """So many connections; those that are let in."""
    guests = [Guest() for _ in range(number)]
    return [guest for guest in guests if strangers.come(guest, peer, guest)]


def test_an_address_at_its_bound_waits_or_makes_room_for_itself() -> None:
    clock = Clock()
    strangers = Strangers(clock, of_address_max=3)
    first = come(strangers, 5)
    assert len(first) == len(strangers) == 3, "none has been there for long: the new ones come again"
    clock.now = STALLED_S
    (new,) = come(strangers, 1)
    assert [guest.dropped for guest in first] == [True, False, False]
    assert not new.dropped
    assert len(come(strangers, 5, ELSEWHERE)) == 3, "no other address is concerned"


def test_what_has_ended_counts_no_more() -> None:
    strangers = Strangers(Clock(), of_address_max=2)
    for _ in range(10):
        guests = come(strangers, 2)
        assert len(guests) == 2
        for guest in guests:
            guest.closed = True
    assert len(strangers) == 2


def test_in_a_room_full_of_strangers_the_address_with_the_most_makes_room() -> None:
    clock = Clock()
    strangers = Strangers(clock, of_address_max=5, strangers_max=6)
    many = come(strangers, 5, "2001:db8::1")
    one = come(strangers, 1)
    assert come(strangers, 1, ELSEWHERE) == [], "nobody is stalled yet"
    clock.now = STALLED_S
    assert len(come(strangers, 1, ELSEWHERE)) == 1
    assert [guest.dropped for guest in (*many, *one)] == [True] + [False] * 5
    assert come(strangers, 1, "2001:db8::2"), "of the same network, and so of the same address"
    assert [guest.dropped for guest in many] == [True, True, False, False, False]


def test_who_has_shown_to_be_a_ship_does_not_count_until_that_is_over() -> None:
    clock = Clock()
    strangers = Strangers(clock, of_address_max=2)
    ship, stranger = come(strangers, 2)
    strangers.known(ship)
    strangers.known(ship)
    clock.now = STALLED_S
    assert len(come(strangers, 2)) == 2
    assert (ship.dropped, stranger.dropped) == (False, True)
    strangers.unknown(ship)
    assert len(strangers) == 3, "it is the newest of the strangers"
    ship.closed = True
    strangers.known(ship)
    strangers.unknown(ship)
    strangers.unknown(ship)
    assert len(strangers) == 2


def test_the_bounds_leave_room_for_other_addresses() -> None:
    assert OF_ADDRESS_MAX * 3 < STRANGERS_MAX


# --- on a real listener ---------------------------------------------------------------------------------------------


class Room:
    """A control listener with small bounds, and time by hand."""

    def __init__(self, mux: Mux, clock: Clock, session: aiohttp.ClientSession) -> None:
        self.mux = mux
        self.clock = clock
        self.session = session
        self.stalled: list[socket.socket] = []

    async def stall(self, number: int, peer: str) -> None:
        """Connections that say nothing: TLS is not even begun."""
        for _ in range(number):
            before = len(self.mux.strangers)
            connection = socket.create_connection((HERE, self.mux.port), source_address=(peer, 0))
            connection.setblocking(False)
            self.stalled.append(connection)
            await _until(lambda before=before: len(self.mux.strangers) > before)  # type: ignore[misc]


async def _until(fulfilled: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not fulfilled():
            await asyncio.sleep(0.005)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    clock = Clock()
    mux = Mux(tmp_path / "mux")
    await mux.start(strangers=Strangers(clock, of_address_max=4, strangers_max=12))
    async with aiohttp.ClientSession() as session:
        made = Room(mux, clock, session)
        yield made
        for connection in made.stalled:
            connection.close()
    await mux.close()


async def within(work: Awaitable[object]) -> object:
    async with asyncio.timeout(PATIENCE_S):
        return await work


async def _dials_again_and_again(room: Room, ship: ShipId) -> Message:
    """As an agent does, until it is let in."""
    while True:
        room.clock.now += STALLED_S
        with contextlib.suppress(aiohttp.ClientConnectionError):
            return await RawShip(room.mux, room.session).link(ship)


async def test_an_address_that_stalls_all_that_it_may_keeps_no_ship_of_another_out(room: Room) -> None:
    await room.stall(4, ELSEWHERE)
    ship = RawShip(room.mux, room.session)
    assert isinstance(await within(ship.link()), Welcome)
    assert len(room.mux.strangers) == 4, "the ship is none"


async def test_ships_of_an_address_that_stalls_join_as_soon_as_it_is_known_to(room: Room) -> None:
    await room.stall(4, HERE)
    with pytest.raises(aiohttp.ClientConnectionError):
        await within(RawShip(room.mux, room.session).link())
    room.clock.now = STALLED_S
    ship = RawShip(room.mux, room.session)
    assert isinstance(await within(ship.link()), Welcome)
    loop = asyncio.get_running_loop()
    assert await within(loop.sock_recv(room.stalled[0], 1)) == b"", "it has made room"
    assert len(room.mux.strangers) == 3


async def test_a_link_is_not_touched_by_any_number_of_strangers(room: Room) -> None:
    ship = RawShip(room.mux, room.session)
    assert isinstance(await within(ship.link()), Welcome)
    for round_ in range(1, 4):
        room.clock.now = round_ * STALLED_S
        for _ in range(5):
            room.stalled.append(socket.create_connection((HERE, room.mux.port)))
    assert isinstance(await within(_dials_again_and_again(room, OTHER)), Welcome)
    assert SHIP in room.mux.core.links
    assert not ship.websocket.closed
